"""Views whose colours and labels come from keyframes, in torch.

The counterpart of ``blended_view`` and ``blending``: all pixels of a view are blended at once, or
as many as the device has memory for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from semantic_field.field.views import blending
from semantic_field.field.views.blending import LONGEST_MOVE
from semantic_field.field.views.device_asking import Answers, ask
from semantic_field.field.views.device_filling import filled
from semantic_field.field.views.device_seeing import DeviceLenses, numbers
from semantic_field.field.views.device_silhouettes import discontinuities, settle
from semantic_field.field.views.device_sources import DeviceSources, DeviceTarget
from semantic_field.field.views.seeing import NOISE_M, NOISE_PER_M
from semantic_field.kernels.device_memory import Halving

FIELD_DEPTH, FIELD_COLOR = float(blending.FIELD_DEPTH), float(blending.FIELD_COLOR)
FIELD_LABEL, NEGLIGIBLE = float(blending.FIELD_LABEL), float(blending.NEGLIGIBLE)
FLATTEST_SLOPE = float(blending.FLATTEST_SLOPE)
PIXELS_AT_ONCE, LEAST_PIXELS = 1 << 20, 1 << 10
Images = dict[str, Tensor]
"""Images (H, W, ...) by the names of ``RenderedView``'s attributes."""


def pixels_at_once(remedy: str) -> Halving:
    """Return how many pixels to blend at once; it is to be kept from one view to the next."""
    return Halving(PIXELS_AT_ONCE, LEAST_PIXELS, "pixels of a view to blend", remedy)


def blended_on_device(
    view: Images, target: DeviceTarget, sources: DeviceSources, at_once: Halving
) -> Images:
    """Return a view of the field with the images of K keyframes blended on its surface.

    See ``blended_view.blended``; all tensors are on one device.

    Raises:
        DeviceMemoryError: if the device has not even memory for ``LEAST_PIXELS`` at once.
    """
    lenses, exposures = sources.tuned(target)
    slots, focal = sources.slots_here(), target.camera.fx
    asked = partial(ask, lenses=lenses, images=sources.images, slots=slots, focal=focal)
    directions = target.directions()
    normals = target.rotation @ view["normal"].view(-1, 3).T  # (3, P)
    depth, source = view["depth"].reshape(-1).clone(), None
    edges = discontinuities(view["depth"])
    if len(edges):
        parts = at_once.parts(
            lambda part: settle(edges[part], view["depth"], directions, normals, asked),
            len(edges),
        )
        source = torch.arange(len(depth), device=depth.device)
        depth[edges] = torch.cat([settled for settled, _ in parts])
        source[edges] = torch.cat([taken for _, taken in parts])
        normals = normals[:, source]
        view = {n: image.flatten(0, 1)[source].view_as(image) for n, image in view.items()}
    blend = _Blend(sources, lenses, exposures, asked)
    color, label = view["color"].view(-1, 3), view["label"].view(-1)
    parts = at_once.parts(
        lambda part: blend(
            directions[:, part], depth[part], normals[:, part], color[part], label[part]
        ),
        len(depth),
    )
    size = view["depth"].shape
    depth, color, label, confidence = (torch.cat(p) for p in zip(*parts, strict=True))
    depth = depth.view(size)
    return view | {
        "color": filled(color.view(*size, 3), depth > 0),
        "depth": depth,
        "label": label.view(size),
        "confidence": confidence.view(size),
    }


@dataclass(frozen=True)
class _Blend:
    """Blends pixels; see ``blending``."""

    sources: DeviceSources
    lenses: DeviceLenses
    exposures: Float[Tensor, "K 3 2"]
    asked: partial[Answers]

    def __call__(
        self, directions: Tensor, z: Tensor, normals: Tensor, color: Tensor, label: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return depth, colour, label and confidence of N pixels, see ``blending.blend``.

        Args:
            directions, normals: float32 (3, N), camera axes. z, color, label: of the field, (N,),
                uint8 (N, 3) and (N,).
        """
        known = z > 0
        answers = self.asked(directions * z, normals)
        z = z + _move(answers, directions, z, normals)
        pixel, _ = self.lenses.projected(directions * z)
        pixel = torch.minimum(pixel.clamp_min(0), self.lenses.last)
        pixel = torch.where((answers.votes > 0)[:, None], pixel, 0.0)
        label, most, total = self._elected(pixel, answers.votes, label)
        mixed, trust = self._mixed(pixel, answers.shown, answers.votes)
        mixed = (mixed + (1 - trust)[:, None] * color + 0.5).clamp(0, 255).to(torch.uint8)
        confidence = torch.where(known, most / (total + answers.past.sum(0)), 0.0)
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
        own = torch.zeros_like(ballots)
        for name, ballot in zip(names, ballots, strict=True):
            own += (names == name) * ballot
        # A keyframe without a vote here has the name of some row, but must not win by it.
        own = torch.where(ballots > 0, own, 0.0)
        winner = own.argmax(0, keepdim=True)  # of equal ones the first
        return names.gather(0, winner)[0], own.gather(0, winner)[0], ballots.sum(0)

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


def _move(
    answers: Answers, directions: Tensor, z: Float[Tensor, " N"], normals: Tensor
) -> Float[Tensor, " N"]:
    """Return by how much the readings of the keyframes change depths, see ``blending._move``."""
    change = -(answers.votes * answers.off * answers.facing).sum(0)
    seen = answers.votes.sum(0) + FIELD_DEPTH
    slope = (normals * directions).sum(0).clamp_max(FLATTEST_SLOPE)
    limit = float(LONGEST_MOVE) * (NOISE_M + NOISE_PER_M * z)
    return torch.minimum(torch.maximum(change / (seen * slope), -limit), limit)
