"""Comparisons on real data: tasks, one run, many runs, their statistics, tables and pictures."""
