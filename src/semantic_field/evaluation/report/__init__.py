"""Reports: figures, pictures, plots, pages, comparison."""
