"""Command-line tools that start nodes or call their services."""
