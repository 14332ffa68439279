"""Rays through keyframe pixels, their samples, and compositing of the samples."""
