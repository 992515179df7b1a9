"""The report: reading runs, drawing, words, pages, and a real browser."""
