"""What the benchmark scripts share, one measurement a file."""
