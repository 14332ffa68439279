"""Sparse voxel grids with observation counts, and ray traversal through them."""
