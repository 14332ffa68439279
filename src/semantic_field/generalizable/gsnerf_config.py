"""The configuration of GSNeRF, and its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from semantic_field.generalizable.attention_renderer import AttentionSettings
from semantic_field.generalizable.carried_losses import CarriedLossSettings
from semantic_field.generalizable.geo_reasoner import GeometrySettings
from semantic_field.generalizable.gsnerf_losses import LossSettings
from semantic_field.generalizable.statistics_renderer import StatisticsSettings
from semantic_field.generalizable.sweep_losses import SweepLossSettings
from semantic_field.generalizable.sweep_reasoner import SweepSettings
from semantic_field.generalizable.unet_extractor import ExtractorSettings
from semantic_field.settings import Settings, flattened, option, updated


@dataclass(frozen=True)
class GSNeRFConfig(Settings):
    """All sizes and weights of a GSNeRF.

    Attributes:
        class_names: names of the closed set, in the order of the scores; () = meaning is carried.
    """

    class_names: tuple[str, ...] = ()
    branch: str = option(
        "statistics",
        "what blends the views: the published attention over them, or layers that look at their "
        "statistics",
        choices=("attention", "statistics"),
    )
    samples: int = option(4, "samples of a ray", minimum=1, maximum=128)
    spread_m: float = option(0.1, "deviation of the samples around the target depth, m", 0.0)
    guided: bool = option(True, "sample by the target depth; false: uniformly, without it")
    depth: str = option(
        "either",
        "depth of the sources: readings of their depth cameras; either these or, where there are "
        "none at all, the geo-reasoner's; completed: it fills the holes of readings, too; volume: "
        "it alone",
        choices=("readings", "either", "completed", "volume"),
    )
    reasoner: str = option(
        "sweep",
        "what finds depth: a plane sweep with 2D networks, or the published cascade of volumes "
        "with 3D ones (geometry)",
        choices=("sweep", "cascade"),
    )
    learns: str = option(
        "views",
        "what training is for: views, or the sweep alone (the rest stays as it is)",
        choices=("views", "sweep"),
    )
    read_levels: tuple[int, ...] = option(
        (0,), "levels of the extractor that samples read, 0 = the finest"
    )
    rays_at_once: int = option(4096, "rays of a chunk when views are predicted", minimum=1)
    extractor: ExtractorSettings = field(default_factory=ExtractorSettings)
    geometry: GeometrySettings = field(default_factory=GeometrySettings)
    sweep: SweepSettings = field(default_factory=SweepSettings)
    attention: AttentionSettings = field(default_factory=AttentionSettings)
    statistics: StatisticsSettings = field(default_factory=StatisticsSettings)
    losses: LossSettings = field(default_factory=LossSettings)
    carried_losses: CarriedLossSettings = field(default_factory=CarriedLossSettings)
    sweep_losses: SweepLossSettings = field(default_factory=SweepLossSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learns == "sweep" and not self.sweeps:
            raise ValueError(
                "expected a sweep to learn, got a model without: set reasoner to sweep and depth "
                "to either, completed or volume"
            )
        if self.sweeps and self.geometry.volume_channels:
            raise ValueError(
                "expected geometry.volume_channels of 0, since the sweep has no volume to read, "
                f"got {self.geometry.volume_channels}: set reasoner to cascade"
            )

    @property
    def sweeps(self) -> bool:
        """Whether the model has a plane sweep."""
        return self.depth != "readings" and self.reasoner == "sweep"


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
