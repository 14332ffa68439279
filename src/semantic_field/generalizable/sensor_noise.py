"""Faults of real sensors, added to exact frames: for training, and for measuring under noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from semantic_field.frames import VOID_LABEL, Frame
from semantic_field.generalizable.label_segments import segments_of
from semantic_field.geometry import make_transform

EDGE_STEP = 0.04  # relative depth difference of neighbouring pixels at an edge
BLOB = 0.02  # size of holes, in image widths


@dataclass(frozen=True)
class SensorNoise:
    """How much of each fault is added.

    Attributes:
        depth: factor of the depth noise, whose standard deviation is 1.2 mm + 1.9 mm (z - 0.4)^2
            as of a Kinect (Nguyen et al. 2012).
        edges: whether pixels at depth discontinuities have no reading.
        missing: share of the area, in blobs, without a reading.
        wrong_segments: share of the connected areas of one label that get another class.
        merged_segments: share of the connected areas that get the label of an area beside them, as
            of things that a network overlooks.
        ragged_px: standard deviation by which borders of labels are displaced, pixels.
        exposure: standard deviation of the logarithm of each frame's gain.
        color: standard deviation of the noise of colours, 0..255.
        position_m, angle_rad: standard deviations of the errors of poses, for each axis.
    Raises:
        ValueError: on a negative number, or a share above 1.
    """

    depth: float = 1.0
    edges: bool = True
    missing: float = 0.15
    wrong_segments: float = 0.3
    merged_segments: float = 0.0
    ragged_px: float = 0.0
    exposure: float = 0.0
    color: float = 0.0
    position_m: float = 0.0
    angle_rad: float = 0.0

    def __post_init__(self) -> None:
        values = {name: float(value) for name, value in vars(self).items()}
        if (
            min(values.values()) < 0
            or max(self.missing, self.wrong_segments, self.merged_segments) > 1
        ):
            raise ValueError(f"expected numbers from 0 on, and shares up to 1, got {values}")


EXACT = SensorNoise(depth=0, edges=False, missing=0, wrong_segments=0)


def corrupted(
    frame: Frame, noise: SensorNoise, classes: NDArray[np.int32], random: np.random.Generator
) -> Frame:
    """Return a frame with faults added.

    Args:
        classes: class ids from which wrong ones are drawn.
    """
    labels = frame.labels
    if labels is not None and noise.ragged_px > 0:
        labels = _ragged(labels, noise.ragged_px, random)
    if labels is not None and noise.merged_segments > 0:
        labels = with_merged_segments(labels, noise.merged_segments, random)
    if labels is not None and noise.wrong_segments > 0 and len(classes) > 1:
        labels = with_wrong_segments(labels, noise.wrong_segments, classes, random)
    return replace(
        frame,
        color=_exposed(frame.color, noise, random),
        depth=_measured(frame.depth, noise, random),
        labels=labels,
        T_world_camera=_displaced(frame.T_world_camera, noise, random),
    )


def with_wrong_segments(
    labels: Int[NDArray, "H W"],
    share: float,
    classes: NDArray[np.int32],
    random: np.random.Generator,
) -> Int[NDArray, "H W"]:
    """Return labels in which a share of the connected areas of one label have another class."""
    segments = segments_of(labels)
    first = np.zeros(segments.max() + 1, np.int64)
    first[segments.ravel()] = np.arange(segments.size)
    old = labels.ravel()[first]
    place = np.searchsorted(classes, old)
    drawn = random.integers(1, len(classes), len(old))
    new = classes[(place + drawn) % len(classes)]
    wrong = (random.random(len(old)) < share) & (old != VOID_LABEL) & (new != old)
    return np.where(wrong, new, old)[segments].astype(np.int32)


def with_merged_segments(
    labels: Int[NDArray, "H W"], share: float, random: np.random.Generator
) -> Int[NDArray, "H W"]:
    """Return labels in which a share of the connected areas have the label of one beside them."""
    segments = segments_of(labels)
    old = np.zeros(segments.max() + 1, np.int64)
    old[segments.ravel()] = labels.ravel()
    pairs = [
        np.stack([one.ravel(), other.ravel()])
        for one, other in ((segments[:, 1:], segments[:, :-1]), (segments[1:], segments[:-1]))
    ]
    one, other = np.concatenate([*pairs, *(pair[::-1] for pair in pairs)], 1)
    beside = np.arange(len(old))
    order = random.permutation(np.flatnonzero(one != other))
    beside[one[order]] = other[order]  # the last writer wins: drawn by the length of the border
    new = np.where(random.random(len(old)) < share, old[beside], old)
    return np.where(old == VOID_LABEL, old, new)[segments].astype(np.int32)


def _measured(
    depth: Float[NDArray, "H W"], noise: SensorNoise, random: np.random.Generator
) -> Float[NDArray, "H W"]:
    """Return depth as measured: noisy, without readings at edges and in blobs."""
    valid = depth > 0
    if noise.edges:
        edges = cv2.morphologyEx(depth, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        valid &= edges <= EDGE_STEP * depth
    if noise.missing > 0:
        valid &= ~_blobs(depth.shape, noise.missing, random)
    if noise.depth > 0:
        grain = random.standard_normal(depth.shape, np.float32)
        grain = cv2.GaussianBlur(grain, (0, 0), 0.8)
        depth = depth + noise.depth * grain / grain.std() * (0.0012 + 0.0019 * (depth - 0.4) ** 2)
    return np.where(valid, depth, 0).astype(np.float32)


def _blobs(shape: tuple[int, ...], share: float, random: np.random.Generator) -> NDArray[np.bool_]:
    """Return a mask of blobs that covers a share of an image."""
    height, width = shape
    coarse = random.standard_normal((round(1 / BLOB), round(1 / BLOB)), np.float32)
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return field > np.quantile(field, 1 - share)


def _ragged(
    labels: Int[NDArray, "H W"], pixels: float, random: np.random.Generator
) -> Int[NDArray, "H W"]:
    """Return labels whose borders are displaced smoothly by a few pixels."""
    height, width = labels.shape
    coarse = random.standard_normal((2, 1 + height // 12, 1 + width // 12)).astype(np.float32)
    v, u = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    moved = [cv2.resize(axis, (width, height)) * pixels for axis in coarse]
    v = np.rint(v + moved[0]).clip(0, height - 1).astype(np.int64)
    u = np.rint(u + moved[1]).clip(0, width - 1).astype(np.int64)
    return labels[v, u]


def _exposed(
    color: NDArray[np.uint8], noise: SensorNoise, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Return colours with another gain, and with noise."""
    if noise.exposure == 0 and noise.color == 0:
        return color
    gain = np.exp(random.normal(0, noise.exposure)) if noise.exposure else 1.0
    grain = random.standard_normal(color.shape, np.float32) * np.float32(noise.color)
    return (color * np.float32(gain) + grain).clip(0, 255).astype(np.uint8)


def _displaced(
    T_world_camera: NDArray[np.float64], noise: SensorNoise, random: np.random.Generator
) -> NDArray[np.float64]:
    """Return a pose with a small error."""
    if noise.position_m == 0 and noise.angle_rad == 0:
        return T_world_camera
    turn, _ = cv2.Rodrigues(random.normal(0, 1, 3) * noise.angle_rad)
    error = make_transform(np.asarray(turn), random.normal(0, 1, 3) * noise.position_m)
    return T_world_camera @ error
