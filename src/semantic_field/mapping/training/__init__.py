"""The training step: rays, losses, gradients, optimiser."""
