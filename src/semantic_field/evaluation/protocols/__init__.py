"""Evaluation protocols: splits, label supervision, and protocol files."""
