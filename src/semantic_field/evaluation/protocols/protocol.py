"""Evaluation protocol: all settings that determine a score, in a YAML file with name and hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from semantic_field.evaluation.protocols.ablation_cells import Cell
from semantic_field.evaluation.protocols.off_path import OffPath
from semantic_field.evaluation.protocols.splits import SPLITS, Split, make_split
from semantic_field.evaluation.protocols.supervision import Supervision
from semantic_field.evaluation.protocols.view_sources import SourceFrames
from semantic_field.evaluation.scores.conventions import convention
from semantic_field.evaluation.scores.point_labels import POINT_PROTOCOLS

REQUIRED_CONVENTIONS = (
    "semantic_nerf",
    "semantic_ray",
    "gsnerf",
    "gp_nerf",
    "ov_nerf",
    "f_miou",
)


BASELINES = ("nearest_frame", "projection", "depth_projection", "frequency_mlp")


@dataclass(frozen=True)
class Training:
    """How the mapper gets its frames, and its budget; the first limit reached ends mapping.

    Attributes:
        mode: "batch" = all mapped frames first, then training; "online" = frames at ``rate_hz``
            while training runs, as on a robot.
        seconds: wall time of mapping; in "online" from the first frame on. 0 = no limit.
        steps: training steps; 0 = no limit. Only a budget in steps is exactly reproducible.
        rate_hz: frames per second of "online".
    Raises:
        ValueError: on an unknown mode, or without a budget.
    """

    mode: str = "batch"
    seconds: float = 0.0
    steps: int = 0
    rate_hz: float = 5.0

    def __post_init__(self) -> None:
        if self.mode not in ("batch", "online"):
            raise ValueError(f"expected training.mode batch or online, got {self.mode!r}")
        if self.seconds < 0 or self.steps < 0 or not (self.seconds or self.steps):
            raise ValueError(
                f"expected training.seconds or training.steps above 0, got {self.seconds} s and "
                f"{self.steps} steps"
            )
        if self.rate_hz <= 0:
            raise ValueError(f"expected training.rate_hz above 0, got {self.rate_hz}")

    def describe(self) -> str:
        """Return mode and budget in words."""
        limits = [f"{self.seconds:g} s"] * (self.seconds > 0)
        limits += [f"{self.steps} steps"] * (self.steps > 0)
        how = f"online at {self.rate_hz:g} Hz" if self.mode == "online" else "batch"
        return f"{how}, {' or '.join(limits)}"


@dataclass(frozen=True)
class HeldOutViews:
    """Number and size of the rendered views.

    Attributes:
        width: of rendered views, pixels; the ground truth is resized to it. 0 = as recorded.
        limit: largest number of views, evenly spaced over the held-out ones; 0 = all.
        curve: views at each point of the curves over time; 0 = no curves.
        curve_points: points of the curves.
        mapped: number of mapped views, evenly spaced, whose labels are also scored, against the
            recorded labels; 0 = none.
    """

    width: int = 0
    limit: int = 0
    curve: int = 4
    curve_points: int = 6
    mapped: int = 0


@dataclass(frozen=True)
class Classes:
    """Which classes are scored (see ``ClassSet``)."""

    ignore: tuple[str, ...] = ()
    subset: tuple[str, ...] = ()
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Protocol:
    """Which frames are mapped and held out, and how the map is scored.

    Attributes:
        name, description: for people; not part of the hash.
        split, split_options: see ``splits``.
        training: mode and budget.
        views, classes: which views are rendered, and which classes are scored.
        headline: the convention of the score called "mIoU" in the report.
        conventions: all mIoU definitions that are reported (``conventions``).
        points: names of 3D protocols (``point_labels``).
        queries: whether text queries are scored against the recording's objects.
        surface_voxel_m: spacing of the points of the mapped surface, metres.
        max_depth_m: depth readings beyond this are not used as true surface, metres.
        instances: AP rules (``instances``), if the recording has instances.
        supervision: which labels the mapper is given.
        baselines: scored next to the map, names of ``BASELINES``.
        ablation: the maps of an open-vocabulary ablation; a table of them is made instead of one
            report.
        off_path: which views beside the path are scored, in simulated rooms only.
        sources: what a generalizable model gets instead of a mapper; None = maps only.
    Raises:
        ValueError: on an unknown name.
    """

    name: str
    description: str = ""
    split: str = "ov_nerf"
    split_options: dict[str, Any] = field(default_factory=dict)
    training: Training = field(default_factory=lambda: Training(seconds=60.0))
    views: HeldOutViews = field(default_factory=HeldOutViews)
    classes: Classes = field(default_factory=Classes)
    headline: str = "semantic_nerf"
    conventions: tuple[str, ...] = REQUIRED_CONVENTIONS
    points: tuple[str, ...] = ("concept_graphs", "rayfronts")
    queries: bool = True
    surface_voxel_m: float = 0.03
    max_depth_m: float = 12.0
    instances: tuple[str, ...] = ("dm_nerf", "coco")
    supervision: Supervision = field(default_factory=Supervision)
    baselines: tuple[str, ...] = ()
    ablation: tuple[Cell, ...] = ()
    off_path: OffPath = field(default_factory=OffPath)
    sources: SourceFrames | None = None

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"expected a split of {sorted(SPLITS)}, got {self.split!r}")
        for name in (self.headline, *self.conventions):
            convention(name)
        names = [cell.name for cell in self.ablation]
        if len(set(names)) < len(names):
            raise ValueError(f"expected another name for each map of the ablation, got {names}")
        unknown = [name for name in self.points if name not in POINT_PROTOCOLS]
        if unknown:
            raise ValueError(f"expected points of {sorted(POINT_PROTOCOLS)}, got {unknown}")
        unknown = [name for name in self.baselines if name not in BASELINES]
        if unknown:
            raise ValueError(f"expected baselines of {BASELINES}, got {unknown}")

    def make_split(self, n_frames: int) -> Split:
        """Return the split of a recording of that many frames; ValueError if it is too short."""
        return make_split(self.split, n_frames, **self.split_options)

    @property
    def hash(self) -> str:
        """Hash (twelve hexadecimal digits) of all settings except name and description."""
        content = dataclasses.asdict(self)
        del content["name"], content["description"]
        # Settings added later only count if they are used, so that older hashes stay valid.
        for name in ("supervision", "baselines", "off_path", "sources"):
            if getattr(self, name) == getattr(Protocol(""), name):
                del content[name]
        if not self.views.mapped:
            del content["views"]["mapped"]
        if not self.ablation:
            del content["ablation"]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as plain values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


PARTS = {
    "training": Training,
    "views": HeldOutViews,
    "classes": Classes,
    "supervision": Supervision,
    "off_path": OffPath,
    "sources": SourceFrames,
}


def load_protocol(choice: str | Path) -> Protocol:
    """Load a protocol from a YAML file, or by the name of one that comes with the library.

    Raises:
        ValueError: if there is no such file, on an unknown setting, or a value out of range.
    """
    path = Path(choice)
    if not path.exists():
        path = next((f for f in protocol_files() if f.stem == str(choice)), path)
    if not path.exists():
        known = [file.stem for file in protocol_files()]
        raise ValueError(f"expected a YAML file or a protocol of {known}, got {str(choice)!r}")
    content = yaml.safe_load(path.read_text()) or {}
    if not isinstance(content, dict):
        raise ValueError(f"expected a YAML mapping in {path}, got {content!r}")
    return make_protocol({"name": path.stem, **content})


def make_protocol(content: dict[str, Any]) -> Protocol:
    """Build a protocol from plain values; ValueError on unknown names."""
    values = dict(content)
    for name, kind in PARTS.items():
        if values.get(name) is not None:
            part = dict(values[name])
            if name == "classes" and "groups" in part:
                part["groups"] = {group: tuple(m) for group, m in part["groups"].items()}
            values[name] = _construct(kind, part, f"{name}.")
    if "ablation" in values:
        values["ablation"] = [_construct(Cell, cell, "ablation.") for cell in values["ablation"]]
    return _construct(Protocol, values, "")


def _construct(kind: Any, values: dict[str, Any], prefix: str) -> Any:
    known = {item.name for item in dataclasses.fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(
            f"expected settings of {sorted(known)}, got {[prefix + name for name in unknown]}"
        )
    return kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in values.items()})


def protocol_files() -> list[Path]:
    """Return the YAML files of the library's protocols: in the repository or an installation."""
    here = Path(str(resources.files("semantic_field")))
    folders = [here.parents[1] / "config" / "protocols", here / "share" / "config" / "protocols"]
    folders += [parent / "share/semantic_field/config/protocols" for parent in here.parents]
    found = next((folder for folder in folders if folder.is_dir()), None)
    return sorted(found.glob("*.yaml")) if found else []
