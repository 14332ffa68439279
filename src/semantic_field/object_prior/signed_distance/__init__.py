"""Object prior by signed distances: network, rays, samples, losses and surfaces of codes."""
