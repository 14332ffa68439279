"""Simple alternatives to the map, scored beside it."""
