"""Consistency check of a recording's intrinsics, depth unit and poses, by reprojection.

The depth of one frame, reprojected into another one by the poses, must agree with that frame's
depth and colours. The residual of a pair is the mean of both differences, each clipped at 1: depth
in units of 3 %, colour in units of 30 grey levels. If another focal length or depth unit makes the
residual much smaller, the recording's value is wrong. This is an error, or only a warning if the
caller gave the value explicitly.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.data.registration import OutlineEvidence
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, invert_transform, moved_and_turned, transform_points

log = logging.getLogger(__name__)
FACTORS: Final = (
    *(0.2, 0.25, 0.33, 0.5, 0.6, 0.7, 0.75, 0.8, 0.84, 0.88, 0.92, 0.95, 0.97, 1.0),
    *(1.03, 1.06, 1.1, 1.15, 1.2, 1.25, 1.33, 1.5, 1.67, 2.0, 3.0, 4.0, 5.0),
)
LEAST_GAIN: Final = 0.15  # relative gain of the residual; correct recordings have 0 (docs/data.md)
LEAST_DROP: Final = 0.03  # absolute gain of the residual
GOOD_RESIDUAL: Final = 0.4  # largest residual of frames that agree; higher ones are ignored
LEAST_CHANGE: Final = 0.04  # of the factor from 1
PAIRS, LEAST_PAIRS, LEAST_POINTS = 6, 3, 150
POINTS_ACROSS: Final = 64  # reprojected points along a frame's width
DEPTH_SHARE, GREY_LEVELS = 0.03, 30.0
USUAL_TURN_RAD, USUAL_STEP_M, FARTHEST_FRAME = 0.2, 0.35, 40


class PosedSource(Protocol):
    """A recording whose poses are known without decoding its images."""

    name: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Frame: ...

    @property
    def poses(self) -> Sequence[NDArray[np.float64]]:
        """``T_world_camera`` of all frames."""
        ...


@dataclass(frozen=True)
class Fit:
    """A better fit than the recording's value: a factor on ``what`` ("focal" or "depth")."""

    what: str
    factor: float
    residual: float
    own_residual: float

    @property
    def gain(self) -> float:
        return 1 - self.residual / max(self.own_residual, 1e-9)


def check_geometry(source: PosedSource, given: Set[str] = frozenset()) -> None:
    """Check focal length, depth unit and depth registration on a few frames of a recording.

    Args:
        given: values set by the caller, for which errors become warnings: "camera",
            "depth_scale", "register".
    Raises:
        ValueError: if one of them is wrong.
    """
    pairs = _decoded(source)
    frames = [frame for pair in pairs for frame in pair]
    if not frames:
        return
    fit = better_fit(pairs)
    if fit is not None:
        option = {"focal": "camera", "depth": "depth_scale"}[fit.what]
        _say(_describe(source.name, fit, frames[0].camera), option in given)
    evidence = OutlineEvidence()
    for frame in frames[:: max(1, len(frames) // PAIRS)]:
        evidence.add(frame.color, frame.depth, frame.camera)
    offset = evidence.offset()
    if offset is not None and fit is None:
        _say(
            f"expected depth that is registered to colour in {source.name}, got: {offset}; take "
            "the driver's aligned depth, or --register (a bag with TF and the depth camera's "
            "CameraInfo), or --no-register to take it as it is",
            "register" in given,
        )


def _say(message: str, only_warn: bool) -> None:
    if not only_warn:
        raise ValueError(message)
    log.warning("%s", message)


def _describe(name: str, fit: Fit, camera: Camera) -> str:
    fits = f"(residual {fit.own_residual:.2f}, with that {fit.residual:.2f})"
    if fit.what == "focal":
        focal = camera.fx * fit.factor
        return (
            f"expected the camera of {name}, got one that its images deny: frames fit each other "
            f"better with a focal length of about {focal:.0f} than with {camera.fx:.0f} pixels "
            f"{fits}; give the right one with --camera FX,FY,CX,CY,W,H"
        )
    return (
        f"expected the depth of {name} in metres, got depth that its images deny: frames fit each "
        f"other better with depth times {fit.factor:g} {fits}; give the metres of one unit with "
        "--depth-scale"
    )


def better_fit(pairs: list[tuple[Frame, Frame]]) -> Fit | None:
    """Return the factor on focal length or depth with a clearly smaller residual, or None."""
    residuals = {what: _residuals(pairs, what) for what in ("focal", "depth")}
    found = []
    for what, table in residuals.items():  # (pairs, factors)
        usable = table[~np.isnan(table).all(1)]
        if len(usable) < LEAST_PAIRS:
            continue
        # A factor with which frames have nothing in common counts as a bad fit.
        middle = np.median(np.where(np.isnan(usable), 1.0, usable), axis=0)
        best = int(middle.argmin())
        fit = Fit(what, FACTORS[best], float(middle[best]), float(middle[FACTORS.index(1.0)]))
        if fit.residual > GOOD_RESIDUAL:
            continue
        drop = fit.own_residual - fit.residual
        if fit.gain >= LEAST_GAIN and drop >= LEAST_DROP and abs(fit.factor - 1) >= LEAST_CHANGE:
            found.append(fit)
    return min(found, key=lambda fit: fit.residual, default=None)


def _residuals(pairs: list[tuple[Frame, Frame]], what: str) -> NDArray[np.float64]:
    """Return the residuals (pairs, factors); NaN if two frames have little in common."""
    rows = []
    for first, second in pairs:
        greys = _grey(first), _grey(second)
        rows.append([_residual(first, second, greys, what, factor) for factor in FACTORS])
    return np.array(rows)


def _residual(
    first: Frame,
    second: Frame,
    greys: tuple[NDArray[np.float32], NDArray[np.float32]],
    what: str,
    factor: float,
) -> float:
    camera, scale = first.camera, 1.0
    if what == "focal":
        camera = replace(camera, fx=camera.fx * factor, fy=camera.fy * factor)
    else:
        scale = factor
    step = max(1, camera.width // POINTS_ACROSS)
    v, u = np.nonzero(first.depth[::step, ::step])
    v, u = v * step, u * step
    z = first.depth[v, u] * scale
    T_second_first = invert_transform(second.T_world_camera) @ first.T_world_camera
    points = transform_points(T_second_first, camera.lift(u, v, z))
    inside, x, y, z = camera.pixels_inside(points)
    there = second.depth[y, x] * scale
    both = there > 0
    if both.sum() < LEAST_POINTS:
        return float("nan")
    apart = np.abs(z[both] - there[both]) / (DEPTH_SHARE * z[both])
    grey = greys[0][v[inside], u[inside]] - greys[1][y, x]
    photometric = np.minimum(np.abs(grey) / GREY_LEVELS, 1).mean()
    return float(np.minimum(apart, 1).mean() + photometric) / 2


def _grey(frame: Frame) -> NDArray[np.float32]:
    gray = cv2.cvtColor(frame.color, cv2.COLOR_RGB2GRAY)
    return cv2.GaussianBlur(gray, (0, 0), 1.5).astype(np.float32)


def _decoded(source: PosedSource) -> list[tuple[Frame, Frame]]:
    """Return decoded pairs of frames with some motion between them, over the recording."""
    pairs = []
    for i, j in _choose(source):
        try:
            pairs.append((source[i], source[j]))
        except ValueError as error:  # raised again when the frame itself is read
            log.debug("not looked at: %s", error)
    return [(a, b) for a, b in pairs if a.camera == b.camera]


def _choose(source: PosedSource) -> list[tuple[int, int]]:
    last, poses = len(source) - 1, source.poses
    pairs = []
    for i in np.unique(np.linspace(0, max(last - 1, 0), PAIRS).astype(int)).tolist():
        T_first_world = invert_transform(poses[i])
        after = range(i + 1, min(i + FARTHEST_FRAME, last) + 1)
        motion = {j: abs(_motion(T_first_world @ poses[j]) - 1) for j in after}
        if motion:
            pairs.append((i, min(motion, key=lambda j: motion[j])))
    return pairs


def _motion(T: NDArray[np.floating]) -> float:
    """Return a measure of camera motion; 1 is enough to distinguish focal lengths."""
    moved, turned = moved_and_turned(T, np.eye(4))
    return float(turned / USUAL_TURN_RAD + moved / USUAL_STEP_M)
