"""Static methods: laws that each keeps, found by itself, and what they choose from."""
