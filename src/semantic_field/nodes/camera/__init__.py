"""Camera subscriptions and pose lookup: builds frames from topics."""
