"""GSNeRF (Chou et al. 2024): colour, depth and semantics of a view that no camera took.

The depth of the source views, splatted into the target, guides where its rays are sampled; what
the sources hold at the samples is blended. Two renderers: the published attention over the views,
with a closed set of classes or with meaning that is carried, and the statistics of the views.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from semantic_field.generalizable.attention_renderer import AttentionRenderer
from semantic_field.generalizable.carried_losses import carried_losses
from semantic_field.generalizable.generalizable_model import GeneralizableModel, Prediction, Truth
from semantic_field.generalizable.geo_reasoner import GeoReasoner, Level
from semantic_field.generalizable.gsnerf_config import GSNeRFConfig
from semantic_field.generalizable.gsnerf_losses import gsnerf_losses
from semantic_field.generalizable.guided_samples import (
    GuidedSamples,
    guided_samples,
    sample_counts,
    surface_samples,
)
from semantic_field.generalizable.row_bands import joined
from semantic_field.generalizable.source_images import SourceImages, TargetRays
from semantic_field.generalizable.statistics_renderer import StatisticsRenderer
from semantic_field.generalizable.sweep_losses import sweep_losses
from semantic_field.generalizable.sweep_reasoner import Pair, SweepReasoner
from semantic_field.generalizable.target_depth import with_target_depth
from semantic_field.generalizable.unet_extractor import feature_extractor
from semantic_field.generalizable.volume_reading import completed

SURFACES = 4  # statistics: so few samples are all at surfaces
AROUND_SHARE = 0.15  # of the episodes in training whose samples are around them all the same


class GSNeRF(GeneralizableModel):
    """Features of frames, depth of sources, and views blended from them.

    Raises:
        ValueError: if parts of the configuration do not fit each other.
    """

    def __init__(self, config: GSNeRFConfig) -> None:
        super().__init__()
        self.config = config
        self.class_names = config.class_names
        self.extractor = feature_extractor(config.extractor, len(config.class_names))
        channels, strides = self.extractor.channels, self.extractor.strides
        self.geometry: GeoReasoner | SweepReasoner | None = None
        if config.sweeps:
            self.geometry = SweepReasoner(config.sweep)
        elif config.depth != "readings":
            self.geometry = GeoReasoner(config.geometry, strides, channels)
        unknown = [level for level in config.read_levels if not 0 <= level < len(channels)]
        if unknown:
            raise ValueError(
                f"expected read_levels of 0 to {len(channels) - 1}, got {unknown[0]}: the "
                f"extractor {config.extractor.kind} has {len(channels)} levels"
            )
        read = sum(channels[level] for level in config.read_levels)
        self.renderer: AttentionRenderer | StatisticsRenderer
        if config.branch == "statistics":
            self.renderer = StatisticsRenderer(config.statistics, channels[config.read_levels[0]])
        else:
            self.renderer = AttentionRenderer(
                config.attention, read, self._volume_channels(), len(config.class_names)
            )
        if config.learns == "sweep":
            for part in (self.extractor, self.renderer):
                part.requires_grad_(False)

    def _volume_channels(self) -> int:
        if self.geometry is None:
            return 0
        return self.config.geometry.volume_channels * len(self.config.geometry.strides)

    @property
    def sweep(self) -> SweepReasoner | None:
        """The plane sweep, where the configuration has it."""
        return self.geometry if isinstance(self.geometry, SweepReasoner) else None

    def extract(self, colors: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Return the levels of features, and a closed set's semantic feature and logits.

        Nothing while the sweep alone is trained, which has features of its own.
        """
        return () if self._learns_sweep() else self.extractor(colors)

    def source_depths(self, sources: SourceImages) -> Float[Tensor, "V H W"]:
        """Return the depth of each source, as ``GSNeRFConfig.depth`` says; 0 = unknown.

        Raises:
            ValueError: if the sources have no depth and the model no volume, or if it is to be
                found and there is only one source.
        """
        readings = self._readings(sources)
        if self.geometry is None:
            if readings is None:
                raise ValueError(
                    "expected sources with depth, since the model has no way to find it, got "
                    "none: use a depth camera, or weights that find it (gsnerf_rgb)"
                )
            return readings
        if readings is not None and self._suffice(readings):
            return readings
        with torch.no_grad():
            levels = self.geometry(*self._with_maps(sources))
        return self._completed(readings, levels, sources)

    def forward(self, sources: SourceImages, rays: TargetRays) -> Prediction:
        """Predict an image of rays; ``sources.features`` are computed if they are None.

        In training all rays are predicted at once, and ``Prediction.extra`` holds what the losses
        need; otherwise in chunks, so that memory does not grow with the image.
        """
        if self._learns_sweep():
            return self._swept(sources)
        sources, maps = self._with_maps(sources)
        levels = self._levels(sources, maps)
        if levels and self._readings(sources) is None:
            sources = replace(sources, depths=self._completed(None, levels, sources))
            if self._is_unguided(rays):
                rays = with_target_depth(rays, sources)
        if self.training or isinstance(self.renderer, StatisticsRenderer):
            prediction = self._rays(sources, maps, levels, rays)
            if not self.training:
                return prediction
            extra = self._extra(sources, levels, prediction, rays)
            return replace(prediction, extra=prediction.extra | extra)
        parts = [
            [self._rays(sources, maps, levels, part) for part in row]
            for row in chunks(rays, self.config.rays_at_once)
        ]
        return joined(parts)

    def losses(
        self, prediction: Prediction, truth: Truth, sources: SourceImages
    ) -> dict[str, Tensor]:
        """Return the weighted terms of the loss by name.

        See ``gsnerf_losses``, and for the statistics with true depth ``carried_losses``; for the
        sweep ``sweep_losses``.
        """
        config = self.config
        if config.learns == "sweep":
            assert truth.source_depths is not None, "stereo episodes have the depth of sources"
            return sweep_losses(
                config.sweep_losses, prediction.extra["found"], truth.source_depths[:1]
            )
        if config.branch == "statistics" and config.losses.supervision == "depth":
            return carried_losses(config.carried_losses, prediction, truth)
        return gsnerf_losses(config.losses, prediction, truth, sources)

    def _learns_sweep(self) -> bool:
        return self.training and self.config.learns == "sweep"

    def _swept(self, sources: SourceImages) -> Prediction:
        """Return what the sweep finds for the first source, as ``extra``; nothing is rendered."""
        assert isinstance(self.geometry, SweepReasoner)
        matched = self.geometry.match(sources.colors)
        pair = Pair(0, list(range(1, len(sources))))
        found = self.geometry.find(matched, pair, sources.intrinsics, sources.poses)
        nothing = torch.zeros(1, 1)
        return Prediction(nothing[..., None], nothing, nothing, extra={"found": [found]})

    def _with_maps(self, sources: SourceImages) -> tuple[SourceImages, tuple[Tensor, ...]]:
        """Return the sources with features, and the levels among these."""
        if sources.features is None:
            sources = replace(sources, features=self.extract(sources.colors))
        assert sources.features is not None
        return sources, sources.features[: len(self.extractor.channels)]

    def _readings(self, sources: SourceImages) -> Float[Tensor, "V H W"] | None:
        """Return the readings of the sources' depth cameras; None if there are none to be used."""
        if self.config.depth == "volume" or sources.depths is None:
            return None
        return sources.depths if bool((sources.depths > 0).any()) else None

    def _is_unguided(self, rays: TargetRays) -> bool:
        """Return whether the target depth has yet to be found from the sources' volumes."""
        of_readings = self.training and self.config.depth == "volume"
        return of_readings or not bool((rays.depth > 0).any())

    def _suffice(self, readings: Float[Tensor, "V H W"]) -> bool:
        """Return whether readings are not to be completed, or cannot be."""
        wanted = self.config.depth == "completed" and len(readings) > 1
        return not wanted or bool((readings > 0).all())

    def _levels(self, sources: SourceImages, maps: tuple[Tensor, ...]) -> list[Level]:
        """Return what the geo-reasoner finds: where it is read, or there are no readings.

        With readings the volume only fills holes, which ``source_depths`` has done before; in a
        share of the training steps, the depth of one source is found nevertheless, to be learnt.
        """
        if self.geometry is None:
            return []
        if self._readings(sources) is not None and not self._volume_channels():
            return self._level_to_learn(sources, maps)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._learns_depth()):
            return self.geometry(sources, maps)

    def _level_to_learn(self, sources: SourceImages, maps: tuple[Tensor, ...]) -> list[Level]:
        """Return what is found for one source, drawn at random, or nothing in most steps."""
        assert self.geometry is not None
        if not (self.training and self._learns_depth() and len(sources) > 1):
            return []
        if self.config.losses.supervision == "self":
            return []  # whose terms need all sources
        if self.config.sweeps:
            return []  # which is trained by itself
        if float(torch.rand(())) >= self.config.geometry.trained_share:
            return []
        return self.geometry(sources, maps, only=int(torch.randint(len(sources), ())))

    def _learns_depth(self) -> bool:
        losses = self.config.losses
        if self.config.sweeps:
            return False
        if self.config.branch == "statistics" and losses.supervision == "depth":
            return self.config.carried_losses.levels > 0
        return losses.supervises_levels or self._volume_channels() > 0

    def _completed(
        self, readings: Tensor | None, levels: list[Level], sources: SourceImages
    ) -> Float[Tensor, "V H W"]:
        config = self.config
        least = (config.sweep if config.sweeps else config.geometry).least_confidence
        return completed(readings, levels[-1], sources.size, least).detach()

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
        samples = self._samples(placed)
        semantic, logits = None, None
        if self.class_names:
            assert sources.features is not None
            semantic, logits = sources.features[len(self.extractor.channels) :]
        read = tuple(maps[level] for level in config.read_levels)
        if isinstance(self.renderer, StatisticsRenderer):
            return self.renderer(sources, rays, samples, read[0], logits)
        volumes = levels if self._volume_channels() else []
        return self.renderer(sources, rays, samples, read, semantic, volumes)

    def _samples(self, rays: TargetRays) -> GuidedSamples:
        """Place the samples of rays, see ``guided_samples``."""
        config, total = self.config, self.config.samples
        by_surfaces = config.branch == "statistics" and config.guided and total <= SURFACES
        if by_surfaces and not (self.training and torch.rand(()) < AROUND_SHARE):
            return surface_samples(rays, total)
        return guided_samples(rays, sample_counts(total), config.spread_m, jitter=self.training)

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
