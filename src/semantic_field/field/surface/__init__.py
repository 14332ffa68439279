"""The surface of the map: points, mesh, files."""
