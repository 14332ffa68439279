"""Readers and writers of posed RGB-D recordings, and a simulated room."""
