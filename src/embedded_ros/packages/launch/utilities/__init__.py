"""Helpers that launch files may use."""
