#!/usr/bin/env python3
"""Runs several nodes in one process: ``single_process [NODE …]``, default: mapping and query.

They share one interpreter, one torch and one map in memory. Each node keeps its name, topics and
services; parameters and remappings apply to all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from rclpy.node import Node
from rclpy.utilities import remove_ros_args

from semantic_field.nodes.inference_node import InferenceNode
from semantic_field.nodes.map.shared_map import OF_THIS_PROCESS
from semantic_field.nodes.mapping_node import MappingNode
from semantic_field.nodes.query_node import QueryNode
from semantic_field.nodes.replay_node import ReplayNode
from semantic_field.nodes.ros.run import run_nodes

NODES: dict[str, Callable[[], Node]] = {
    "inference_node": InferenceNode,
    "mapping_node": MappingNode,
    "query_node": QueryNode,
    "replay_node": ReplayNode,
}


def main(args: list[str] | None = None) -> int:
    """Run the named nodes in one process; returns the exit code."""
    given = sys.argv if args is None else ["single_process", *args]
    names = remove_ros_args(given)[1:] or ["mapping_node", "query_node"]
    unknown = [name for name in names if name not in NODES]
    if unknown:
        sys.stderr.write(f"error: expected nodes of {', '.join(NODES)}, got {unknown[0]!r}\n")
        return 1
    readers = {"query_node", "inference_node"} & set(names)
    OF_THIS_PROCESS.open("mapping_node" in names and bool(readers))
    return run_nodes([NODES[name] for name in names], args)


if __name__ == "__main__":
    raise SystemExit(main())
