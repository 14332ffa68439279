"""Publishers and services of the mapping node for its map."""
