"""What is really there, to hold answers against."""
