"""Playback of recordings as ROS topics."""
