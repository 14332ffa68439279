"""What people say about the map, and how training follows it."""
