"""How far two keyframes disagree at their given poses: in place, and in brightness.

The surface points of one view are projected into the other. The small rigid motion that would
make them agree there is found by Gauss-Newton steps on depth (point to plane; Chen & Medioni 1991)
and on brightness (Steinbrücker et al. 2011) together. What that motion would shift is the error of
the poses; the ratio of colours that remains is a difference of exposure.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from semantic_field.geometry import invert_transform, transform_points
from semantic_field.mapping.robustness.reduced_view import ReducedView

POINTS_ACROSS = 40  # of a row of a reduced view
STEPS = 3
LEAST_MATCHES = 60  # points
LEAST_SHARE = 0.2  # of the points of the first view, that match
SAME_M, SAME_SHARE = 0.06, 0.03  # a point matches if depths differ less: metres, share of depth
DEPTH_NOISE_M = 0.002  # standard deviation at depth z: this times (1 + z^2)
LOG_NOISE = 0.06  # standard deviation of logarithms of grey values
PRIOR_RAD, PRIOR_M = 0.02, 0.03  # expected size of pose errors; holds unobserved motions at zero
LEAST_COLOR, MOST_COLOR = 15, 235  # other values may be clipped
NORMAL_MEDIAN = 0.6745  # median of the absolute values of a standard normal distribution


@dataclass(frozen=True)
class Disagreement:
    """What two overlapping views show about poses and exposures.

    Attributes:
        shift_m: by how much surface points would have to move, metres; median over the points.
        shift_pixels: the same as seen in the second view, in pixels of the keyframe.
        uncertain_m: standard deviation of these moves as expected from noise, metres; large where
            surfaces and texture do not determine them.
        log_gain: logarithm of the ratio of colours (3,), second view to first; NaN if unknown.
    """

    shift_m: float
    shift_pixels: float
    uncertain_m: float
    log_gain: Float[NDArray, " 3"]


def compare(first: ReducedView, second: ReducedView) -> Disagreement | None:
    """Compare two views; None if they overlap too little."""
    stride = max(1, first.camera.width // POINTS_ACROSS)
    raster = (slice(stride // 2, None, stride),) * 2
    chosen = first.usable[raster]
    color, log = first.color[raster][chosen], first.log[raster][chosen]
    points = first.points[raster][chosen].astype(np.float64)
    T_second_first = invert_transform(second.pose) @ first.pose
    given = transform_points(T_second_first, points)
    motion, moved = np.eye(4), given
    for _ in range(STEPS):
        matches = _match(moved, color, log, second)
        if matches is None or len(matches.of) < LEAST_SHARE * len(points):
            return None
        step, certainty = matches.step()
        motion = step @ motion
        moved = transform_points(motion, given)
    matches = _match(moved, color, log, second)
    if matches is None:
        return None
    move = moved[matches.of] - given[matches.of]
    z = moved[matches.of, 2:]
    across = np.linalg.norm(move - moved[matches.of] * (move[:, 2:] / z), axis=1) / z[:, 0]
    return Disagreement(
        float(np.median(np.linalg.norm(move, axis=1))),
        float(np.median(across) * second.camera.fx * second.scale),
        matches.uncertainty(certainty),
        matches.log_gain(),
    )


@dataclass(frozen=True)
class _Matches:
    """The M points that lie on a surface of the second view, and what it shows there.

    Attributes:
        of: indices of the points. points: in the second camera's frame (M, 3).
        normals: of the surface (M, 3). apart: distance of a point before it (M,), metres.
        slope: change of the logarithm of grey values with a motion of the point (M, 3).
        darker: difference of these logarithms (M,), second view less first.
        colors: of both views (2, M, 3). colored: mask (M,) of colours that are not clipped.
    """

    of: NDArray[np.int64]
    points: NDArray[np.floating]
    normals: NDArray[np.float64]
    apart: NDArray[np.float64]
    slope: NDArray[np.float64]
    darker: NDArray[np.float64]
    colors: NDArray[np.float32]
    colored: NDArray[np.bool_]

    def step(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return a motion (4, 4) that lets points and colours agree better, and its certainty.

        The certainty is the matrix (6, 6) of the normal equations, of a rotation vector and a
        translation.
        """
        noise = _depth_noise_m(self.points)
        of_depth = np.concatenate([np.cross(self.points, self.normals), self.normals], axis=1)
        of_color = np.concatenate([np.cross(self.points, self.slope), self.slope], axis=1)
        trust = _robust(self.apart / noise) / noise**2
        brighter = self.darker - np.median(self.darker[self.colored] if self.colored.any() else 0.0)
        color_trust = self.colored * _robust(brighter / LOG_NOISE) / LOG_NOISE**2
        weighted = of_depth * trust[:, None], of_color * color_trust[:, None]
        certainty = weighted[0].T @ of_depth + weighted[1].T @ of_color
        certainty += np.diag([PRIOR_RAD**-2] * 3 + [PRIOR_M**-2] * 3)
        pull = weighted[0].T @ self.apart + weighted[1].T @ brighter
        motion = -np.linalg.solve(certainty, pull)
        step = np.eye(4)
        step[:3, :3], step[:3, 3] = cv2.Rodrigues(motion[:3])[0], motion[3:]
        return step, certainty

    def uncertainty(self, certainty: NDArray[np.float64]) -> float:
        """Return the standard deviation of the points' moves, metres, see ``Disagreement``."""
        noise = np.median(np.abs(self.apart) / _depth_noise_m(self.points)) / NORMAL_MEDIAN
        spread = np.linalg.inv(certainty)
        some = self.points[:: max(1, len(self.points) // 20)]
        crossed = -np.cross(np.eye(3), some[:, None])  # (N, 3, 3): turn to motion
        arms = np.concatenate([crossed, np.broadcast_to(np.eye(3), crossed.shape)], axis=2)
        variance = np.einsum("nij,jk,nik->n", arms, spread, arms)
        return float(max(1.0, noise) * np.sqrt(variance.mean()))

    def log_gain(self) -> NDArray[np.float64]:
        """Return ``Disagreement.log_gain``."""
        if self.colored.sum() < LEAST_MATCHES:
            return np.full(3, np.nan)
        before, after = self.colors[:, self.colored].astype(np.float64)
        return np.median(np.log(after / before), axis=0)


def _match(
    points: NDArray[np.floating],
    color: NDArray[np.float32],
    log: NDArray[np.float32],
    view: ReducedView,
) -> _Matches | None:
    """Find the points (N, 3), in the view's frame, that lie on its surfaces; None if too few."""
    camera = view.camera
    index, u, v, z = camera.pixels_inside(points)
    near = view.usable[v, u] & (np.abs(view.depth[v, u] - z) < SAME_M + SAME_SHARE * z)
    index, u, v = index[near], u[near], v[near]
    if len(index) < LEAST_MATCHES:
        return None
    here, normals = points[index], view.normals[v, u].astype(np.float64)
    x, y = camera.project(here)[0].astype(np.float32).T[:, None]
    there = cv2.remap(view.color, x, y, cv2.INTER_LINEAR)[0]
    log_there, along, down = (
        cv2.remap(image, x, y, cv2.INTER_LINEAR)[0] for image in (view.log, *view.slope)
    )
    along, down = along * camera.fx / here[:, 2], down * camera.fy / here[:, 2]
    inwards = -(along * here[:, 0] + down * here[:, 1]) / here[:, 2]
    colors = np.stack([color[index], there])
    return _Matches(
        of=index,
        points=here,
        normals=normals,
        apart=((here - view.points[v, u]) * normals).sum(1),
        slope=np.stack([along, down, inwards], axis=1),
        darker=(log_there - log[index]).astype(np.float64),
        colors=colors,
        colored=np.asarray(((colors > LEAST_COLOR) & (colors < MOST_COLOR)).all((0, 2))),
    )


def _depth_noise_m(points: NDArray[np.floating]) -> NDArray[np.floating]:
    return DEPTH_NOISE_M * (1 + points[:, 2] ** 2)


def _robust(scaled: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return Huber's weights of residuals that are scaled by their standard deviation."""
    return 1 / np.maximum(1.0, np.abs(scaled) / 1.5)
