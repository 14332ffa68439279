"""Rendering of the map as a camera at a given pose would see it."""
