"""Blending of keyframe images on pixels, on a device; the counterpart of ``blending``."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semantic_field.field.views import asking, blending
from semantic_field.field.views.device_asking import Answers
from semantic_field.field.views.device_seeing import DeviceLenses, numbers
from semantic_field.field.views.device_silhouettes import Ask
from semantic_field.field.views.device_sources import DeviceSources
from semantic_field.field.views.seeing import NOISE_M, NOISE_PER_M

FIELD_DEPTH, FIELD_COLOR = float(blending.FIELD_DEPTH), float(blending.FIELD_COLOR)
FIELD_LABEL, NEGLIGIBLE = float(blending.FIELD_LABEL), float(blending.NEGLIGIBLE)
FLATTEST_SLOPE = float(blending.FLATTEST_SLOPE)
DOUBTED = float(asking.DOUBTED)
LONGEST_MOVE, LEAST_SEEN = float(blending.LONGEST_MOVE), float(blending.LEAST_SEEN)
_CONSTANTS = {
    "field_depth": FIELD_DEPTH, "field_color": FIELD_COLOR, "field_label": FIELD_LABEL,
    "negligible": NEGLIGIBLE, "flattest_slope": FLATTEST_SLOPE, "longest_move": LONGEST_MOVE,
    "noise": NOISE_M, "noise_per_m": NOISE_PER_M, "least_seen": LEAST_SEEN,
}  # fmt: skip
Pixels = tuple[Tensor, Tensor, Tensor, Tensor]
"""Depths (N,), colours (N, 3), labels (N,) and confidences (N,)."""


def pixel_blend(
    sources: DeviceSources, lenses: DeviceLenses, exposures: Float[Tensor, "K 3 2"], asked: Ask
) -> TorchBlend:
    """Return the fastest way to blend pixels where the keyframes are: Triton on a GPU with it."""
    has_triton = sources.device.type == "cuda" and find_spec("triton") is not None
    return (TritonBlend if has_triton else TorchBlend)(sources, lenses, exposures, asked)


@dataclass(frozen=True)
class TorchBlend:
    """Blends pixels.

    Args:
        lenses, exposures: of the keyframes ``sources``, see ``DeviceSources.tuned``.
        asked: asks them about points and normals.
    """

    sources: DeviceSources
    lenses: DeviceLenses
    exposures: Float[Tensor, "K 3 2"]
    asked: Ask

    def __call__(
        self, directions: Tensor, z: Tensor, normals: Tensor, color: Tensor, label: Tensor
    ) -> Pixels:
        """Return depth, colour, label and confidence of N pixels, see ``blending.blend``.

        The confidence is 0 where the field's own is to be kept.

        Args:
            directions, normals: float32 (3, N), camera axes. z, color, label: of the field, (N,),
                uint8 (N, 3) and (N,).
        """
        known = z > 0
        answers = self.asked(directions * z, normals, doubted=DOUBTED)
        z = z + _move(answers, directions, z, normals)
        pixel, _ = self.lenses.projected(directions * z)
        pixel = torch.minimum(pixel.clamp_min(0), self.lenses.last)
        pixel = torch.where((answers.votes > 0)[:, None], pixel, 0.0)
        label, most, total = self._elected(pixel, answers.votes, label)
        mixed, trust = self._mixed(pixel, answers.shown, answers.votes)
        mixed = (mixed + (1 - trust)[:, None] * color + 0.5).clamp(0, 255).to(torch.uint8)
        seen = known & (answers.votes.sum(0) > LEAST_SEEN)
        confidence = torch.where(seen, most / (total + answers.past.sum(0)), 0.0)
        return z, torch.where(known[:, None], mixed, color), label, confidence

    def _elected(self, pixel: Tensor, votes: Tensor, label: Tensor) -> tuple[Tensor, ...]:
        """The label with most votes, its votes, and the sum of all votes, (N,) each."""
        index = numbers(pixel, self.lenses.width, self.sources.images, self.sources.slots_here())
        row = self.sources.images.labels.view(-1)[index]  # (K, N)
        votes = torch.where(row >= 0, votes, 0.0)
        names = label.expand(len(votes) + 1, -1).clone()
        if len(self.sources.class_ids):
            ids = torch.from_numpy(self.sources.class_ids).to(label.device)
            names[1:] = ids[row.long().clamp_min(0)]
        ballots = torch.cat([torch.full_like(votes[:1], FIELD_LABEL), votes])
        return *elected(names, ballots), ballots.sum(0)

    def _mixed(self, pixel: Tensor, shown: Tensor, votes: Tensor) -> tuple[Tensor, Tensor]:
        """The mean colour (N, 3) over the keyframes that show a pixel, times trust; and trust."""
        weight = torch.where(shown > NEGLIGIBLE * shown.amax(0), shown, 0.0)
        total, seen = weight.sum(0), votes.sum(0)
        trust = torch.where(total > 0, seen / (seen + FIELD_COLOR), 0.0)
        weight = weight * (trust / total.clamp_min(1e-30))
        gain, bias = self.exposures[:, None].unbind(-1)  # (K, 1, 3)
        color = torch.addcmul(bias, gain, self._interpolated(pixel))
        return torch.linalg.vecdot(color, weight[..., None], dim=0), trust

    def _interpolated(self, pixel: Float[Tensor, "K 2 N"]) -> Float[Tensor, "K N 3"]:
        """Colours of the keyframes between four pixels."""
        colors, lenses = self.sources.images.colors, self.lenses
        first = self.sources.slots_here()[:, None] * colors.shape[1]
        corner = pixel.floor()
        s, t = (pixel - corner).unbind(1)
        corner_here = corner.long()
        right, below = (corner < lenses.last).long().unbind(1)
        p = torch.addcmul(first + corner_here[:, 0], corner_here[:, 1], lenses.width)
        q = torch.addcmul(p, below, lenses.width)
        pixels = colors.view(-1, 3)
        found = pixels[p] * ((1 - s) * (1 - t))[..., None]
        found += pixels[p + right] * (s * (1 - t))[..., None]
        found += pixels[q] * ((1 - s) * t)[..., None]
        found += pixels[q + right] * (s * t)[..., None]
        return found


class TritonBlend(TorchBlend):
    """The same in one kernel launch after the keyframes have been asked."""

    def __call__(
        self, directions: Tensor, z: Tensor, normals: Tensor, color: Tensor, label: Tensor
    ) -> Pixels:
        """See ``TorchBlend``."""
        from semantic_field.kernels import triton_blending

        block, sources, lenses = triton_blending.BLOCK, self.sources, self.lenses
        answers = self.asked(directions * z, normals, doubted=DOUBTED)
        size = answers.votes.shape
        found = [torch.empty_like(image) for image in (z, color, label, z)]
        arguments = [
            *(a.contiguous() for a in (directions, z, normals, color, label)),
            *answers[:5], lenses.matrix, lenses.last, lenses.width, sources.slots_here(),
            self.exposures.contiguous(), sources.images.colors, sources.images.labels,
            torch.from_numpy(sources.class_ids).to(z.device),
            torch.empty(size, dtype=torch.int32, device=z.device), torch.empty_like(answers.votes),
            *found, size[1], sources.images.labels.shape[1], size[0],
        ]  # fmt: skip
        with torch.cuda.device_of(z):
            triton_blending.blend[(-(-size[1] // block),)](
                *arguments,
                **_CONSTANTS,
                block=block,  # pyright: ignore[reportArgumentType]
            )
        return found[0], found[1], found[2], found[3]


def _move(
    answers: Answers, directions: Tensor, z: Float[Tensor, " N"], normals: Tensor
) -> Float[Tensor, " N"]:
    """Return by how much the readings of the keyframes change depths, see ``blending._move``."""
    change = -(answers.votes * answers.off * answers.facing).sum(0)
    seen = answers.votes.sum(0) + FIELD_DEPTH
    slope = (normals * directions).sum(0).clamp_max(FLATTEST_SLOPE)
    limit = LONGEST_MOVE * (NOISE_M + NOISE_PER_M * z)
    return torch.minimum(torch.maximum(change / (seen * slope), -limit), limit)


def elected(names: Int[Tensor, "M N"], ballots: Float[Tensor, "M N"]) -> tuple[Tensor, Tensor]:
    """Return the name of each column with the largest sum of ballots, and this sum, (N,) each.

    Of equal sums the name wins that comes first in its column.

    Args:
        ballots: at least 0; names without a ballot do not stand for election.
    """
    own = torch.zeros_like(ballots)
    for name, ballot in zip(names, ballots, strict=True):
        own += (names == name) * ballot
    own = torch.where(ballots > 0, own, 0.0)
    winner = own.argmax(0, keepdim=True)  # the first of equal ones
    return names.gather(0, winner)[0], own.gather(0, winner)[0]
