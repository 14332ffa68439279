"""Detection of unregistered depth, and reprojection of depth to the colour camera.

At a depth discontinuity, the near side is the outline of an object, which usually is an edge in
colour as well. Depth of a camera next to the colour camera has its outlines shifted by
``focal * b / z`` pixels, where b is the distance (baseline) of the two. The score of a baseline is
the mean rank of the colour gradient (0.5 on average, 1 for the strongest in the image) at the
outlines shifted by it: registered depth has its best score at 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.geometry import Camera, moved_and_turned, transform_points

BASELINES_M: Final = np.arange(-30, 31) * 0.005  # of cameras next to or above each other
JUMP: Final = 0.08  # depth discontinuity, relative to the nearer side
MAX_WIDTH: Final = 640  # wider images are subsampled
LEAST_OUTLINES: Final = 1000  # pixels; fewer are no evidence
LEAST_GAIN: Final = 0.05  # of the score; registered recordings have 0 (docs/data.md)
LEAST_BASELINE_M: Final = 0.01
LEAST_LOOKS, MOST_LOOKS, LOOK_PERIOD_NS = 3, 12, 300_000_000  # checks of a live stream
SAME_PLACE_M, SAME_DIRECTION_RAD = 0.005, 0.01  # frames closer than this are one camera
SAME_INTRINSICS: Final = 0.02

_ZERO: Final = len(BASELINES_M) // 2
_CENTRED: Final = np.abs(BASELINES_M) < LEAST_BASELINE_M


@dataclass(frozen=True)
class Offset:
    """Estimated position of the depth camera relative to the colour camera.

    Attributes:
        axis: "x" (positive = right) or "y" (positive = below).
        metres: along that axis.
        score, registered_score: of that position, and of the colour camera's own.
    """

    axis: str
    metres: float
    score: float
    registered_score: float

    def __str__(self) -> str:
        side = {"x": ("left", "right"), "y": ("above", "below")}[self.axis][self.metres > 0]
        where = f"{side} of" if self.axis == "x" else side
        return (
            f"outlines of depth lie on those of colour as if seen {abs(self.metres) * 1000:.0f} mm "
            f"{where} the colour camera (score {self.score:.2f}, as it is "
            f"{self.registered_score:.2f})"
        )


class OutlineEvidence:
    """Accumulates evidence from frames about the position of the depth camera."""

    def __init__(self) -> None:
        self._sums = np.zeros((2, len(BASELINES_M)))
        self._counts = np.zeros(2, int)

    def add(self, color: NDArray[np.uint8], depth: NDArray[np.float32], camera: Camera) -> None:
        """Add the evidence of colour, uint8 RGB (H, W, 3), and depth (H, W) in metres."""
        step = -(-camera.width // MAX_WIDTH)
        gray = cv2.cvtColor(color, cv2.COLOR_RGB2GRAY)[::step, ::step]
        gray = np.asarray(cv2.GaussianBlur(gray, (0, 0), 1.0), np.uint8)
        depth = depth[::step, ::step]
        for axis, focal in enumerate((camera.fx / step, camera.fy / step)):
            turned = (gray, depth) if axis == 0 else (gray.T, depth.T)
            sums, count = _score(*turned, focal)
            self._sums[axis] += sums
            self._counts[axis] += count

    @property
    def scores(self) -> NDArray[np.float64]:
        """Scores (2, B) by axis (x, y) and baseline; 0.5 without outlines."""
        counts = self._counts[:, None]
        return np.where(counts > 0, self._sums / np.maximum(counts, 1), 0.5)

    @property
    def enough(self) -> bool:
        return bool(self._counts.sum() >= LEAST_OUTLINES)

    def offset(self) -> Offset | None:
        """Return the depth camera's position if it is not that of the colour camera, else None."""
        found = []
        for axis, scores in enumerate(self.scores):
            best, own = int(scores.argmax()), float(scores[_CENTRED].max())
            if self._counts[axis] < LEAST_OUTLINES or scores[best] - own < LEAST_GAIN:
                continue
            # The best shift of the outlines gives the depth camera's position.
            found.append(Offset("xy"[axis], float(BASELINES_M[best]), float(scores[best]), own))
        return max(found, key=lambda o: o.score - o.registered_score, default=None)

    def prefers_registered(self, T_color_depth: NDArray[np.floating]) -> bool:
        """Return whether outlines fit colour better unchanged than shifted by ``T_color_depth``.

        The transform is between the frame_ids of colour and depth. True means that depth is
        registered although the frame_ids differ."""
        axis = int(np.abs(T_color_depth[:2, 3]).argmax())
        moved = int(np.abs(BASELINES_M - T_color_depth[axis, 3]).argmin())
        scores = self.scores[axis]
        return bool(
            self._counts[axis] >= LEAST_OUTLINES and scores[_ZERO] - scores[moved] > LEAST_GAIN
        )


def _score(
    gray: NDArray[np.uint8], depth: NDArray[np.float32], focal: float
) -> tuple[NDArray[np.float64], int]:
    """Return the sums of ranks over outlines along rows, by baseline (B,), and their number."""
    change = np.abs(cv2.Sobel(np.ascontiguousarray(gray), cv2.CV_16S, 1, 0))
    change = np.asarray(cv2.dilate(change, np.ones((1, 3), np.uint8)), np.int64)
    ranks = (np.cumsum(np.bincount(change.ravel())) / change.size)[change]
    v, u, z = _outlines(depth)
    sums = np.full(len(BASELINES_M), 0.5 * len(u))
    for i, baseline in enumerate(BASELINES_M):
        moved = np.rint(u + focal * baseline / z).astype(np.int64)
        inside = (moved >= 0) & (moved < depth.shape[1])
        sums[i] += (ranks[v[inside], moved[inside]] - 0.5).sum()
    return sums, len(u)


def _outlines(depth: NDArray[np.float32]) -> tuple[NDArray, NDArray, NDArray]:
    """Return rows, columns and depths of readings on the near side of discontinuities along rows.

    A hole (the sensor's shadow) counts as the farther of its two sides.
    """
    left, right = _last_reading(depth), _last_reading(depth[:, ::-1])[:, ::-1]
    full = np.where(depth > 0, depth, np.maximum(left, right))
    before, after = full[:, :-1], full[:, 1:]
    near = np.minimum(before, after)
    v, u = np.nonzero((np.abs(before - after) > JUMP * near) & (near > 0))
    u = np.where(before[v, u] < after[v, u], u, u + 1)
    real = depth[v, u] > 0
    return v[real], u[real], depth[v[real], u[real]]


def _last_reading(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return for every pixel the last reading up to it in its row; 0 if there is none."""
    columns = np.arange(depth.shape[1])
    last = np.maximum.accumulate(np.where(depth > 0, columns, 0), axis=1)
    return np.take_along_axis(depth, last, axis=1)


class RegistrationWatch:
    """Checks on the first frames of a live stream whether depth is registered to colour."""

    def __init__(self) -> None:
        self._evidence, self._looks, self._last_ns = OutlineEvidence(), 0, 0
        self._complaint = ""

    def complaint(
        self,
        stamp_ns: int,
        color: NDArray[np.uint8],
        depth: NDArray[np.float32],
        camera: Camera,
        T_color_depth: NDArray[np.floating] | None,
    ) -> str:
        """Return why depth cannot be used, "" if it can.

        Args:
            T_color_depth: between the frame_ids of colour and depth; None if unknown to TF.
        """
        if self._looks < MOST_LOOKS and abs(stamp_ns - self._last_ns) >= LOOK_PERIOD_NS:
            self._evidence.add(color, depth, camera)
            self._looks, self._last_ns = self._looks + 1, stamp_ns
            offset = self._evidence.offset() if self._looks >= LEAST_LOOKS else None
            self._complaint = "" if offset is None else str(offset)
        if T_color_depth is None or same_view(T_color_depth):
            return self._complaint
        if self._evidence.prefers_registered(T_color_depth):
            return ""
        millimetres = float(np.linalg.norm(T_color_depth[:3, 3])) * 1000
        return f"the frames of depth and colour are {millimetres:.0f} mm apart by TF"


def same_view(T_color_depth: NDArray[np.floating]) -> bool:
    """Return whether two frames are those of one camera: within 5 mm and 0.01 rad."""
    moved, turned = moved_and_turned(T_color_depth, np.eye(4))
    return bool(moved < SAME_PLACE_M and turned < SAME_DIRECTION_RAD)


def other_intrinsics(color: Any, depth: Any) -> bool:
    """Return whether the CameraInfo of depth has other intrinsics than that of colour.

    Compared with both K (raw) and P (rectified) of colour, scaled to the size of the depth images.
    """
    if not (np.any(depth.k) and depth.width and depth.height and color.width and color.height):
        return False  # not filled in: no evidence
    scale = np.array([depth.width / color.width, depth.height / color.height, 1])
    own = np.asarray(depth.k, float).reshape(3, 3)
    others = np.asarray(color.k, float).reshape(3, 3), np.asarray(color.p, float).reshape(3, 4)
    return not any(
        np.allclose(own, other[:, :3] * scale[:, None], rtol=SAME_INTRINSICS) for other in others
    )


def move_depth(
    depth: NDArray[np.float32],
    source: Camera,
    target: Camera,
    T_target_source: NDArray[np.floating],
) -> NDArray[np.float32]:
    """Reproject a depth image (metres, 0 = none) to another camera.

    Points are rounded to the nearest pixel; the nearest depth wins. If the target has a higher
    resolution, small holes remain (0).
    """
    points = transform_points(T_target_source, source.backproject(depth)[depth > 0])
    _, u, v, z = target.pixels_inside(points)
    moved = np.full(target.width * target.height, np.inf, np.float32)
    np.minimum.at(moved, v * target.width + u, z.astype(np.float32))
    moved[~np.isfinite(moved)] = 0
    return moved.reshape(target.height, target.width)
