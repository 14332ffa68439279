"""Surface extraction: distance lattice, surface points, meshes and their files."""
