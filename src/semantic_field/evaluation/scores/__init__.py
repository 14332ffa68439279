"""Scoring of views, surfaces, labels, objects and queries."""
