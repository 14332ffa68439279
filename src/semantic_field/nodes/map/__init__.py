"""What the mapping node shows and does with its map."""
