"""Grid kernels behind one interface: encode, its gradients, and the skip-zero Adam step."""

from semantic_field.kernels.factory import make_kernels, make_reader
from semantic_field.kernels.interface import (
    GridGradient,
    GridKernels,
    GridMoments,
    GridShape,
    grid_shape,
)

__all__ = [
    "GridGradient",
    "GridKernels",
    "GridMoments",
    "GridShape",
    "grid_shape",
    "make_kernels",
    "make_reader",
]
