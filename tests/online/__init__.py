"""Methods that look at candidates: their rules by hand, and through the public loop."""
