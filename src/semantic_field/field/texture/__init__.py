"""Textures of meshes: charts, their packing, and baking."""
