"""Evaluation reports: scores, pictures, plots, HTML page, comparison."""
