"""Language: the latent's basis, and learning from images."""
