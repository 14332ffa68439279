"""Object priors against simple alternatives: views, labels, and the surface nobody saw."""
