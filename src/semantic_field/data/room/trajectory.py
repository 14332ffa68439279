"""Camera trajectory through a furnished room that shows everything from several sides."""

from __future__ import annotations

import heapq

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.data.room.layout import Layout
from semantic_field.geometry import look_at

CELL_M = 0.05
CLEARANCE_M = 0.22  # between the camera and things on the floor
STATIONS = 10
EYE_HEIGHT_M = (1.22, 1.58)


def make_trajectory(layout: Layout, n_frames: int) -> list[NDArray[np.float64]]:
    """Return ``n_frames`` poses ``T_world_camera`` (4, 4), evenly spaced on a smooth closed path.

    The camera looks across the room, past its centre, and sways sideways and up and down.
    """
    path = walk(layout)
    steps = np.linalg.norm(np.diff(path, axis=0, append=path[:1]), axis=1)
    along = np.concatenate([[0], np.cumsum(steps)])
    closed = np.concatenate([path, path[:1]])
    phase = np.arange(n_frames) / n_frames
    eyes = np.stack([np.interp(phase * along[-1], along, closed[:, i]) for i in (0, 1)], axis=1)
    return [_look(layout, eye, turn) for eye, turn in zip(eyes, 2 * np.pi * phase)]


def _look(layout: Layout, eye: NDArray, turn: float) -> NDArray[np.float64]:
    """Return the pose at ``eye`` (2,) and phase ``turn`` (0..2 pi) of the path."""
    w, d, _ = layout.size
    low, high = EYE_HEIGHT_M
    height = (low + high) / 2 + (high - low) / 2 * np.sin(3 * turn)
    across = -eye * np.array([0.75, 0.75])
    forward = across - eye
    sway = 0.42 * np.sin(5 * turn)
    c, s = np.cos(sway), np.sin(sway)
    target = eye + np.array([c * forward[0] - s * forward[1], s * forward[0] + c * forward[1]])
    target = np.clip(target, (-w / 2, -d / 2), (w / 2, d / 2))
    reach = np.linalg.norm(target - eye)
    pitch = -0.30 + 0.17 * np.sin(4 * turn + 1.0)
    pose = look_at((*eye, height), (*target, height + np.tan(pitch) * reach))
    return np.asarray(pose, np.float64)


def clearance(layout: Layout) -> NDArray[np.float32]:
    """Return the distance (m) to the nearest obstacle or wall of each cell (rows y, columns x)."""
    w, d, _ = layout.size
    free = np.zeros((int(d / CELL_M), int(w / CELL_M)), np.uint8)
    free[1:-1, 1:-1] = 1
    for piece in layout.pieces:
        if piece.on_floor:
            corners = (piece.footprint() + (w / 2, d / 2)) / CELL_M
            cv2.fillPoly(free, [np.rint(corners).astype(np.int32)], (0,))
    return cv2.distanceTransform(free, cv2.DIST_L2, 5).astype(np.float32) * CELL_M


def walk(layout: Layout) -> NDArray[np.float64]:
    """Return a closed path (N, 2) in metres.

    It passes the place with most free space in each direction from the centre, keeps a distance to
    obstacles, and is smoothed as far as the furniture allows."""
    space = clearance(layout)
    stations = _stations(space)
    cells: list[tuple[int, int]] = []
    for start, end in zip(stations, stations[1:] + stations[:1]):
        cells += _way(space, start, end)[:-1]
    half = np.array(layout.size[:2]) / 2
    path = (np.array(cells)[:, ::-1] + 0.5) * CELL_M - half
    for width in (0.45, 0.3, 0.2, 0.1, 0.05):
        smooth = _smoothed(path, width / CELL_M)
        if _clearance_at(space, smooth + half).min() >= CLEARANCE_M * 0.8:
            return smooth
    return path


def _stations(space: NDArray) -> list[tuple[int, int]]:
    """Return the cell with most free space in each of ``STATIONS`` directions from the centre."""
    rows, columns = np.indices(space.shape)
    x, y = columns / space.shape[1] - 0.5, rows / space.shape[0] - 0.5
    sector = ((np.arctan2(y, x) / (2 * np.pi) + 1) * STATIONS).astype(int) % STATIONS
    reached = _component(space)
    stations = []
    for k in range(STATIONS):
        score = np.where((sector == k) & reached, np.minimum(space, 0.5) + np.hypot(x, y), -1.0)
        if score.max() > 0:
            row, column = np.unravel_index(int(score.argmax()), score.shape)
            stations.append((int(row), int(column)))
    return stations


def _component(space: NDArray) -> NDArray[np.bool_]:
    """Return a mask of the largest connected region with enough clearance."""
    walkable = (space >= CLEARANCE_M).astype(np.uint8)
    _, regions, stats, _ = cv2.connectedComponentsWithStats(walkable, connectivity=4)
    return regions == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))


def _way(space: NDArray, start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the cells of the cheapest path (Dijkstra): short, but with clearance."""
    cost = 1.0 + 0.15 / np.maximum(space - CLEARANCE_M + 0.05, 0.01) ** 1.0
    cost[space < CLEARANCE_M] = 1e4
    best, came = {start: 0.0}, {}
    queue = [(0.0, start)]
    moves = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
    while queue:
        so_far, cell = heapq.heappop(queue)
        if cell == end:
            break
        if so_far > best[cell]:
            continue
        for a, b in moves:
            after = (cell[0] + a, cell[1] + b)
            if not (0 <= after[0] < space.shape[0] and 0 <= after[1] < space.shape[1]):
                continue
            total = so_far + np.hypot(a, b) * float(cost[after])
            if total < best.get(after, np.inf):
                best[after], came[after] = total, cell
                heapq.heappush(queue, (total, after))
    cells = [end]
    while cells[-1] != start:
        cells.append(came[cells[-1]])
    return cells[::-1]


def _smoothed(path: NDArray, sigma: float) -> NDArray:
    """Return a closed path, smoothed by a Gaussian of ``sigma`` points."""
    reach = int(3 * sigma) + 1
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    wrapped = np.concatenate([path[-reach:], path, path[:reach]])
    return np.stack([np.convolve(wrapped[:, i], weights, "valid") for i in (0, 1)], axis=1)


def _clearance_at(space: NDArray, points: NDArray) -> NDArray:
    """Clearance at points (N, 2) measured from the room's lower corner."""
    cells = np.clip((points / CELL_M).astype(int), 0, np.array(space.shape)[::-1] - 1)
    return space[cells[:, 1], cells[:, 0]]
