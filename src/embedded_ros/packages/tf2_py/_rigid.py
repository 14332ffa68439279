"""Rigid transforms as a translation and a unit quaternion (x, y, z, w).

Uses plain Python floats: for the few numbers of a look-up, NumPy's call overhead would exceed the
cost of the arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]

NEARLY_PARALLEL = 1.0 - 1e-9  # above this cosine, slerp's division loses precision


@dataclass(frozen=True, slots=True)
class Rigid:
    """``T_target_source``: transforms points from the source frame to the target frame."""

    translation: Vector
    rotation: Quaternion

    def __matmul__(self, other: Rigid) -> Rigid:
        """Return ``T_a_c`` = ``T_a_b @ T_b_c``."""
        x, y, z = rotate(self.rotation, other.translation)
        tx, ty, tz = self.translation
        return Rigid((x + tx, y + ty, z + tz), multiply(self.rotation, other.rotation))

    def inverse(self) -> Rigid:
        x, y, z, w = self.rotation
        back = (-x, -y, -z, w)
        tx, ty, tz = rotate(back, self.translation)
        return Rigid((-tx, -ty, -tz), back)

    def apply(self, point: Vector) -> Vector:
        """Transform a point from the source frame to the target frame."""
        x, y, z = rotate(self.rotation, point)
        tx, ty, tz = self.translation
        return (x + tx, y + ty, z + tz)


IDENTITY = Rigid((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def multiply(a: Quaternion, b: Quaternion) -> Quaternion:
    """Return the quaternion product ``a b``: the rotation ``b`` followed by ``a``."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def rotate(q: Quaternion, v: Vector) -> Vector:
    """Rotate a vector by a unit quaternion: v + 2 u x (u x v + w v)."""
    x, y, z, w = q
    vx, vy, vz = v
    cx = y * vz - z * vy + w * vx
    cy = z * vx - x * vz + w * vy
    cz = x * vy - y * vx + w * vz
    return (
        vx + 2.0 * (y * cz - z * cy),
        vy + 2.0 * (z * cx - x * cz),
        vz + 2.0 * (x * cy - y * cx),
    )


def normalised(q: Quaternion) -> Quaternion:
    norm = math.sqrt(sum(component * component for component in q))
    x, y, z, w = (component / norm for component in q)
    return (x, y, z, w)


def interpolate(first: Rigid, second: Rigid, fraction: float) -> Rigid:
    """Interpolate at ``fraction`` 0..1: translation linearly, rotation by the shorter slerp."""
    keep = 1.0 - fraction
    x, y, z = (
        keep * a + fraction * b for a, b in zip(first.translation, second.translation, strict=True)
    )
    return Rigid((x, y, z), slerp(first.rotation, second.rotation, fraction))


def slerp(a: Quaternion, b: Quaternion, fraction: float) -> Quaternion:
    """Spherical linear interpolation (Shoemake 1985)."""
    cosine = sum(p * q for p, q in zip(a, b, strict=True))
    sign = -1.0 if cosine < 0 else 1.0
    cosine = abs(cosine)
    if cosine > NEARLY_PARALLEL:
        weight_a, weight_b = 1.0 - fraction, fraction
    else:
        angle = math.acos(cosine)
        weight_a = math.sin((1.0 - fraction) * angle) / math.sin(angle)
        weight_b = math.sin(fraction * angle) / math.sin(angle)
    x, y, z, w = (weight_a * p + sign * weight_b * q for p, q in zip(a, b, strict=True))
    return normalised((x, y, z, w))
