"""Processes of a launch: started, read, stopped, and never left behind."""
