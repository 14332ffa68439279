"""A protocol: everything that decides a figure, in one small YAML with a name and a hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from semantic_field.evaluation.protocols.splits import SPLITS, Split, make_split
from semantic_field.evaluation.protocols.supervision import Supervision
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
    """How the mapper gets its frames, and when it has to stop.

    Attributes:
        mode: "batch" = all mapped frames first, then training; "online" = frames at ``rate_hz``
            while training runs, as on a robot.
        seconds: of wall time for mapping; in "online" from the first frame on. 0 = no limit.
        steps: training steps; 0 = no limit. Only a budget in steps is repeatable to the digit.
        rate_hz: frames per second of "online".
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
        """The budget in words."""
        limits = [f"{self.seconds:g} s"] * (self.seconds > 0)
        limits += [f"{self.steps} steps"] * (self.steps > 0)
        how = f"online at {self.rate_hz:g} Hz" if self.mode == "online" else "batch"
        return f"{how}, {' or '.join(limits)}"


@dataclass(frozen=True)
class Views:
    """Which held-out views are rendered and how large.

    Attributes:
        width: of rendered views, pixels; the truth is resized to it. 0 = as recorded.
        limit: most views, evenly spaced over the held-out ones; 0 = all.
        curve: views at each point of the curves over time; 0 = no curves.
        curve_points: points of the curves.
        mapped: mapped views whose labels are scored too, evenly spaced, against labels as
            recorded; 0 = none.
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
    """What is mapped, what is held out, and how it is scored.

    Attributes:
        split, split_options: see ``splits``.
        headline: the convention of the figure called "mIoU" in the report.
        points: names of 3D protocols (``point_labels``).
        queries: whether texts are asked and held against the recording's objects.
        surface_voxel_m: spacing of the mapped surface and the sensor's fused cloud.
        max_depth_m: readings beyond this do not count as true surface, metres.
        instances: AP rules (``instances``) where the recording has instances.
        supervision: which labels the mapper is given.
        baselines: what is scored beside the map, of ``BASELINES``.
        ablation: "open_vocabulary" = a table of maps (``open_vocabulary``) in place of one report.
    """

    name: str
    description: str = ""
    split: str = "ov_nerf"
    split_options: dict[str, Any] = field(default_factory=dict)
    training: Training = field(default_factory=lambda: Training(seconds=60.0))
    views: Views = field(default_factory=Views)
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
    ablation: str = ""

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"expected a split of {sorted(SPLITS)}, got {self.split!r}")
        for name in (self.headline, *self.conventions):
            convention(name)
        if self.ablation not in ("", "open_vocabulary"):
            raise ValueError(f"expected ablation open_vocabulary or none, got {self.ablation!r}")
        unknown = [name for name in self.points if name not in POINT_PROTOCOLS]
        if unknown:
            raise ValueError(f"expected points of {sorted(POINT_PROTOCOLS)}, got {unknown}")
        unknown = [name for name in self.baselines if name not in BASELINES]
        if unknown:
            raise ValueError(f"expected baselines of {BASELINES}, got {unknown}")

    def make_split(self, n_frames: int) -> Split:
        """The split of a recording of that many frames."""
        return make_split(self.split, n_frames, **self.split_options)

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits of everything but name and description."""
        content = dataclasses.asdict(self)
        del content["name"], content["description"]
        # What came later counts where it is used: figures made before keep their protocol.
        for name in ("supervision", "baselines"):
            if getattr(self, name) == getattr(Protocol(""), name):
                del content[name]
        if not self.views.mapped:
            del content["views"]["mapped"]
        if not self.ablation:
            del content["ablation"]  # hashes from before there were ablations stay
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


PARTS = {"training": Training, "views": Views, "classes": Classes, "supervision": Supervision}


def load_protocol(choice: str | Path) -> Protocol:
    """A protocol from a YAML file, or by the name of one that comes with the library.

    Raises:
        ValueError: no such file, an unknown setting, or a value out of range.
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
    """A protocol from plain values; ValueError on unknown names."""
    values = dict(content)
    for name, kind in PARTS.items():
        if name in values:
            part = dict(values[name])
            if name == "classes" and "groups" in part:
                part["groups"] = {group: tuple(m) for group, m in part["groups"].items()}
            values[name] = _construct(kind, part, f"{name}.")
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
    """The protocols that come with the library: of the repository, or of an installation."""
    here = Path(str(resources.files("semantic_field")))
    folders = [here.parents[1] / "config" / "protocols", here / "share" / "config" / "protocols"]
    folders += [parent / "share/semantic_field/config/protocols" for parent in here.parents]
    found = next((folder for folder in folders if folder.is_dir()), None)
    return sorted(found.glob("*.yaml")) if found else []
