"""Which TF topics of a recording belong together, and the tree that a camera hangs in.

Robots in namespaces of their own have a tree each, often with the same names of frames.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.bag_poses import TransformTree
from semantic_field.data.bag_reader import BagReader

STANDARD = ("tf", "tf_static")


def namespace(topic: str) -> str:
    """``/robot1`` of ``/robot1/tf``; the name itself where it is no standard one: ``/tf_old``."""
    base, _, last = topic.rpartition("/")
    return base if last in STANDARD else topic.replace("_static", "")


def read_tree(
    reader: BagReader, topics: tuple[str, ...], camera: str, camera_topic: str, chosen: str = ""
) -> TransformTree:
    """The tree of the camera's robot: TF of the camera's namespace and of those around it.

    Where two of these know a frame the inner one counts. Topics whose names are no standard ones
    (``/tf_old``) only serve where they are chosen, or where there are no others.

    Args:
        topics: all TF topics. camera: its frame. camera_topic: of its images.
        chosen: a TF topic whose namespace is to be used instead.
    Raises:
        ValueError: where the camera's namespace has no TF and several others know its frame.
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
    """The namespaces that the camera's topic lies in."""
    return [name for name in names if camera_topic.startswith(f"{name}/")]


def _only_one_with(camera: str, groups: dict[str, list[str]], reader: BagReader) -> str:
    """The namespace of the only tree, or of the only one that knows the camera's frame."""
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
    """Add the transforms of one namespace, but for frames that an inner one knows."""
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
    """Nanoseconds of a header's stamp."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def vector(v: Any) -> NDArray[np.float64]:
    """(x, y, z) of a message."""
    return np.array([v.x, v.y, v.z])


def quaternion(q: Any) -> NDArray[np.float64]:
    """(x, y, z, w) of a message."""
    return np.array([q.x, q.y, q.z, q.w])
