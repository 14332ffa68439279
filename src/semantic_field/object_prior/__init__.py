"""Priors of whole objects: what a category looks like, learnt, and completed from what is seen."""
