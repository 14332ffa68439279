"""What a camera would see of the map."""
