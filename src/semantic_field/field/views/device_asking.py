"""What keyframes say about points of a surface, on a device; the counterpart of ``asking``.

All keyframes are asked about all points at once: by one Triton kernel on a GPU
(``kernels.triton_asking``), else in torch. Nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semantic_field.field.rays.keyframe_arrays import DeviceImages
from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED, MASKED
from semantic_field.field.views import asking, seeing
from semantic_field.field.views.device_seeing import DeviceLenses, numbers

COLOR_SINE2, LABEL_SINE2 = float(asking.COLOR_SINE2), float(asking.LABEL_SINE2)
UNREAD, OFF_SHARE = float(asking.UNREAD), float(asking.OFF_SHARE)
BEHIND, CLEARLY, SLACK = float(asking.BEHIND), float(asking.CLEARLY), float(asking.SLACK)
PER_BORDER, PER_COSINE = float(asking.PER_BORDER), float(asking.PER_COSINE)
TINY = float(asking.TINY)


class Answers(NamedTuple):
    """What K keyframes say about N points.

    Attributes:
        shown, votes: weights of the points' colours and labels, 0 where a keyframe does not see
            the point.
        past: weight with which a keyframe looks through the point.
        off: difference between reading and point, divided by the point's depth.
        facing: distance of each camera from the plane of each point, metres.
        index: number of the pixel that shows the point, among those of all images; of no use
            where ``votes`` and ``past`` are 0.
    """

    shown: Float[Tensor, "K N"]
    votes: Float[Tensor, "K N"]
    past: Float[Tensor, "K N"]
    off: Float[Tensor, "K N"]
    facing: Float[Tensor, "K N"]
    index: Int[Tensor, "K N"]


Asking = Callable[..., Answers]
"""Asks K keyframes about N points, with the arguments of ``ask``."""


def ask(
    points: Float[Tensor, "3 N"],
    normals: Float[Tensor, "3 N"],
    lenses: DeviceLenses,
    images: DeviceImages,
    slots: Int[Tensor, " K"],
    focal: float,
    doubted: float = 0.0,
) -> Answers:
    """Ask K keyframes about N points, as ``asking.ask_all`` does.

    Args:
        points: in the target camera's axes, metres, z = 0 for none.
        normals: unit normals in the same axes.
        images: of at least K keyframes. slots: which of them the lenses belong to.
        focal: focal length of the target camera, pixels.
        doubted: factor of the weights where readings differ somewhat, see ``asking.asked``.
    """
    return asking_on(points.device.type)(points, normals, lenses, images, slots, focal, doubted)


@cache
def asking_on(device_type: str) -> Asking:
    """Return the fastest way to ask keyframes on a device: Triton on a GPU that has it."""
    has_triton = device_type == "cuda" and find_spec("triton") is not None
    return ask_in_triton if has_triton else ask_in_torch


def ask_in_triton(
    points: Float[Tensor, "3 N"],
    normals: Float[Tensor, "3 N"],
    lenses: DeviceLenses,
    images: DeviceImages,
    slots: Int[Tensor, " K"],
    focal: float,
    doubted: float = 0.0,
) -> Answers:
    """See ``ask``; one kernel launch."""
    from semantic_field.kernels import triton_asking

    size, block = (len(lenses.width), points.shape[1]), triton_asking.BLOCK
    floats = torch.empty(5, *size, device=points.device).unbind()
    index = torch.empty(size, dtype=torch.int64, device=points.device)
    arguments = [
        points.contiguous(), normals.contiguous(), *lenses, slots, images.depths, images.labels,
        *floats, index, size[1], images.labels.shape[1], focal, doubted,
    ]  # fmt: skip
    with torch.cuda.device_of(points):
        triton_asking.ask[(-(-size[1] // block), size[0])](
            *arguments,
            **_CONSTANTS,
            block=block,  # pyright: ignore[reportArgumentType]
        )
    return Answers(floats[0], floats[1], floats[2], floats[3], floats[4], index)


_CONSTANTS = {
    "color_sine2": COLOR_SINE2, "label_sine2": LABEL_SINE2, "per_border": PER_BORDER,
    "per_cosine": PER_COSINE, "nearest": seeing.NEAREST_M, "noise": seeing.NOISE_M,
    "noise_per_m": seeing.NOISE_PER_M, "flattest": seeing.FLATTEST, "unread": UNREAD,
    "behind": BEHIND, "clearly": CLEARLY, "slack": SLACK, "off_share": OFF_SHARE,
    "unit": DEPTH_UNIT_M, "masked": MASKED, "tiny": TINY,
}  # fmt: skip


def ask_in_torch(
    points: Float[Tensor, "3 N"],
    normals: Float[Tensor, "3 N"],
    lenses: DeviceLenses,
    images: DeviceImages,
    slots: Int[Tensor, " K"],
    focal: float,
    doubted: float = 0.0,
) -> Answers:
    """See ``ask``."""
    pixel, far = lenses.projected(points)
    color, label, facing, cosine = _look(points, normals, pixel, far, lenses, focal)
    seen = label > 0
    index = numbers(torch.where(seen[:, None], pixel, 0.0), lenses.width, images, slots)
    stored = images.depths.view(-1)[index]  # (K, N), negative where filled in
    reading, guess = stored * DEPTH_UNIT_M, (stored & GUESSED - 1) * DEPTH_UNIT_M
    seen &= images.labels.view(-1)[index] != MASKED
    read = reading > 0
    most = (far * seeing.NOISE_PER_M + seeing.NOISE_M) / cosine.clamp_min(seeing.FLATTEST)
    off = reading - far
    agrees = seen & read & (off.abs() <= most)
    in_doubt = seen & read & ~agrees & (off.abs() <= (SLACK if doubted > 0 else 1.0) * most)
    kept = 1 - OFF_SHARE * (off / most).square()
    kept = torch.where(agrees, kept, torch.where(in_doubt, doubted, 0.0))
    behind = (guess > 0) & (far - guess > CLEARLY * most)
    kept = torch.where(seen & ~read, torch.where(behind, BEHIND, UNREAD), kept)
    return Answers(
        shown=torch.where(seen, color * kept, 0.0),
        votes=torch.where(seen, label * kept, 0.0),
        past=torch.where(seen & read & ~in_doubt & (off > most), label, 0.0),
        off=torch.where(agrees, off / far, 0.0),
        facing=facing,
        index=index,
    )


def _look(
    points: Float[Tensor, "3 N"],
    normals: Float[Tensor, "3 N"],
    pixel: Float[Tensor, "K 2 N"],
    far: Float[Tensor, "K N"],
    lenses: DeviceLenses,
    focal: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How well K keyframes would show N points if nothing hid them; see ``asking.look``.

    Returns:
        Weights of colours and labels, distances of the cameras from the points' planes, and
        cosines of incidence, all (K, N).
    """
    away = torch.linalg.vector_norm(points - lenses.position[..., None], dim=1)
    square = points.square().sum(0)
    along = torch.addmm(square, lenses.position, points, alpha=-1).clamp_min(0)
    sine2 = (1 - (along / (away * square.sqrt() + TINY)).square()).clamp_min(0)
    facing = torch.addmm((normals * points).sum(0), lenses.position, normals, beta=-1)
    cosine = facing / (away + TINY)
    border = torch.minimum(pixel, lenses.last - pixel).amin(1)
    inside = ((border + 0.5) * (PER_BORDER / lenses.width)).clamp(0, 1)
    detail = (lenses.focal / focal * points[2] / far.clamp_min(seeing.NEAREST_M)).clamp_max(1)
    weight = lenses.trust * inside * detail.square() * (cosine * PER_COSINE).clamp(0, 1)
    weight = torch.where(far > seeing.NEAREST_M, weight, 0.0)
    color = weight * COLOR_SINE2 / (sine2 + COLOR_SINE2)
    return color, weight * LABEL_SINE2 / (sine2 + LABEL_SINE2), facing, cosine
