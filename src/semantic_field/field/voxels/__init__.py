"""Space in voxels: where surfaces were seen."""
