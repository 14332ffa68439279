"""The semantic field: model, rendering, surface, map file."""
