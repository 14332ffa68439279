"""Human annotations: from clicks and boxes to labelled voxels, and their use in training."""
