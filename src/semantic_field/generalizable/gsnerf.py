"""GSNeRF (Chou et al. 2024): colour, depth and semantics of a view that no camera took.

The depth of the source views, splatted into the target, guides where its rays are sampled; what
the sources hold at the samples is blended. Two renderers: the published attention over the views,
with a closed set of classes or with meaning that is carried, and the statistics of the views.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from jaxtyping import Float
from torch import Tensor

from semantic_field.generalizable.attention_renderer import AttentionRenderer, AttentionSettings
from semantic_field.generalizable.carried_branch import CarriedBranch
from semantic_field.generalizable.carried_losses import (
    CarriedLossSettings,
    carried_losses,
    closed_set_losses,
)
from semantic_field.generalizable.geo_reasoner import GeometrySettings, GeoReasoner, Level
from semantic_field.generalizable.gsnerf_losses import LossSettings, gsnerf_losses, level_loss
from semantic_field.generalizable.guided_samples import guided_samples, sample_counts
from semantic_field.generalizable.model import GeneralizableModel, Prediction, Truth
from semantic_field.generalizable.segments import segment_agreement
from semantic_field.generalizable.source_images import SourceImages, TargetRays
from semantic_field.generalizable.target_depth import with_target_depth
from semantic_field.generalizable.unet_extractor import ExtractorSettings, feature_extractor
from semantic_field.generalizable.volume_reading import completed
from semantic_field.settings import Settings, flattened, option, updated


@dataclass(frozen=True)
class GSNeRFConfig(Settings):
    """All sizes and weights of a GSNeRF.

    Attributes:
        classes: names of the closed set, in the order of the scores; () = meaning is carried.
    """

    classes: tuple[str, ...] = ()
    branch: str = option(
        "attention",
        "what blends the views: attention, the published one; statistics, a few layers on what is "
        "known of each view, and averages over neighbours (the small default)",
        choices=("attention", "statistics"),
    )
    width: int = option(32, "width of the statistics branch", minimum=4)
    samples: int = option(4, "samples of a ray", minimum=1, maximum=128)
    spread_m: float = option(0.5, "deviation of the samples around the target depth, m", 0.0)
    guided: bool = option(True, "sample by the target depth; false: uniformly, without it")
    depth: str = option(
        "completed",
        "depth of the sources: readings of their depth cameras, these completed by the volume, or "
        "the volume alone",
        choices=("readings", "completed", "volume"),
    )
    read_levels: tuple[int, ...] = option(
        (0,), "levels of the extractor that samples read, 0 = the finest"
    )
    rays_at_once: int = option(4096, "rays of a chunk when views are predicted", minimum=1)
    extractor: ExtractorSettings = field(default_factory=ExtractorSettings)
    geometry: GeometrySettings = field(default_factory=GeometrySettings)
    attention: AttentionSettings = field(default_factory=AttentionSettings)
    losses: LossSettings = field(default_factory=LossSettings)
    carried_losses: CarriedLossSettings = field(default_factory=CarriedLossSettings)


def gsnerf_config(values: Mapping[str, Any]) -> GSNeRFConfig:
    """Return the configuration with values replaced, nested or by dotted names.

    Raises:
        ValueError: on an unknown name or a bad value.
    """
    return updated(GSNeRFConfig(), dict(flattened(dict(values))))


def load_gsnerf_config(path: str | Path) -> GSNeRFConfig:
    """Return the configuration of the section ``model`` of a YAML file such as config/gsnerf.yaml.

    Raises:
        ValueError: if there is no such section, it is of another system, or has unknown names.
    """
    content = yaml.safe_load(Path(path).read_text())
    section = content.get("model") if isinstance(content, dict) else None
    if not isinstance(section, dict) or section.get("system") != "gsnerf":
        raise ValueError(
            f"expected a section 'model' with 'system: gsnerf' in {path}, got {section!r}: start "
            "from config/gsnerf.yaml"
        )
    return gsnerf_config({name: value for name, value in section.items() if name != "system"})


class GSNeRF(GeneralizableModel):
    """Features of frames, depth of sources, and views blended from them.

    Raises:
        ValueError: if parts of the configuration do not fit each other.
    """

    def __init__(self, config: GSNeRFConfig) -> None:
        super().__init__()
        self.config = config
        self.class_names = config.classes
        self.extractor = feature_extractor(config.extractor, len(config.classes))
        channels, strides = self.extractor.channels, self.extractor.strides
        self.geometry = None
        if config.depth != "readings":
            self.geometry = GeoReasoner(config.geometry, strides, channels)
        unknown = [level for level in config.read_levels if not 0 <= level < len(channels)]
        if unknown:
            raise ValueError(
                f"expected read_levels of 0 to {len(channels) - 1}, got {unknown[0]}: the "
                f"extractor {config.extractor.kind} has {len(channels)} levels"
            )
        read = sum(channels[level] for level in config.read_levels)
        self.renderer: AttentionRenderer | CarriedBranch
        if config.branch == "statistics":
            self.renderer = CarriedBranch(read, config.width)
        else:
            self.renderer = AttentionRenderer(
                config.attention, read, self._volume_channels(), len(config.classes)
            )

    def _volume_channels(self) -> int:
        if self.geometry is None:
            return 0
        return self.config.geometry.volume_channels * len(self.config.geometry.strides)

    def extract(self, colors: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Return the levels of features, and a closed set's semantic feature and logits."""
        return self.extractor(colors)

    def source_depths(self, sources: SourceImages) -> Float[Tensor, "V H W"]:
        """Return the depth of each source, as ``GSNeRFConfig.depth`` says; 0 = unknown.

        Raises:
            ValueError: if the sources have no depth and the model no volume, or if it is to be
                found and there is only one source.
        """
        readings = None if self.config.depth == "volume" else sources.depths
        if self.geometry is None:
            if readings is None:
                raise ValueError(
                    "expected sources with depth, since the model has no way to find it, got "
                    "none: use a depth camera or a model with depth: completed"
                )
            return readings
        if readings is not None and (len(sources) < 2 or bool((readings > 0).all())):
            return readings  # nothing to complete, or nothing to complete it with
        with torch.no_grad():
            levels = self.geometry(*self._with_maps(sources))
        return self._completed(readings, levels, sources)

    def forward(self, sources: SourceImages, rays: TargetRays) -> Prediction:
        """Predict an image of rays; ``sources.features`` are computed if they are None.

        In training all rays are predicted at once, and ``Prediction.extra`` holds what the losses
        need; otherwise in chunks, so that memory does not grow with the image.
        """
        sources, maps = self._with_maps(sources)
        levels = self._levels(sources, maps)
        if levels and (sources.depths is None or self.config.depth == "volume"):
            sources = replace(sources, depths=self._completed(None, levels, sources))
            rays = with_target_depth(rays, sources)
        if isinstance(self.renderer, CarriedBranch):
            return self._blended(self.renderer, sources, maps, levels, rays)
        if self.training:
            prediction = self._rays(sources, maps, levels, rays)
            extra = self._extra(sources, levels, prediction, rays)
            return replace(prediction, extra=prediction.extra | extra)
        parts = [
            [self._rays(sources, maps, levels, part) for part in row]
            for row in chunks(rays, self.config.rays_at_once)
        ]
        return _joined(parts)

    def losses(
        self, prediction: Prediction, truth: Truth, sources: SourceImages
    ) -> dict[str, Tensor]:
        """Return the weighted terms of the loss by name, see ``gsnerf_losses``."""
        config = self.config
        if config.branch == "attention":
            return gsnerf_losses(config.losses, prediction, truth, sources)
        terms = carried_losses(config.carried_losses, prediction, truth)
        if self.class_names:
            terms |= closed_set_losses(config.carried_losses, prediction, truth)
        found = [prediction.extra[name] for name in prediction.extra if name.startswith("level_")]
        if found and truth.source_depths is not None:
            terms["levels"] = config.carried_losses.levels * level_loss(found, truth.source_depths)
        return terms

    def _with_maps(self, sources: SourceImages) -> tuple[SourceImages, tuple[Tensor, ...]]:
        """Return the sources with features, and the levels among these."""
        if sources.features is None:
            sources = replace(sources, features=self.extract(sources.colors))
        assert sources.features is not None
        return sources, sources.features[: len(self.extractor.channels)]

    def _levels(self, sources: SourceImages, maps: tuple[Tensor, ...]) -> list[Level]:
        """Return what the geo-reasoner finds where something needs it, else nothing."""
        if self.geometry is None:
            return []
        config = self.config
        read = self._volume_channels() > 0
        blind = sources.depths is None or config.depth == "volume"
        supervised = self.training and config.losses.supervises_levels
        if config.branch == "statistics":
            supervised = self.training and blind and config.carried_losses.levels > 0
        if supervised or read:
            return self.geometry(sources, maps)
        if blind:
            with torch.no_grad():
                return self.geometry(sources, maps)
        return []

    def _completed(
        self, readings: Tensor | None, levels: list[Level], sources: SourceImages
    ) -> Float[Tensor, "V H W"]:
        least = self.config.geometry.least_confidence
        return completed(readings, levels[-1], sources.size, least).detach()

    def _blended(
        self,
        branch: CarriedBranch,
        sources: SourceImages,
        maps: tuple[Tensor, ...],
        levels: list[Level],
        rays: TargetRays,
    ) -> Prediction:
        """Predict an image of rays by the statistics of the views.

        A closed set is carried as what the extractor says of the sources' pixels.
        """
        config = self.config
        if self.class_names:
            assert sources.features is not None
            named = sources.features[-1].softmax(1)
            sources = replace(sources, labels=None, segments=None, latents=named, n_classes=0)
        agreement = None
        if sources.segments is not None and sources.depths is not None:
            agreement = segment_agreement(sources)
        if config.guided and config.samples <= 2:
            depths = torch.stack([rays.depth, rays.behind][: config.samples], -1)
        else:
            placed = rays if config.guided else replace(rays, depth=torch.zeros_like(rays.depth))
            counts = sample_counts(config.samples)
            depths = guided_samples(placed, counts, config.spread_m, self.training).depths
        features = maps[config.read_levels[0]]
        prediction = branch(sources, rays, depths, features, agreement)
        if self.class_names:
            assert prediction.latent is not None
            prediction = replace(
                prediction,
                scores=prediction.latent,
                latent=None,
                confidence=prediction.latent.amax(-1),
            )
        if not self.training:
            return prediction
        extra = self._extra(sources, levels, prediction, rays)
        return replace(prediction, extra=prediction.extra | extra)

    def _rays(
        self,
        sources: SourceImages,
        maps: tuple[Tensor, ...],
        levels: list[Level],
        rays: TargetRays,
    ) -> Prediction:
        """Predict rays at once."""
        config = self.config
        placed = rays if config.guided else replace(rays, depth=torch.zeros_like(rays.depth))
        counts = sample_counts(config.samples)
        samples = guided_samples(placed, counts, config.spread_m, jitter=self.training)
        semantic = None
        if self.class_names:
            assert sources.features is not None
            semantic = sources.features[len(self.extractor.channels)]
        read = tuple(maps[level] for level in config.read_levels)
        volumes = levels if self._volume_channels() else []
        return self.renderer(sources, rays, samples, read, semantic, volumes)

    def _extra(
        self,
        sources: SourceImages,
        levels: list[Level],
        prediction: Prediction,
        rays: TargetRays,
    ) -> dict[str, Tensor]:
        """Return what the losses need of the sources and the rays, see ``gsnerf_losses``."""
        extra = {f"level_{i}": level.depth for i, level in enumerate(reversed(levels))}
        extra["points"] = rays.points(prediction.depth.detach()[..., None])[..., 0, :]
        extra["target_depth"] = rays.depth
        if self.class_names:
            assert sources.features is not None
            extra["source_logits"] = sources.features[len(self.extractor.channels) + 1]
        return extra


def chunks(rays: TargetRays, most: int) -> Iterator[list[TargetRays]]:
    """Yield rows of rectangles that cover an image of rays, each of at most so many rays."""
    h, w = rays.size
    columns = min(w, most)
    rows = max(1, most // columns)
    for top in range(0, h, rows):
        yield [
            rays.part(slice(top, top + rows), slice(left, left + columns))
            for left in range(0, w, columns)
        ]


def _joined(parts: list[list[Prediction]]) -> Prediction:
    """Return the prediction of an image from those of rows of rectangles."""

    def whole(name: str) -> Tensor | None:
        pieces = [[getattr(part, name) for part in row] for row in parts]
        if pieces[0][0] is None:
            return None
        return torch.cat([torch.cat(row, 1) for row in pieces], 0)

    names = ("color", "depth", "confidence", "scores", "latent")
    return Prediction(**{name: whole(name) for name in names})  # type: ignore[arg-type]
