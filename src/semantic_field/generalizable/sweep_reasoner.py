"""Depth of a frame from its neighbours' colours, cheap enough for a processor.

A plane sweep in two levels: planes over the whole range at a quarter of the size, then few about
what was found, at half the size. At each plane the best and the mean agreement with the neighbours
are kept; 2D U-Nets over planes as channels say which plane is right (after SimpleRecon; Sayed et
al. 2022). The published cascade of 3D U-Nets is in ``geo_reasoner``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize, pad, pixel_shuffle

from semantic_field.generalizable.convolutions import enlarged
from semantic_field.generalizable.cost_volume import at_stride
from semantic_field.generalizable.geo_reasoner import Level
from semantic_field.generalizable.source_images import SourceImages
from semantic_field.generalizable.stereo_neighbours import stereo_neighbours
from semantic_field.generalizable.sweep_nets import MatchingNet, ResidualUNet, layer, upsampled
from semantic_field.generalizable.sweep_volume import (
    LogPlanes,
    Stereo,
    planes_about,
    swept,
    whole_range,
)
from semantic_field.settings import Settings, option

COARSE, FINE = 4, 2  # pixels of a frame on one of each level's
STRIDE = 16  # to multiples of which sizes are padded
REACH = 2  # planes to either side of the best one, whose mean is the depth
SEEN_EVERY = 4  # planes: how many neighbours have a point changes slowly
SHOWN = 4.0  # factor of agreement, which is at most 1, for the layers
UNSEEN = -1.0  # agreement at planes that no neighbour has in its image
WITHIN = 9 * 4  # scores of the nine pixels that each of four finer ones is a mean of


@dataclass(frozen=True)
class SweepSettings(Settings):
    """The sweep's planes and sizes."""

    near_m: float = option(0.5, "nearest depth, metres", minimum=0.01, at_most="far_m")
    far_m: float = option(12.0, "farthest depth, metres", minimum=0.1)
    planes: int = option(64, "planes over the whole range, each so many times nearer", minimum=8)
    finer_planes: int = option(12, "planes about what was found at the coarse level", minimum=3)
    finer_step: float = option(0.25, "distance of these, in steps of the others", 0.01, 1.0)
    neighbours: int = option(4, "frames that each is compared with", minimum=1)
    widths: tuple[int, ...] = option(
        (16, 32, 64, 96), "channels of the matching net at 1/2, 1/4 and coarser"
    )
    compared: tuple[int, ...] = option((32, 16), "channels that are compared at 1/4 and 1/2")
    coarse_widths: tuple[int, ...] = option(
        (64, 96, 128, 160), "channels of the U-Net over the planes at 1/4 and coarser"
    )
    fine_widths: tuple[int, ...] = option((32, 48), "the same at 1/2 and 1/4")
    least_confidence: float = option(
        0.0, "probability of the depth found, below which it stays unknown", 0.0, 1.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.compared) != 2 or min(map(len, (self.widths, self.coarse_widths))) < 2:
            raise ValueError(
                "expected two numbers of compared channels, and widths of at least two "
                f"resolutions, got {self.compared}, {self.widths} and {self.coarse_widths}"
            )


class Matched(NamedTuple):
    """What of B frames is compared, computed once for each; each with B as its first dimension.

    Attributes:
        coarse, fine: unit features at 1/4 and 1/2 of the size.
        coarse_context, fine_context: what the frame alone shows.
    """

    coarse: Float[Tensor, "B C h w"]
    fine: Float[Tensor, "B F h2 w2"]
    coarse_context: Float[Tensor, "B E h w"]
    fine_context: Float[Tensor, "B G h2 w2"]


class Pair(NamedTuple):
    """A reference and its neighbours, numbers of frames."""

    reference: int
    others: list[int]


class Found(NamedTuple):
    """What was found for a reference.

    Values are logarithms of inverse depth in 1/m.

    Attributes:
        coarse, fine: float32 (h2, w2), values at half the size, before and after the finer level.
        value: float32 (H, W), at full size, that of padded frames.
        sure: float32 (h2, w2), logit of the probability that ``fine`` is of the right surface.
        agreement: (D, h, w), scores of the coarse planes by the neighbours alone.
        scores: of the planes of both levels, (D, h, w) and (D2, h2, w2). planes: of both levels.
    """

    coarse: Float[Tensor, "h2 w2"]
    fine: Float[Tensor, "h2 w2"]
    value: Float[Tensor, "H W"]
    sure: Float[Tensor, "h2 w2"]
    agreement: Float[Tensor, "D h w"]
    scores: tuple[Tensor, Tensor]
    planes: tuple[LogPlanes, LogPlanes]

    @property
    def depth(self) -> Float[Tensor, "H W"]:
        """Z-depth, metres."""
        return (-self.value).exp()

    @property
    def confidence(self) -> Float[Tensor, "H W"]:
        """Probability that the depth is of the right surface."""
        return enlarged(self.sure.sigmoid()[None, None], self.value)[0, 0]


class SweepReasoner(nn.Module):
    """Depth of frames from colours alone; see the module."""

    def __init__(self, settings: SweepSettings) -> None:
        super().__init__()
        self.settings = settings
        planes, finer = settings.planes, settings.finer_planes
        half, quarter = settings.widths[:2]
        coarse, fine = settings.coarse_widths[0], settings.fine_widths[0]
        self.matching = MatchingNet(settings.widths, settings.compared)
        self.enter = layer(2 * planes + -(-planes // SEEN_EVERY) + quarter, coarse)
        self.coarse_net = ResidualUNet(settings.coarse_widths)
        self.coarse_head = nn.Conv2d(coarse, planes + WITHIN, 3, padding=1)
        self.coarse_scale = nn.Parameter(torch.tensor(20.0))
        self.fine_enter = layer(2 * finer + half + coarse // 4 + 2, fine)
        self.fine_net = ResidualUNet(settings.fine_widths)
        self.fine_head = nn.Conv2d(fine, finer + WITHIN + 1, 3, padding=1)
        self.fine_scale = nn.Parameter(torch.tensor(10.0))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def match(self, colors: Float[Tensor, "B 3 H W"]) -> Matched:
        """Return what of frames is compared, RGB in 0..1.

        Last rows and columns are repeated to multiples of 16.
        """
        H, W = colors.shape[-2:]
        padded = pad(colors, (0, -W % STRIDE, 0, -H % STRIDE), mode="replicate")
        channels_last = padded.contiguous(memory_format=torch.channels_last)
        coarse, fine, *context = self.matching(channels_last)
        unit = normalize(coarse.float(), dim=1), normalize(fine.float(), dim=1)
        return Matched(*unit, *context)

    def find(
        self,
        matched: Matched,
        pair: Pair,
        intrinsics: Float[Tensor, "B 4"],
        poses: Float[Tensor, "B 4 4"],
    ) -> Found:
        """Find the depth of a frame.

        Args:
            matched: of all frames. intrinsics: of whole frames, pixels. poses: ``T_world_camera``.

        Raises:
            ValueError: if it has no neighbour.
        """
        if not pair.others:
            raise ValueError(
                "expected at least 1 neighbour to find depth by comparing, got none: wait for "
                "more frames or use a depth camera"
            )
        around, value, agreement, scores, first = self._coarse(matched, pair, intrinsics, poses)
        settings = self.settings
        coarse = upsampled(value, scores[settings.planes :])
        scores = scores[: settings.planes]
        finer = planes_about(coarse, first.step * settings.finer_step, settings.finer_planes)
        peak = scores.softmax(0).amax(0).repeat_interleave(2, 0).repeat_interleave(2, 1)
        shown = torch.cat([pixel_shuffle(around, 2)[0], peak[None], coarse[None]])
        out, mean = self._fine(
            matched, pair, stereo_of(intrinsics, poses, pair, FINE), finer, shown
        )
        finer_scores = out[: settings.finer_planes] + mean
        number = torch.arange(settings.finer_planes, device=out.device)[:, None, None]
        fine = finer.first + finer.step * (finer_scores.softmax(0) * number).sum(0)
        full = upsampled(fine, out[settings.finer_planes : -1])
        planes = (first, finer)
        return Found(coarse, fine, full, out[-1], agreement, (scores, finer_scores), planes)

    def _coarse(
        self, matched: Matched, pair: Pair, intrinsics: Tensor, poses: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, LogPlanes]:
        """Sweep the whole range at a quarter of the size.

        Returns:
            The U-Net's last layer (1, E, h, w); values (h, w); agreement (D, h, w); scores of the
            planes and of the finer pixels (D + 36, h, w); the planes.
        """
        settings, (i, others) = self.settings, pair
        size = (matched.coarse.shape[-2], matched.coarse.shape[-1])
        first = whole_range(
            settings.near_m, settings.far_m, settings.planes, size, matched.coarse.device
        )
        stereo = stereo_of(intrinsics, poses, pair, COARSE)
        best, mean, share = swept(matched.coarse[i], matched.coarse[others], stereo, first)
        parts = [SHOWN * best, SHOWN * mean, share[::SEEN_EVERY], matched.coarse_context[i]]
        x = self.coarse_net(self.enter(_image(torch.cat(parts))))[0]
        out = self.coarse_head(x)[0].float()
        agreement = self.coarse_scale * torch.where(share > 0, mean, UNSEEN)
        scores = out[: settings.planes] + agreement
        value = first.first + first.step * about_best(scores, REACH)
        return x, value, agreement, torch.cat([scores, out[settings.planes :]]), first

    def _fine(
        self, matched: Matched, pair: Pair, stereo: Stereo, planes: LogPlanes, shown: Tensor
    ) -> tuple[Float[Tensor, "S h2 w2"], Float[Tensor, "D2 h2 w2"]]:
        """Return the last layer's scores at half the size, and the agreement at the planes.

        Args:
            shown: (E, h2, w2), what the coarse level passes on.
        """
        i, others = pair
        best, mean, _ = swept(matched.fine[i], matched.fine[others], stereo, planes)
        # Neighbouring planes differ little; what all of them have in common says nothing.
        best, mean = (self.fine_scale * (part - mean.mean(0)) for part in (best, mean))
        y = _image(torch.cat([best, mean, matched.fine_context[i], shown]))
        return self.fine_head(self.fine_net(self.fine_enter(y))[0])[0].float(), mean

    def forward(
        self, sources: SourceImages, maps: tuple[Tensor, ...] = (), only: int | None = None
    ) -> list[Level]:
        """Find the depth of each source from the others.

        Args:
            maps: not needed; taken as ``GeoReasoner`` takes them.
            only: number of the one source whose depth is wanted; None = all. The others' depth
                and confidence are 0.

        Returns:
            One record, at full size.

        Raises:
            ValueError: if a source has no neighbour.
        """
        matched = self.match(sources.colors)
        cameras = sources.poses.cpu().double().numpy(), sources.intrinsics.cpu().double().numpy()
        wanted = range(len(sources)) if only is None else [only]
        depth, confidence = (torch.zeros_like(sources.colors[:, 0]) for _ in range(2))
        for i in wanted:
            others = stereo_neighbours(*cameras, sources.size, i, self.settings.neighbours)
            found = self.find(matched, Pair(i, others), sources.intrinsics, sources.poses)
            H, W = sources.size
            depth[i], confidence[i] = found.depth[:H, :W], found.confidence[:H, :W]
        return [Level(depth, confidence, (), None)]


def stereo_of(intrinsics: Tensor, poses: Tensor, pair: Pair, stride: int) -> Stereo:
    """Return the cameras of a reference and its neighbours at maps ``stride`` times smaller."""
    i, others = pair
    reference = poses[i].double().expand(len(others), 4, 4)
    T_other_reference = torch.linalg.solve(poses[others].double(), reference).float()
    return Stereo(at_stride(intrinsics[[i, *others]], stride), T_other_reference)


def about_best(scores: Float[Tensor, "D h w"], reach: int) -> Float[Tensor, "h w"]:
    """Return the mean number of the planes about the best one, weighted by their softmax.

    A mean over all planes would lie between two surfaces where it is not known which is right.
    """
    number = torch.arange(len(scores), device=scores.device)[:, None, None]
    near = (number - scores.argmax(0)).abs() <= reach
    return (scores.masked_fill(~near, -np.inf).softmax(0) * number).sum(0)


def _image(x: Float[Tensor, "C h w"]) -> Float[Tensor, "1 C h w"]:
    return x[None].contiguous(memory_format=torch.channels_last)
