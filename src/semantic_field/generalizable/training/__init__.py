"""Training of generalizable models: scenes, the loop, its checkpoints, and weights as files."""
