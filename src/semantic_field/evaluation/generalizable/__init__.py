"""Evaluation of models that predict views from source frames, beside what needs no training."""
