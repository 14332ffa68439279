"""One way to run a node as a process: spin, stop on Ctrl-C or SIGTERM, clean up."""

from __future__ import annotations

import sys
from collections.abc import Callable

import rclpy
from rclpy.exceptions import InvalidParameterException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node

THREADS = 4


def run_node(make_node: Callable[[], Node], args: list[str] | None = None) -> int:
    """Spin the node that ``make_node`` makes until it is told to stop; the exit code."""
    rclpy.init(args=args)
    node = None
    try:
        node = make_node()
        executor = MultiThreadedExecutor(num_threads=THREADS)
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException, SystemExit):
        pass
    except (ValueError, InvalidParameterException, InvalidParameterValueException) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return int(getattr(node, "exit_code", 0))
