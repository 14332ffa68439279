"""Selects the TF topics of a camera's robot and reads its TF tree.

Robots with their own namespaces have a tree each, often with the same frame names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.bag_poses import TransformTree
from semantic_field.data.bag_reader import BagReader

STANDARD = ("tf", "tf_static")


def namespace(topic: str) -> str:
    """Return ``/robot1`` of ``/robot1/tf``, and non-standard names unchanged: ``/tf_old``."""
    base, _, last = topic.rpartition("/")
    return base if last in STANDARD else topic.replace("_static", "")


def read_tree(
    reader: BagReader, topics: tuple[str, ...], camera: str, camera_topic: str, chosen: str = ""
) -> TransformTree:
    """Read the TF tree of the camera's robot: TF of the camera's namespace and enclosing ones.

    If several of these define a frame, the innermost one wins. Topics with non-standard names
    (``/tf_old``) are only used if chosen, or if there are no others.

    Args:
        topics: all TF topics.
        camera: the camera's frame.
        camera_topic: topic of its images.
        chosen: a TF topic whose namespace is used instead.
    Raises:
        ValueError: if the camera's namespace has no TF and not exactly one other knows its frame.
    """
    groups: dict[str, list[str]] = {}
    for topic in sorted(topics):
        groups.setdefault(namespace(topic), []).append(topic)
    names = _around(list(groups), chosen or camera_topic)
    if chosen and namespace(chosen) not in names:
        names = [namespace(chosen)]
    if not names and groups:
        names = [_only_one_with(camera, groups, reader)]
    tree = TransformTree()
    names.sort(key=len, reverse=True)
    for name in names:
        _add(tree, reader, groups[name])
    tree.topics = tuple(groups[names[0]]) if names else ()
    return tree


def _around(names: list[str], camera_topic: str) -> list[str]:
    """Return the namespaces that contain the camera's topic."""
    return [name for name in names if camera_topic.startswith(f"{name}/")]


def _only_one_with(camera: str, groups: dict[str, list[str]], reader: BagReader) -> str:
    """Return the namespace of the only tree, or of the only one that knows the camera's frame."""
    if len(groups) == 1:
        return next(iter(groups))
    knowing = []
    for name, topics in groups.items():
        tree = TransformTree()
        _add(tree, reader, topics)
        if tree.has(camera):
            knowing.append(name)
    if len(knowing) == 1:
        return knowing[0]
    listed = ", ".join(f"{name}/tf" if "tf" not in name else name for name in knowing or groups)
    count = f"{len(knowing)} that have it" if knowing else "none of several that has it"
    raise ValueError(
        f"expected one tree of TF with the camera's frame {camera!r}, got {count}: {listed}; set "
        "--tf-topic"
    )


def _add(tree: TransformTree, reader: BagReader, topics: list[str]) -> None:
    """Add the transforms of one namespace, except for frames of inner namespaces."""
    inner = set(tree.children())
    for topic, message in reader.messages(*topics):
        for item in message.transforms:
            if item.child_frame_id.lstrip("/") not in inner:
                tree.add(
                    item.header.frame_id,
                    item.child_frame_id,
                    stamp_of(item.header),
                    vector(item.transform.translation),
                    quaternion(item.transform.rotation),
                    static="static" in topic.rpartition("/")[2],
                )


def stamp_of(header: Any) -> int:
    """Return the stamp of a header in nanoseconds."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def vector(v: Any) -> NDArray[np.float64]:
    """Return (x, y, z) of a message."""
    return np.array([v.x, v.y, v.z])


def quaternion(q: Any) -> NDArray[np.float64]:
    """Return (x, y, z, w) of a message."""
    return np.array([q.x, q.y, q.z, q.w])
