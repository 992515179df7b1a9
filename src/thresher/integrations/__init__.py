"""Thresher inside other people's trainers: one package each, which imports its framework itself."""
