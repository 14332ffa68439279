"""Registry of model weights: what there is, where it lies on this machine, and how to get it."""
