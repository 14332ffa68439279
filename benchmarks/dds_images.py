#!/usr/bin/env python3
"""Images between two processes, both ways at once: what is lost and how long it takes.

    python benchmarks/dds_images.py [--seconds 10] [--rate 30] [--json]

Each process publishes 640x480 rgb8 images at 30 Hz and receives the other's, first reliably, then
best effort. ``publish`` is the time that ``Publisher.publish`` takes, ``latency`` the time from
before publishing to inside the other's callback.
"""

from __future__ import annotations

import argparse
import array
import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import embedded_ros

embedded_ros.install()

import numpy as np  # noqa: E402
import rclpy  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

DEPTH = 10
SIDES = ("first", "second")


class Side(Node):
    """Publishes images on ``images_from_<me>`` and counts those of the other side."""

    def __init__(self, me: str, options: argparse.Namespace) -> None:
        super().__init__(f"dds_images_{me}_{options.reliability}")
        other = SIDES[1 - SIDES.index(me)]
        qos = QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy[options.reliability])
        suffix = options.reliability.lower()
        self.publisher = self.create_publisher(Image, f"images_from_{me}_{suffix}", qos)
        self.create_subscription(Image, f"images_from_{other}_{suffix}", self.on_image, qos)
        self.options = options
        self.received: list[int] = []
        self.latencies_ms: list[float] = []
        self.publish_ms: list[float] = []

    def on_image(self, message: Image) -> None:
        sent_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        self.latencies_ms.append((time.time_ns() - sent_ns) / 1e6)
        self.received.append(int(message.header.frame_id))

    def publish_all(self) -> None:
        options = self.options
        pixels = np.random.default_rng(0).integers(
            0, 255, options.height * options.width * 3, np.uint8
        )
        message = Image(height=options.height, width=options.width, encoding="rgb8")
        message.step = options.width * 3
        message.data = array.array("B", pixels.tobytes())
        start = time.monotonic()
        for number in range(int(options.seconds * options.rate)):
            time.sleep(max(0.0, start + number / options.rate - time.monotonic()))
            message.header.stamp = self.get_clock().now().to_msg()
            message.header.frame_id = str(number)
            before = time.perf_counter()
            self.publisher.publish(message)
            self.publish_ms.append((time.perf_counter() - before) * 1e3)

    def wait_for_other(self) -> None:
        end = time.monotonic() + 20.0
        while (
            self.publisher.get_subscription_count() == 0
            or self.count_publishers(next(iter(self.subscriptions)).topic_name) == 0
        ):
            if time.monotonic() > end:
                raise SystemExit("the other process did not appear within 20 s")
            time.sleep(0.05)
        time.sleep(0.5)  # the other one finds us, too


def run_side(me: str, options: argparse.Namespace) -> dict:
    """Run one side to its end; what it sent and received."""
    rclpy.init(args=[])
    node = Side(me, options)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinning = threading.Thread(target=executor.spin, daemon=True)
    spinning.start()
    node.wait_for_other()
    node.publish_all()
    time.sleep(1.5)  # what is still on its way
    executor.shutdown()
    spinning.join()
    result = {
        "sent": len(node.publish_ms),
        "received": len(node.received),
        "in_order": node.received == sorted(set(node.received)),
        "publish_ms": summary(node.publish_ms),
        "latency_ms": summary(node.latencies_ms),
    }
    node.destroy_node()
    rclpy.shutdown()
    return result


def summary(values: list[float]) -> dict[str, float]:
    """Mean, 95th percentile and maximum."""
    if not values:
        return {"mean": float("nan"), "p95": float("nan"), "max": float("nan")}
    return {
        "mean": round(float(np.mean(values)), 3),
        "p95": round(float(np.percentile(values, 95)), 3),
        "max": round(float(np.max(values)), 3),
    }


def measure(options: argparse.Namespace) -> dict:
    """Both sides with one reliability: per direction what was lost and how long it took."""
    command = [sys.executable, __file__, "--side", "second", "--reliability", options.reliability]
    for name in ("seconds", "rate", "width", "height"):
        command += [f"--{name}", str(getattr(options, name))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        first = run_side("first", options)
        output, _ = child.communicate(timeout=60)
    if child.returncode != 0:
        raise SystemExit(f"the second process failed with {child.returncode}")
    second = json.loads(output)
    return {
        "first to second": direction(first, second),
        "second to first": direction(second, first),
    }


def direction(sender: dict, receiver: dict) -> dict:
    """One direction's figures."""
    return {
        "sent": sender["sent"],
        "lost": sender["sent"] - receiver["received"],
        "in_order": receiver["in_order"],
        "publish_ms": sender["publish_ms"],
        "latency_ms": receiver["latency_ms"],
    }


def print_table(results: dict) -> None:
    """The figures for people."""
    print(f"{'':34s} {'sent':>5s} {'lost':>5s}  publish ms mean/p95/max  latency ms mean/p95/max")
    for reliability, directions in results["results"].items():
        for name, item in directions.items():
            times = [
                "/".join(f"{v:.2f}" for v in item[k].values()) for k in ("publish_ms", "latency_ms")
            ]
            label = f"{reliability.lower()}, {name}"
            print(
                f"{label:34s} {item['sent']:5d} {item['lost']:5d}  {times[0]:>23s}  {times[1]:>23s}"
            )


def commit() -> str:
    """The commit of this checkout, empty where it is none."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=30.0, help="images per second")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--reliability", default="RELIABLE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(run_side(options.side, options)))
        return
    results: dict = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
    }
    results["image_bytes"] = options.width * options.height * 3
    results["results"] = {}
    for options.reliability in ("RELIABLE", "BEST_EFFORT"):
        results["results"][options.reliability] = measure(options)
    print(json.dumps(results, indent=2)) if options.json else print_table(results)


if __name__ == "__main__":
    main()
