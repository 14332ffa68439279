"""GSNeRF's geo-reasoner: the depth of each source view, found by comparing it with its neighbours.

A cascade of cost volumes (CasMVSNet; Gu et al. 2020): many planes far apart at low resolution, then
few planes close together about the depth found, at higher resolution. Each volume is smoothed by a
3D U-Net; the depth is the mean over its planes, weighted by the softmax of its scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from semantic_field.generalizable.cost_volume import (
    Planes,
    at_stride,
    correlation_volume,
    finer_planes,
    first_planes,
    nearest_others,
)
from semantic_field.generalizable.source_images import SourceImages
from semantic_field.generalizable.volume_net import VolumeNet
from semantic_field.settings import Settings, option

PEAK = 1.5  # planes from the depth found whose probability counts as confidence


@dataclass(frozen=True)
class GeometrySettings(Settings):
    """The cascade's levels, from the coarsest, and its sizes."""

    strides: tuple[int, ...] = option((8, 4), "pixels of a frame on one of each level's")
    planes: tuple[int, ...] = option((32, 8), "planes of depth of each level")
    ratios: tuple[int, ...] = option((4, 1), "distance of the planes of each level, in steps")
    spacing: str = option(
        "inverse", "in what the planes are at equal distances", choices=("depth", "inverse")
    )
    near_m: float = option(0.4, "nearest depth, metres", minimum=0.01, at_most="far_m")
    far_m: float = option(10.0, "farthest depth, metres", minimum=0.1)
    groups: int = option(8, "groups of channels that are compared", minimum=1)
    neighbours: int = option(3, "other sources that each is compared with", minimum=1)
    widths: tuple[int, ...] = option((8, 16), "channels of the 3D U-Nets' levels")
    volume_channels: int = option(0, "channels of the features of the volume, 0 = none", minimum=0)
    norm: str = option(
        "group",
        "norm of the 3D U-Nets, as the extractor's",
        choices=("group", "batch", "batch_in_use"),
    )
    readings: bool = option(
        False, "show the coarsest volume the depth camera's readings, to complete their holes"
    )
    trained_share: float = option(
        0.25,
        "share of the training steps with readings in which the depth of one source is learnt",
        0.0,
        1.0,
    )
    least_confidence: float = option(
        0.0, "probability near the depth found, below which it stays unknown", 0.0, 1.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = {len(self.strides), len(self.planes), len(self.ratios)}
        if len(counts) != 1 or not self.strides:
            raise ValueError(
                "expected strides, planes and ratios of as many levels, got "
                f"{self.strides}, {self.planes}, {self.ratios}: name each level in all three"
            )
        if list(self.strides) != sorted(self.strides, reverse=True):
            raise ValueError(f"expected strides from coarse to fine, got {self.strides}")


class Level(NamedTuple):
    """What a level of the cascade found for V sources.

    Attributes:
        depth: float32 (V, h, w), z-depth, metres.
        confidence: float32 (V, h, w), probability of the planes next to it.
        planes: of each source.
        features: float32 (V, F, D, h, w), of the volume; None = not asked for.
    """

    depth: Float[Tensor, "V h w"]
    confidence: Float[Tensor, "V h w"]
    planes: tuple[Planes, ...]
    features: Float[Tensor, "V F D h w"] | None


class GeoReasoner(nn.Module):
    """Depth of source views from their features.

    Args:
        strides: of the feature maps that it will get, from the finest.
        channels: of these maps; the number of groups divides them.

    Raises:
        ValueError: if a level needs a map that there is not.
    """

    def __init__(
        self, settings: GeometrySettings, strides: tuple[int, ...], channels: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.settings = settings
        self.maps = [self._map_for(stride, strides) for stride in settings.strides]
        self.pools = [
            stride // strides[i] for stride, i in zip(settings.strides, self.maps, strict=True)
        ]
        uneven = [channels[i] for i in self.maps if channels[i] % settings.groups]
        if uneven:
            raise ValueError(
                f"expected groups to divide the features' channels, got {settings.groups} groups "
                f"of {uneven[0]} channels: set geometry.groups to a divisor"
            )
        self.nets = nn.ModuleList(
            VolumeNet(
                settings.groups + int(settings.readings and level == 0),
                settings.widths,
                settings.volume_channels,
                settings.norm,
            )
            for level in range(len(settings.strides))
        )

    @staticmethod
    def _map_for(stride: int, strides: tuple[int, ...]) -> int:
        """Return which map serves a level: that of its stride, or the coarsest to be pooled."""
        fitting = [i for i, own in enumerate(strides) if own == stride]
        if fitting:
            return fitting[0]
        if stride > strides[-1] and stride % strides[-1] == 0:
            return len(strides) - 1
        raise ValueError(
            f"expected strides of the geometry among those of the features {strides} or multiples "
            f"of {strides[-1]}, got {stride}: change geometry.strides"
        )

    def forward(
        self, sources: SourceImages, maps: tuple[Tensor, ...], only: int | None = None
    ) -> list[Level]:
        """Find the depth of each source.

        Args:
            maps: features (V, C, h, w) of the sources, from the finest.
            only: number of the one source whose depth is wanted; None = all. The others' depth
                and confidence are 0, and there are no features of the volume.

        Returns:
            One record for each level, from the coarsest.

        Raises:
            ValueError: if there are fewer than 2 sources, or the frames' size is no multiple of
                the coarsest stride.
        """
        H, W = sources.size
        coarsest = self.settings.strides[0]
        if H % coarsest or W % coarsest:
            raise ValueError(
                f"expected frames whose width and height are multiples of {coarsest}, got {W}x{H}: "
                f"resize them to {W // coarsest * coarsest}x{H // coarsest * coarsest}"
            )
        others = nearest_others(sources.poses, self.settings.neighbours)
        pooled = [
            avg_pool2d(maps[i], pool) if pool > 1 else maps[i]
            for i, pool in zip(self.maps, self.pools, strict=True)
        ]
        if only is not None:
            own = self._cascade(sources, pooled, only, others[only])
            return [_among_others(level, only, len(sources)) for level in own]
        found = [self._cascade(sources, pooled, i, others[i]) for i in range(len(sources))]
        return [_together(level) for level in zip(*found, strict=True)]

    def _cascade(
        self, sources: SourceImages, pooled: list[Tensor], index: int, others: Tensor
    ) -> list[Level]:
        """Find the depth of one source at all levels; one at a time, for the norms' sake."""
        settings = self.settings
        chosen = torch.cat([others.new_tensor([index]), others])
        T_world_other = sources.poses[others]
        T_other_reference = torch.linalg.solve(
            T_world_other, sources.poses[index].expand_as(T_world_other)
        )
        levels: list[Level] = []
        value, step = None, 0.0
        for number, (net, features) in enumerate(zip(self.nets, pooled, strict=True)):
            size = (features.shape[-2], features.shape[-1])
            planes = self._planes(number, value, step, size, features.device)
            step = step or planes.step / settings.ratios[0]
            volume = correlation_volume(
                features[index],
                features[others],
                at_stride(sources.intrinsics[chosen], settings.strides[number]),
                T_other_reference,
                planes.depths(),
                settings.groups,
            )
            if settings.readings and number == 0:
                volume = torch.cat([volume, self._readings(sources, index, planes)])
            scores, extra = net(volume[None])
            probability = scores[0].softmax(0)
            value = (probability * planes.values()).sum(0)
            offset = (planes.values() - value).abs() < PEAK * planes.step
            confidence = (probability * offset).sum(0)
            depth = planes.depth_of(value)
            levels.append(Level(depth[None], confidence[None], (planes,), extra))
        return levels

    def _planes(
        self,
        number: int,
        value: Tensor | None,
        step: float,
        size: tuple[int, int],
        device: torch.device,
    ) -> Planes:
        """Return the planes of a level; ``value`` is what the level before found."""
        settings, count = self.settings, self.settings.planes[number]
        inverse = settings.spacing == "inverse"
        if value is None:
            return first_planes(settings.near_m, settings.far_m, count, inverse, size, device)
        value = interpolate(value[None, None], size=size, mode="bilinear", align_corners=False)
        return finer_planes(value[0, 0], step * settings.ratios[number], count, inverse)

    def _readings(
        self, sources: SourceImages, index: int, planes: Planes
    ) -> Float[Tensor, "1 D h w"]:
        """Return readings of depth cameras as a volume: 1 at their depth, shared by two planes."""
        h, w = planes.first.shape
        if sources.depths is None:
            return planes.first.new_zeros(1, planes.count, h, w)
        small = interpolate(sources.depths[index][None, None], size=(h, w), mode="nearest-exact")
        reading = small[0, 0]
        where = planes.number_of(reading, planes.first)
        number = torch.arange(planes.count, device=where.device)[:, None, None]
        return ((1 - (where - number).abs()).clamp(min=0) * (reading > 0))[None]


def _among_others(level: Level, index: int, count: int) -> Level:
    """Return the level of one of so many sources with zeros for the others."""
    own = torch.arange(count, device=level.depth.device) == index
    depth, confidence = (part * own[:, None, None] for part in (level.depth, level.confidence))
    return Level(depth, confidence, level.planes * count, None)


def _together(levels: tuple[Level, ...]) -> Level:
    features = [level.features for level in levels if level.features is not None]
    return Level(
        depth=torch.cat([level.depth for level in levels]),
        confidence=torch.cat([level.confidence for level in levels]),
        planes=tuple(level.planes[0] for level in levels),
        features=torch.cat(features) if features else None,
    )
