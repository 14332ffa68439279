"""Offline annotation: propagates labels of a few frames to all frames of a recording."""
