"""Baselines that are scored next to the map."""
