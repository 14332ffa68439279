"""From camera topics and poses to frames."""
