"""Warns if the kernel's socket buffers are too small for images."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

LIMIT = Path("/proc/sys/net/core/rmem_max")
ENOUGH_BYTES = 2_000_000
LARGE_TYPES = frozenset(
    {
        "sensor_msgs/msg/Image",
        "sensor_msgs/msg/CompressedImage",
        "sensor_msgs/msg/PointCloud2",
    }
)


def warn_where_small(type_name: str) -> None:
    """Warn once if a best-effort subscription to large messages needs a larger kernel buffer.

    Such a message consists of many datagrams; those that do not fit the receive buffer are lost.
    With Linux's default of 208 KiB most 640x480 images are lost between two busy processes.
    """
    if type_name in LARGE_TYPES:
        warn_once()


@functools.lru_cache(maxsize=1)
def warn_once() -> None:
    """Say it where the kernel's limit is low; the first call counts."""
    limit = buffer_limit()
    if limit is not None and limit < ENOUGH_BYTES:
        logging.getLogger("embedded_ros").warning(
            "The kernel limits socket buffers to %d KiB: best-effort images and clouds from other "
            "processes will be lost. Remedy: sudo sysctl -w net.core.rmem_max=16777216, or "
            "reliable QoS on both sides.",
            limit // 1024,
        )


def buffer_limit() -> int | None:
    """Return the largest receive buffer a process may request, bytes; None if unknown."""
    try:
        return int(LIMIT.read_text())
    except (OSError, ValueError):
        return None
