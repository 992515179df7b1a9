"""Thresher inside trainers; each module imports its framework, and nothing imports them."""
