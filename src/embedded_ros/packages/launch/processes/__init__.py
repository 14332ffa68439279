"""Processes of a launch: starting, reading their output, and stopping them in all cases."""
