"""Training of object priors: objects and their views, the job, and weights as files."""
