"""Detects the topics of colour, depth, labels, CameraInfo and poses of a recording."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from semantic_field.data.bag_types import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    LABEL_INFO_TYPE,
    ODOMETRY,
    POSE,
    TF,
)

log = logging.getLogger(__name__)
IMAGES = (IMAGE, COMPRESSED_IMAGE)
_LABEL_WORDS = {"label", "labels", "semantic", "semantics", "segmentation", "seg"}
_OTHER_WORDS = {"ir", "infra", "infra1", "infra2", "infrared", "confidence", "mask", "overlay"}
_OTHER_WORDS |= {"theora", "ffmpeg", "debug", "visualization", "right", "disparity", "instance"}
_WISH_WORDS = {"goal", "target", "setpoint", "cmd", "command", "desired"}  # not actual poses
_COLOR_WORDS = {"color", "colour", "rgb"}


@dataclass(frozen=True)
class Topics:
    """The topics to read; "" or () if the recording has none."""

    color: str
    depth: str
    color_info: str
    depth_info: str
    labels: str
    label_info: str
    tf: tuple[str, ...]
    pose: str
    odometry: str


def detect_topics(types: dict[str, str], choice: dict[str, str], need_info: bool = True) -> Topics:
    """Detect the topics of a recording by type and name.

    If there are several cameras, one is chosen, with a warning.

    Args:
        types: message type of every topic that has messages.
        choice: topics chosen by the caller, by field of ``Topics``.
        need_info: whether colour must have a CameraInfo.
    Raises:
        ValueError: if no topic fits, or a chosen topic does not exist; the message lists the
            topics found and the option to set.
    """
    for name, topic in choice.items():
        if topic and topic not in types:
            raise ValueError(
                f"expected {_option(name)} to be a topic of the bag, got {topic!r}; {found(types)}"
            )
    images = {topic: kind for topic, kind in types.items() if kind in IMAGES}
    color, depth = _pick_camera(images, choice, types)
    labels = choice.get("labels") or _pick_labels(images, color)
    infos = [topic for topic, kind in types.items() if kind == CAMERA_INFO]
    names = [topic for topic, kind in types.items() if kind == LABEL_INFO_TYPE]
    color_info = choice.get("color_info") or info_of(color, infos)
    if need_info and not color_info:
        raise ValueError(
            f"expected a CameraInfo beside {color!r}, got none by name; set "
            f"{_option('color_info')}, or give the camera itself: --camera FX,FY,CX,CY,W,H; "
            f"{found(types)}"
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


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}-topic"


def found(types: dict[str, str]) -> str:
    """Return the topics of a recording as a part of an error message."""
    listed = ", ".join(f"{topic} ({kind.split('/')[-1]})" for topic, kind in sorted(types.items()))
    return f"topics found: {listed or 'none'}"


def role(topic: str) -> str:
    """Return the role of an image topic by its name: "depth", "labels", "color", or ""."""
    words = _words(topic)
    if set(words) & _OTHER_WORDS:
        return ""
    if "rgb_to_depth" in topic.lower():
        return ""  # Azure Kinect's colour, reprojected to the depth camera
    if "depth" in topic.lower():
        return "depth"
    if "stereo" in words:  # OAK-D's depth is called stereo/image_raw; others' pairs have sides
        return "" if set(words) & (_COLOR_WORDS | {"left"}) else "depth"
    return "labels" if set(words) & _LABEL_WORDS else "color"


def is_rectified(topic: str) -> bool:
    """Return whether the images of a topic are rectified, by image_proc's naming."""
    return any("rect" in word.split("_") for word in topic.lower().split("/"))


def _pick_camera(
    images: dict[str, str], choice: dict[str, str], types: dict[str, str]
) -> tuple[str, str]:
    """Return the best matching pair of colour and depth topics."""
    candidates = {}
    for name in ("color", "depth"):
        chosen = choice.get(name)
        candidates[name] = [chosen] if chosen else [t for t in images if role(t) == name]
        if not candidates[name]:
            raise ValueError(
                f"expected a {name} image topic, got none by name; set {_option(name)}; "
                f"{found(types)}"
            )
    pairs = {(c, d): _fit(c, d, images) for c, d in product(*candidates.values()) if c != d}
    best = [pair for pair in sorted(pairs) if pairs[pair] == max(pairs.values())]
    if not best:
        raise ValueError(f"expected colour and depth topics, got {choice}; {found(types)}")
    if len(best) > 1:
        log.warning(
            "several cameras: %s and %s are taken, not %s; choose with --color-topic and "
            "--depth-topic",
            *best[0],
            ", ".join(" and ".join(pair) for pair in best[1:]),
        )
    return best[0]


def _fit(color: str, depth: str, images: dict[str, str]) -> tuple:
    """Return a sort key of how well two topics fit as colour and depth of one camera."""
    own, words = _words(color), _words(depth)
    colorful = sum(word in _COLOR_WORDS for word in own)
    aligned = bool({"aligned", "registered"} & set(words)) or "depth_to_" in depth.lower()
    return (
        colorful > 0,
        aligned,
        _shared(color.split("/"), depth.split("/")),
        colorful,
        images.get(color) == IMAGE,
        images.get(depth) == IMAGE,
        "rect" in own,
        "rect" in words,
    )


def _pick_labels(images: dict[str, str], color: str) -> str:
    """Return the label topic closest to the colour topic by name, "" if there is none."""
    named = [topic for topic in sorted(images) if role(topic) == "labels"]
    fits = {t: (_shared(t.split("/"), color.split("/")), images[t] == IMAGE) for t in named}
    best = [topic for topic in named if fits[topic] == max(fits.values())]
    if len(best) > 1:
        log.warning(
            "several topics of labels: %s is taken, not %s; choose with --labels-topic",
            best[0],
            ", ".join(best[1:]),
        )
    return best[0] if best else ""


def _words(topic: str) -> list[str]:
    return re.split(r"[/_\-]+", topic.lower())


def info_of(topic: str, infos: list[str]) -> str:
    """Return the CameraInfo topic of an image topic: next to it, or the only one; else ""."""
    parts = topic.split("/")
    for length in range(len(parts) - 1, 0, -1):
        beside = "/".join([*parts[:length], "camera_info"])
        if beside in infos:
            return beside
    return infos[0] if len(infos) == 1 else ""


def _shared(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the common prefix of two sequences."""
    count = 0
    for a, b in zip(first, second):
        if a != b:
            break
        count += 1
    return count


def _nearest(topic: str, others: list[str]) -> str:
    """Return the topic with the longest common prefix with ``topic``."""
    shared = {other: _shared(topic, other) for other in sorted(others)}
    return max(shared, key=lambda other: shared[other]) if topic and shared else ""


def _only(types: dict[str, str], kind: str) -> str:
    topics = [t for t, own in types.items() if own == kind and not _WISH_WORDS & set(_words(t))]
    return topics[0] if len(topics) == 1 else ""
