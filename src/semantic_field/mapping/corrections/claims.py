"""From what a person points at to the cells of space that are meant."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from semantic_field.field.annotations import distinct
from semantic_field.field.map_state import MapState
from semantic_field.field.surface.cache import SurfaceCache
from semantic_field.field.surface.extraction import extract_surface
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.surface.segments import region_of, segment_surface
from semantic_field.field.views.rendering import render_view
from semantic_field.field.voxels.voxel_grid import BRICK, VoxelGrid
from semantic_field.geometry import Camera, invert_transform, transform_points

FARTHEST_CLICK_M = 0.15  # from the surface
FIRST_REACH_M = 1.0  # around a click; more on the sides where the region comes near the edge
LAST_REACH_M = 4.0
COARSER = 2  # large things are looked at in so many cells at once; claims reach that far
EDGE_SHARE = 0.01  # of the region, at one side
IMAGE_WIDTH = 480
OTHERS_MARGIN_M = 0.1
INSIDE_SHARE = 0.5  # of a segment that a box means


@dataclass(frozen=True)
class View:
    """A camera and where it was."""

    stamp_ns: int
    camera: Camera
    T_world_camera: NDArray[np.float64]


@dataclass(frozen=True)
class Claim:
    """Cells (N, 3) with the number of a class each (N,), and the count of surface points behind
    them. A click and a box have the one class 0."""

    cells: NDArray[np.int32]
    classes: NDArray[np.int32]
    points: int


def claim_at_point(state: MapState, point: NDArray, cell_m: float) -> Claim:
    """What a click on a point (3,) of the map frame means: the part of the surface there.

    Raises:
        ValueError: where no surface is near.
    """
    _check_map(state)
    reach, spacing = np.full((2, 3), FIRST_REACH_M), cell_m
    while True:
        around = surface_within(state, point - reach[0], point + reach[1], spacing)
        region = region_of(around, _nearest(around, point), spacing)
        offset = around.xyz[region] - point
        at_edge = np.stack([reach[0] + offset, reach[1] - offset], 1) < 3 * spacing
        wider = (at_edge.mean(0) > EDGE_SHARE) & (reach < LAST_REACH_M)
        if not wider.any():
            return claim(around.xyz, np.where(region, 0, -1), cell_m)
        reach, spacing = np.where(wider, 2 * reach, reach), COARSER * cell_m


def point_at_pixel(state: MapState, view: View, u: float, v: float) -> NDArray[np.float64]:
    """The surface point (3,) that a pixel of a view shows.

    Raises:
        ValueError: where the pixel is outside the image, or shows no surface of the map.
    """
    _check_map(state)
    camera, pose = view.camera, view.T_world_camera
    if not (-0.5 <= u <= camera.width - 0.5 and -0.5 <= v <= camera.height - 0.5):
        raise ValueError(
            f"expected a pixel of an image of {camera.width} x {camera.height}, got ({u}, {v})"
        )
    ray = np.array([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, 1.0])
    direction = (pose[:3, :3] @ ray).astype(np.float32)
    with state.surfaces.lattice(state.field, state.reach) as lattice:
        (depth,) = lattice.cast(pose[:3, 3].copy(), direction[None], 0.05, 60.0)
    if not np.isfinite(depth):
        raise ValueError(f"expected a surface behind the pixel ({u}, {v}), the map has none there")
    return pose[:3, 3] + float(depth) * direction


def claim_in_box(state: MapState, T_world_box: NDArray, size: NDArray, cell_m: float) -> Claim:
    """What a box means: the surface in it, but not a table on which the boxed thing stands.

    Of a part of the surface that lies for the most part outside, what is inside is left out,
    unless there is nothing else in the box.

    Args:
        T_world_box: its centre and axes (4, 4). size: full edge lengths (3,), metres.
    Raises:
        ValueError: where no surface is in the box.
    """
    _check_map(state)
    reach = np.abs(T_world_box[:3, :3]) @ (np.asarray(size) / 2) + 0.5
    centre = T_world_box[:3, 3]
    around = surface_within(state, centre - reach, centre + reach, cell_m)
    local = transform_points(invert_transform(T_world_box), around.xyz)
    inside = (np.abs(local) <= np.asarray(size) / 2).all(1)
    if not inside.any():
        raise ValueError(
            f"expected a box with a surface in it, the map has none within {size} m around "
            f"{centre.round(2).tolist()}"
        )
    segments, _, _ = segment_surface(around, cell_m)
    whole = np.bincount(segments, minlength=len(segments))
    part = np.bincount(segments[inside], minlength=len(segments))
    own = inside & (part > INSIDE_SHARE * whole)[segments]
    chosen = own if own.any() else inside
    return claim(around.xyz, np.where(chosen, 0, -1), cell_m)


def claim_in_view(state: MapState, view: View, labels: NDArray[np.int32], cell_m: float) -> Claim:
    """What a label image (H, W) of class ids, -1 = nothing said, says of the surface it shows.

    Raises:
        ValueError: where no labelled pixel shows a surface of the map.
    """
    _check_map(state)
    height, width = labels.shape
    camera = view.camera.resized(width, height)
    most = min(width, IMAGE_WIDTH)
    small = camera.resized(most, max(1, height * most // width))
    rows = ((np.arange(small.height) + 0.5) * height / small.height).astype(int)
    columns = ((np.arange(small.width) + 0.5) * width / small.width).astype(int)
    labels = labels[np.ix_(rows, columns)]
    depth = render_view(state, small, view.T_world_camera).depth
    points = transform_points(view.T_world_camera, small.backproject(depth))
    hit = depth > 0
    if not (labels[hit] >= 0).any():
        raise ValueError(
            "expected a label image with classes where the map has a surface, got none; has the "
            "map seen what it shows?"
        )
    return claim(points[hit].astype(np.float32), labels[hit], cell_m)


def claim(xyz: NDArray[np.float32], classes: NDArray, cell_m: float) -> Claim:
    """Cells around the surface points (N, 3) that have a class; -1 = the surface of others.

    Readings scatter around a surface. So a class also gets the cells beside its own, where no
    point of another one is nearer.
    """
    chosen = classes >= 0
    steps = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3), -1).reshape(-1, 3).astype(np.int32)
    cells = distinct(np.floor(xyz[chosen] / cell_m).astype(np.int32))
    cells = distinct((cells[:, None] + steps).reshape(-1, 3))
    centres = (cells + np.float32(0.5)) * np.float32(cell_m)
    low, high = centres.min(0) - OTHERS_MARGIN_M, centres.max(0) + OTHERS_MARGIN_M
    near = ((xyz >= low) & (xyz <= high)).all(1)
    _, nearest = KDTree(xyz[near]).query(centres)
    of_cell = classes[near][nearest].astype(np.int32)
    return Claim(cells[of_cell >= 0], of_cell[of_cell >= 0], int(chosen.sum()))


def surface_within(state: MapState, low: NDArray, high: NDArray, spacing_m: float) -> SurfacePoints:
    """The surface points in a box of the map frame, at most one for each cube of the spacing.

    What people have said counts at once: labels that are half learnt would tear a thing apart.
    """
    voxels, reach = (_part(grid, low, high) for grid in (state.voxels, state.reach))
    part = replace(state, voxels=voxels, reach=reach, surfaces=SurfaceCache())
    points = extract_surface(part, spacing_m)
    inside = (points.xyz >= low) & (points.xyz <= high)
    points = points.select(np.flatnonzero(inside.all(1)))
    return replace(points, label=state.annotations.overrule(points.xyz, points.label))


def _part(grid: VoxelGrid, low: NDArray, high: NDArray) -> VoxelGrid:
    """The bricks that reach into a box."""
    bricks, counts = grid.bricks[: len(grid)], grid.counts[: len(grid)]
    edge = grid.voxel_m * BRICK
    near = ((bricks + 1) * edge >= low).all(1) & (bricks * edge <= high).all(1)
    return VoxelGrid.from_bricks(grid.voxel_m, bricks[near], counts[near])


def _nearest(points: SurfacePoints, point: NDArray) -> int:
    apart = np.linalg.norm(points.xyz - point, axis=1)
    least = apart.min() if len(apart) else np.inf
    if least > FARTHEST_CLICK_M:
        where = f"the nearest is {least:.2f} m away" if len(apart) else "none is near"
        raise ValueError(
            f"expected a point within {FARTHEST_CLICK_M} m of a surface of the map, got "
            f"{np.round(point, 2).tolist()}: {where}"
        )
    return int(apart.argmin())


def _check_map(state: MapState) -> None:
    if state.steps == 0 or len(state.voxels) == 0:
        raise ValueError("expected a map with something in it, got no frame yet; map first")
