"""Charts of a mesh: pieces that lie flat on a plane without overlap, for a texture.

A chart grows from a flat face over its neighbours. A face joins if it faces the chart's plane and
if no texel centre that it covers on that plane is covered already.
"""

# Compiled functions carry no annotations: Numba infers their types.
# pyright: basic
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.texture.faces import averaged, neighbours_of, normals_of

SIDE = 1024  # texels, largest chart
FACING = 0.6  # cosine between a chart's normal and the averaged normals of its faces, at least
TURNED = 0.15  # and the faces' own normals
_jit = njit(nogil=True, cache=True, error_model="numpy")


@dataclass(frozen=True)
class Charts:
    """C charts of M faces.

    Attributes:
        chart: int32 (M,), each face's chart; -1 for faces without area.
        axes: float32 (C, 3, 3), rows are the plane's axes u, v and its normal u x v, which points
            out of the surface.
        low: float32 (C, 2), smallest u and v of the corners, metres.
        size: int32 (C, 2), extent in texels along u and v, rounded up.
        texel_m: edge of a texel, metres.
    """

    chart: NDArray[np.int32]
    axes: NDArray[np.float32]
    low: NDArray[np.float32]
    size: NDArray[np.int32]
    texel_m: float

    def __len__(self) -> int:
        return len(self.axes)


def charts_of(xyz: NDArray[np.float32], triangles: NDArray[np.int32], texel_m: float) -> Charts:
    """Divide a mesh with vertices (V, 3) and triangles (M, 3) into charts."""
    normals, areas = normals_of(xyz, triangles)
    neighbours = neighbours_of(triangles)
    smooth, flatness = averaged(normals, areas, neighbours)
    # A face that its surroundings turn away from itself could not join a chart of its own.
    lost = (smooth * normals).sum(1) < TURNED
    smooth[lost] = normals[lost]
    order = np.argsort(-flatness, kind="stable")
    order = order[areas[order] > 0]
    chart, seeds = _grow(xyz, triangles, neighbours, normals, smooth, order, np.float32(texel_m))
    axes = _axes(smooth[seeds])
    low, size = _boxes(xyz, triangles, chart, axes, texel_m)
    return Charts(chart, axes, low, size, texel_m)


def _axes(normals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the axes (C, 3, 3) of planes with normals (C, 3); v points upwards on walls."""
    axes = np.empty((len(normals), 3, 3), np.float32)
    for number, normal in enumerate(normals):
        _fill_axes(normal, axes[number])
    return axes


@_jit
def _fill_axes(n, axes):
    """Fill rows u, v, n: u is horizontal."""
    across = np.sqrt(n[0] * n[0] + n[1] * n[1])
    if across > np.float32(1e-3):
        axes[0, 0], axes[0, 1], axes[0, 2] = -n[1] / across, n[0] / across, 0
    else:
        axes[0, 0], axes[0, 1], axes[0, 2] = 1, 0, 0
    axes[2, :] = n
    axes[1, 0] = n[1] * axes[0, 2] - n[2] * axes[0, 1]
    axes[1, 1] = n[2] * axes[0, 0] - n[0] * axes[0, 2]
    axes[1, 2] = n[0] * axes[0, 1] - n[1] * axes[0, 0]


@_jit
def _grow(xyz, triangles, neighbours, normals, smooth, order, texel):
    """Return each face's chart (M,) and each chart's first face (C,)."""
    chart = np.full(len(triangles), -1, np.int32)
    owner = np.full((2 * SIDE, 2 * SIDE), -1, np.int32)  # the last chart that covered a texel
    queue, seeds = np.empty(len(triangles), np.int64), np.empty(len(triangles), np.int64)
    asked = np.full(len(triangles), -1, np.int32)  # the last chart that a face was offered to
    corners, axes = np.empty((3, 2), np.float32), np.empty((3, 3), np.float32)
    box, grown, count = np.empty(4, np.float32), np.empty(4, np.float32), 0
    for start in order:
        if chart[start] >= 0:
            continue
        _fill_axes(smooth[start], axes)
        centre = xyz[triangles[start, 0]]
        box[:2], box[2:] = np.inf, -np.inf
        queue[0], asked[start], head, tail = start, count, 0, 1
        while head < tail:
            face = queue[head]
            head += 1
            if face != start and not _facing(normals[face], smooth[face], axes[2]):
                continue
            _place(xyz, triangles[face], centre, axes, texel, corners)
            if not _within(corners, box, grown) and face != start:
                continue
            if not _cover(corners, owner, count, False) and face != start:
                continue
            _cover(corners, owner, count, True)
            box[:], chart[face] = grown, count
            for side in range(3):
                other = neighbours[face, side]
                if other >= 0 and chart[other] < 0 and asked[other] != count:
                    asked[other], queue[tail] = count, other
                    tail += 1
        seeds[count] = start
        count += 1
    return chart, seeds[:count]


@_jit
def _facing(normal, smooth, axis):
    own = normal[0] * axis[0] + normal[1] * axis[1] + normal[2] * axis[2]
    around = smooth[0] * axis[0] + smooth[1] * axis[1] + smooth[2] * axis[2]
    return own > TURNED and around > FACING


@_jit
def _place(xyz, triangle, centre, axes, texel, corners):
    """Fill a triangle's corners (3, 2) in texels of the grid, whose middle is ``centre``."""
    for corner in range(3):
        for axis in range(2):
            along = np.float32(0)
            for d in range(3):
                along += (xyz[triangle[corner], d] - centre[d]) * axes[axis, d]
            corners[corner, axis] = along / texel + np.float32(SIDE)


@_jit
def _within(corners, box, grown):
    """Fill ``grown`` with the box that also holds the corners; whether it is small enough."""
    for axis in range(2):
        grown[axis], grown[2 + axis] = box[axis], box[2 + axis]
        for corner in range(3):
            grown[axis] = min(grown[axis], corners[corner, axis])
            grown[2 + axis] = max(grown[2 + axis], corners[corner, axis])
    return grown[2] - grown[0] <= SIDE - 2 and grown[3] - grown[1] <= SIDE - 2


@_jit
def _cover(corners, owner, number, write):
    """Whether no texel centre inside a triangle is covered by the chart; marks them on request."""
    rows, columns = owner.shape
    left, right = corners[:, 0].min(), corners[:, 0].max()
    low, high = corners[:, 1].min(), corners[:, 1].max()
    for row in range(max(int(low), 0), min(int(high) + 1, rows)):
        for column in range(max(int(left), 0), min(int(right) + 1, columns)):
            x, y = column + np.float32(0.5), row + np.float32(0.5)
            inside = True
            for side in range(3):
                a, b = corners[side], corners[(side + 1) % 3]
                inside &= (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) > np.float32(1e-3)
            if inside:
                if write:
                    owner[row, column] = number
                elif owner[row, column] == number:
                    return False
    return True


@_jit
def _boxes(xyz, triangles, chart, axes, texel_m):
    """Return the smallest u and v (C, 2), metres, and the extent (C, 2) of each chart, texels."""
    low = np.full((len(axes), 2), np.inf, np.float32)
    high = np.full((len(axes), 2), -np.inf, np.float32)
    for face in range(len(triangles)):
        c = chart[face]
        if c >= 0:
            for corner in range(3):
                p = xyz[triangles[face, corner]]
                for axis in range(2):
                    along = (
                        p[0] * axes[c, axis, 0] + p[1] * axes[c, axis, 1] + p[2] * axes[c, axis, 2]
                    )
                    low[c, axis] = min(low[c, axis], along)
                    high[c, axis] = max(high[c, axis], along)
    size = np.empty((len(axes), 2), np.int32)
    for c in range(len(axes)):
        for axis in range(2):
            size[c, axis] = max(1, int(np.ceil((high[c, axis] - low[c, axis]) / texel_m)))
    return low, size
