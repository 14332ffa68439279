"""Language: the basis of the latent space, and training from image teachers."""
