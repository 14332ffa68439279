"""The images that the map is trained on."""
