"""A few labelled frames in, dense labels for every frame out."""
