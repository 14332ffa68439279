"""Robustness: moved and moving objects, pose refinement, exposure."""
