"""Which topics of a recording are the colour, depth, labels, camera and pose."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from semantic_field.data.bag_types import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    LABEL_INFO_TYPE,
    ODOMETRY,
    POSE,
    TF,
)

IMAGES = (IMAGE, COMPRESSED_IMAGE)
_LABEL_WORDS = {"label", "labels", "semantic", "semantics", "segmentation", "seg"}
_OTHER_WORDS = {"ir", "infra", "infra1", "infra2", "infrared", "confidence", "mask", "overlay"}
_OTHER_WORDS |= {"theora", "ffmpeg", "debug", "visualization", "right", "disparity", "instance"}
_WISH_WORDS = {"goal", "target", "setpoint", "cmd", "command", "desired"}  # no pose that is
_COLOR_WORDS = {"color", "colour", "rgb"}


@dataclass(frozen=True)
class Topics:
    """The topics to read; empty where the recording has none."""

    color: str
    depth: str
    color_info: str
    depth_info: str
    labels: str
    label_info: str
    tf: tuple[str, ...]
    pose: str
    odometry: str


def detect_topics(types: dict[str, str], choice: dict[str, str]) -> Topics:
    """The topics of a recording by type and name.

    Args:
        types: message type of every topic that has messages.
        choice: topics that the caller has named, by field of ``Topics``.
    Raises:
        ValueError: none or several in question, or a chosen topic that is not there; with the
            topics found and the option to set.
    """
    for name, topic in choice.items():
        if topic and topic not in types:
            raise ValueError(
                f"expected {name}_topic to be a topic of the bag, got {topic!r}; {found(types)}"
            )
    images = {topic: kind for topic, kind in types.items() if kind in IMAGES}
    color = choice.get("color") or _pick("color", _ranked(images, "color", ""), types)
    depth = choice.get("depth") or _pick("depth", _ranked(images, "depth", color), types)
    ranked = _ranked(images, "labels", color)
    labels = choice.get("labels") or (_pick("labels", ranked, types) if ranked else "")
    infos = [topic for topic, kind in types.items() if kind == CAMERA_INFO]
    names = [topic for topic, kind in types.items() if kind == LABEL_INFO_TYPE]
    color_info = choice.get("color_info") or info_of(color, infos)
    if not color_info:
        raise ValueError(
            f"expected a CameraInfo beside {color!r}; set color_info_topic; {found(types)}"
        )
    return Topics(
        color=color,
        depth=depth,
        color_info=color_info,
        depth_info=info_of(depth, infos) if len(infos) > 1 else "",
        labels=labels,
        label_info=choice.get("label_info") or _nearest(labels, names),
        tf=tuple(topic for topic, kind in types.items() if kind == TF),
        pose=choice.get("pose") or _only(types, POSE),
        odometry=choice.get("odometry") or _only(types, ODOMETRY),
    )


def found(types: dict[str, str]) -> str:
    """The topics of a recording as a part of an error message."""
    listed = ", ".join(f"{topic} ({kind.split('/')[-1]})" for topic, kind in sorted(types.items()))
    return f"topics found: {listed or 'none'}"


def role(topic: str) -> str:
    """What an image topic is by its name: depth, labels, color, or empty for anything else."""
    words = _words(topic)
    if words & _OTHER_WORDS:
        return ""
    if "depth" in topic.lower():
        return "depth"
    return "labels" if words & _LABEL_WORDS else "color"


def _words(topic: str) -> set[str]:
    return set(re.split(r"[/_\-]+", topic.lower()))


def is_rectified(topic: str) -> bool:
    """Whether the images of a topic are rectified already, by image_proc's naming."""
    return any("rect" in word.split("_") for word in topic.lower().split("/"))


def _ranked(images: dict[str, str], wanted: str, beside: str) -> list[tuple[tuple, str]]:
    """The topics of that role with how well they fit, best first."""
    ranked = []
    for topic, kind in images.items():
        if role(topic) != wanted or topic == beside:
            continue
        words = _words(topic)
        fits = (
            bool(words & (_COLOR_WORDS if wanted == "color" else {"aligned", "registered"})),
            _shared(topic.split("/"), beside.split("/")),
            kind == IMAGE,
            "rect" in words,
        )
        ranked.append((fits, topic))
    return sorted(ranked, reverse=True)


def _pick(name: str, ranked: list[tuple[tuple, str]], types: dict[str, str]) -> str:
    if not ranked:
        raise ValueError(f"expected a {name} image topic, got none by name; set {name}_topic; "
                         f"{found(types)}")  # fmt: skip
    best = [topic for fits, topic in ranked if fits == ranked[0][0]]
    if len(best) > 1:
        raise ValueError(
            f"expected one {name} image topic, got {', '.join(sorted(best))}; set {name}_topic"
        )
    return best[0]


def info_of(topic: str, infos: list[str]) -> str:
    """The CameraInfo topic of an image topic: beside it, or the only one there is."""
    parts = topic.split("/")
    for length in range(len(parts) - 1, 0, -1):
        beside = "/".join([*parts[:length], "camera_info"])
        if beside in infos:
            return beside
    return infos[0] if len(infos) == 1 else ""


def _shared(first: Sequence[str], second: Sequence[str]) -> int:
    """How many elements two sequences have in common at their beginning."""
    count = 0
    for a, b in zip(first, second):
        if a != b:
            break
        count += 1
    return count


def _nearest(topic: str, others: list[str]) -> str:
    """The topic that shares most of its name with ``topic``."""
    shared = {other: _shared(topic, other) for other in sorted(others)}
    return max(shared, key=lambda other: shared[other]) if topic and shared else ""


def _only(types: dict[str, str], kind: str) -> str:
    topics = [t for t, own in types.items() if own == kind and not _words(t) & _WISH_WORDS]
    return topics[0] if len(topics) == 1 else ""
