"""What decides a figure: splits, supervision, protocols."""
