"""Laws that every method keeps, run on every method that is found."""
