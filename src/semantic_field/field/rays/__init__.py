"""Samples along rays, and what they composite to."""
