"""Generalizable semantic rendering: views of a scene from its last frames, without training on it.

A model is trained once, on other scenes. Frames are kept in a ``FramePool`` with the features that
the model computed of them; for a target camera, ``Predictor`` chooses source frames, finds the
depth of the target by splatting theirs, and lets the model blend what they carry.
"""
