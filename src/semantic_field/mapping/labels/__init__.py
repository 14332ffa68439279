"""Classes and label images."""
