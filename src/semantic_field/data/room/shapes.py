"""Solids with a material, from which furniture is assembled."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

BOX, CONE, ELLIPSOID = 0, 1, 2


@dataclass(frozen=True)
class Material:
    """Appearance of a surface.

    Attributes:
        texture: a name in ``textures.NAMES``.
        color: sRGB 0..1, multiplied with the texture.
        size_m: edge length of one repetition of the texture, metres.
        fit: stretch the texture once over each face instead of repeating it.
        emission: emitted light (1 = as bright as a white surface in full light).
    """

    texture: str = "plain"
    color: tuple[float, float, float] = (0.8, 0.8, 0.8)
    size_m: float = 1.0
    fit: bool = False
    emission: float = 0.0


@dataclass(frozen=True)
class Shape:
    """A box, a (truncated) cone around its own z axis, or an ellipsoid.

    Attributes:
        kind: ``BOX``, ``CONE`` or ``ELLIPSOID``.
        centre: (3,), metres.
        half: half the extent along its own axes, (3,), metres.
        rotation: (3, 3), from its own frame to the parent frame.
        top: ratio of the upper to the lower radius of a cone.
    """

    kind: int
    centre: NDArray[np.float64]
    half: NDArray[np.float64]
    material: Material
    rotation: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    top: float = 1.0

    def moved(self, rotation: NDArray, translation: ArrayLike) -> Shape:
        """Return the shape after a rotation and then a translation."""
        return replace(
            self,
            centre=rotation @ self.centre + np.asarray(translation, float),
            rotation=rotation @ self.rotation,
        )

    def bounds(self) -> NDArray[np.float64]:
        """Return lower and upper corner (2, 3) of its axis-aligned bounding box."""
        if self.kind == BOX:
            reach = np.abs(self.rotation) @ self.half
        elif self.kind == ELLIPSOID:
            reach = np.sqrt((self.rotation * self.half) ** 2 @ np.ones(3))
        else:
            return self._cone_bounds()
        return np.stack([self.centre - reach, self.centre + reach])

    def distance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distances (N,) of points (N, 3) to the box around it along its own axes.

        For a box this is the distance to its surface, for others a lower bound; 0 inside.
        """
        half = self.half * ([1.0, 1.0, 1.0] if self.kind != CONE else self._widest())
        outside = np.abs((points - self.centre) @ self.rotation) - half
        return np.linalg.norm(np.maximum(outside, 0.0), axis=1)

    def _widest(self) -> NDArray[np.float64]:
        """Return the ratios (3,) of the widest extent of a cone to its lower end's."""
        wide = max(1.0, self.top)
        return np.array([wide, wide, 1.0])

    def _cone_bounds(self) -> NDArray[np.float64]:
        axis, disc = self.rotation[:, 2], np.sqrt(1 - np.clip(self.rotation[:, 2] ** 2, 0, 1))
        ends = [(-1, self.half[0]), (1, self.half[0] * self.top)]
        corners = [
            self.centre + side * self.half[2] * axis + sign * radius * disc
            for side, radius in ends
            for sign in (-1, 1)
        ]
        return np.stack([np.min(corners, axis=0), np.max(corners, axis=0)])


def box(low: ArrayLike, high: ArrayLike, material: Material) -> Shape:
    """Return the axis-aligned box between two corners, metres."""
    low, high = np.asarray(low, float), np.asarray(high, float)
    return Shape(BOX, (low + high) / 2, (high - low) / 2, material)


def cylinder(
    base: ArrayLike, radius: float, height: float, material: Material, top: float = 1.0
) -> Shape:
    """Return an upright cylinder on ``base`` (3,); a cone if ``top`` (ratio of radii) is not 1."""
    centre = np.asarray(base, float) + [0, 0, height / 2]
    return Shape(CONE, centre, np.array([radius, radius, height / 2]), material, top=top)


def rod(start: ArrayLike, end: ArrayLike, radius: float, material: Material) -> Shape:
    """Return a cylinder from ``start`` to ``end``."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    length = float(np.linalg.norm(end - start))
    z = (end - start) / length
    x = np.cross(z, [0.0, 1.0, 0.0] if abs(z[1]) < 0.9 else [1.0, 0.0, 0.0])
    x /= np.linalg.norm(x)
    rotation = np.stack([x, np.cross(z, x), z], axis=1)
    half = np.array([radius, radius, length / 2])
    return Shape(CONE, (start + end) / 2, half, material, rotation)


def ellipsoid(
    centre: ArrayLike, half: ArrayLike, material: Material, rotation: NDArray | None = None
) -> Shape:
    """Return an ellipsoid with half axes ``half`` (3,), metres."""
    rotation = np.eye(3) if rotation is None else rotation
    return Shape(ELLIPSOID, np.asarray(centre, float), np.asarray(half, float), material, rotation)


def yaw_rotation(yaw: float) -> NDArray[np.float64]:
    """Return the rotation (3, 3) about z by ``yaw`` radians."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def extent(shapes: list[Shape]) -> NDArray[np.float64]:
    """Return lower and upper corner (2, 3) of the bounding box of all shapes."""
    bounds = np.stack([shape.bounds() for shape in shapes])
    return np.stack([bounds[:, 0].min(axis=0), bounds[:, 1].max(axis=0)])
