"""What the replay node plays."""
