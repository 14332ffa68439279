"""Keyframes: the images that the map is trained on."""
