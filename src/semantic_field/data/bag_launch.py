"""Derives the arguments of ``mapping.launch.py`` from the topics of a rosbag2."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from semantic_field.config import SourceConfig
from semantic_field.data.bag_topics import Topics
from semantic_field.data.rosbag import BagSource

TRANSPORTS = ("compressed", "compressedDepth")


def launch_arguments(path: str | Path, reading: SourceConfig | None = None) -> dict[str, str]:
    """Return the launch arguments for a rosbag2: topics, transports, pose source, global frame.

    Args:
        reading: overrides what is detected by type and name.
    Raises:
        ValueError: if the bag is damaged or a topic is missing or ambiguous.
    """
    reading = reading or SourceConfig()
    source = BagSource(path, **reading.options())
    topics = source.topics
    return {
        **_image("color", topics.color),
        **_image("depth", topics.depth),
        **_other(topics),
        **{"tf_static" if "static" in t.rpartition("/")[2] else "tf": t for t in source.tf_topics},
        "pose_source": source.pose_source,
        "pose_frame": source.pose_frame,
        "global_frame": source.global_frame,
    }


def _image(name: str, topic: str) -> dict[str, str]:
    """Split base topic and transport: transports append their name to the raw image topic."""
    base, _, last = topic.rpartition("/")
    if last in TRANSPORTS:
        return {name: base, f"{name}_transport": last}
    return {name: topic, f"{name}_transport": "raw"}


def _other(topics: Topics) -> dict[str, str]:
    named = {
        "camera_info": topics.color_info,
        "depth_camera_info": topics.depth_info,
        "labels": topics.labels,
        "label_info": topics.label_info,
        "pose": topics.pose,
        "odometry": topics.odometry,
    }
    return {name: topic for name, topic in named.items() if topic}


def main() -> int:
    """``python -m semantic_field.data.bag_launch BAG [JSON]``: print the arguments as JSON.

    The argument JSON holds texts by the option names of ``SourceConfig``. Returns the exit code."""
    try:
        texts = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
        arguments = launch_arguments(sys.argv[1], SourceConfig.of_texts(texts))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(arguments))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
