"""Helper functions for launch files."""
