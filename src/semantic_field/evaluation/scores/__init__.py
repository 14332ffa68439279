"""Scores of views, surfaces, labels, objects and queries."""
