"""A live correction through the real nodes: how soon the published cloud shows it; with pictures.

    python benchmarks/live_correction.py ../shared/data/house/living --instance 69 \
        --wrong bathtub --png docs/images/correction.png

The replay node plays the recording at 5 Hz to the mapping node, each a process of its own. The
stream calls the class of one object by a wrong name. Half-way a click on the object names it
rightly by the service ``annotate``; every cloud that comes then is compared with the true
instances. Prints one line of JSON. The picture shows the labels before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np
from corrections import click_on, true_surface
from numpy.typing import NDArray
from scipy.spatial import KDTree

from semantic_field.data.sources import FrameSource, open_source
from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.client import Client, connected
from semantic_field.nodes.ros.qos import LATCHED
from semantic_field.query.colors import label_colors

# isort: split
from geometry_msgs.msg import Point, PoseStamped
from sensor_msgs.msg import PointCloud2
from vision_msgs.msg import LabelInfo

from semantic_field.msg import FieldStatus
from semantic_field.srv import Annotate, Forget, RenderView


def with_wrong_name(recording: Path, right: str, wrong: str, folder: Path) -> Path:
    """The recording, whose labels.json calls one class by another name."""
    for item in recording.iterdir():
        if item.name != "labels.json":
            (folder / item.name).symlink_to(item.resolve())
    labels = json.loads((recording / "labels.json").read_text())
    for entry in labels["classes"]:
        entry["name"] = wrong if entry["name"] == right else entry["name"]
    (folder / "labels.json").write_text(json.dumps(labels))
    return folder


def start(node: str, **parameters) -> subprocess.Popen:
    given = [f"{name.replace('__', '.')}:={value}" for name, value in parameters.items()]
    words = [word for text in given for word in ("-p", text)]
    module = f"semantic_field.nodes.{node}"
    return subprocess.Popen([sys.executable, "-m", module, "--ros-args", *words])


class Watch:
    """The newest status and names, and when which cloud came."""

    def __init__(self, client: Client) -> None:
        self.keyframes, self.names = 0, {}
        self.clouds: list[tuple[float, PointCloud2]] = []
        self._lock = threading.Lock()
        client.subscribe(FieldStatus, "status", self._on_status, LATCHED)
        client.subscribe(LabelInfo, "label_info", self._on_names, LATCHED)
        client.subscribe(PointCloud2, "cloud", self._on_cloud, LATCHED)

    def _on_status(self, message: FieldStatus) -> None:
        self.keyframes = message.keyframes

    def _on_names(self, message: LabelInfo) -> None:
        self.names = {entry.class_name: entry.class_id for entry in message.class_map}

    def _on_cloud(self, message: PointCloud2) -> None:
        with self._lock:
            self.clouds.append((time.monotonic(), message))


def scored(message: PointCloud2, truth: tuple[KDTree, NDArray], wanted: int, class_id: int):
    """Which share of an object's points has a class, and how many points beside it, over the
    object's."""
    points = conversions.cloud_arrays(message)
    xyz = np.stack([points[axis] for axis in "xyz"], 1)
    apart, nearest = truth[0].query(xyz, distance_upper_bound=0.03)
    known = np.isfinite(apart)
    inside = np.zeros(len(xyz), bool)
    inside[known] = truth[1][nearest[known]] == wanted
    named = points["label"] == class_id
    return float(named[inside].mean()), float((named & known & ~inside).sum() / inside.sum())


def view_of(client: Client, source: FrameSource, index: int) -> tuple[NDArray, NDArray]:
    """Colour and labels as the map has them."""
    frame = source[index]
    header = conversions.make_header(0, "map")
    response = client.call(
        RenderView,
        "render_view",
        RenderView.Request(
            camera_pose=PoseStamped(header=header, pose=conversions.to_pose(frame.T_world_camera)),
            camera_info=conversions.camera_info(frame.camera.resized(320, 240), header),
        ),
        120.0,
    )
    assert response.success, response.message
    return conversions.rgb_image(response.color), conversions.label_ids(response.label)


def picture(color: NDArray, labels: NDArray, text: str) -> NDArray:
    blended = (0.4 * color + 0.6 * label_colors(labels)).astype(np.uint8)[..., ::-1].copy()
    cv2.putText(blended, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(
        blended, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA
    )
    return blended


def wait_for(condition, timeout_s: float = 120.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the nodes did not get that far")
        time.sleep(0.02)


def run(options: argparse.Namespace, recording: Path) -> None:
    source = open_source(options.input)
    points, instances = true_surface(source, options.frames)
    truth = KDTree(points), instances
    own = points[instances == options.instance]
    x, y, z = (float(v) for v in click_on(own, *truth, options.instance))
    seen = [(source[i].instances == options.instance).sum() for i in range(0, options.frames, 4)]
    best = 4 * int(np.argmax(seen))
    ids = source[best].labels[source[best].instances == options.instance]
    right = source.label_names[int(np.bincount(ids[ids >= 0]).argmax())]
    with_wrong_name(Path(options.input), right, options.wrong, recording)
    nodes = [
        start("mapping_node", save_map_at_shutdown=False, teacher__kind="none"),
        start("replay_node", input=recording, frame_rate_hz=5.0),
    ]
    try:
        with connected("person") as client:
            watch = Watch(client)
            wait_for(lambda: watch.keyframes >= options.frames)
            before = view_of(client, source, best)
            begin = time.monotonic()
            request = Annotate.Request(name=right, point=Point(x=x, y=y, z=z))
            answer = client.call(Annotate, "annotate", request)
            answered = time.monotonic() - begin
            print(answer.message, file=sys.stderr)
            wait_for(lambda: right in watch.names)
            time.sleep(options.settle)
            after = view_of(client, source, best)
            forgot = time.monotonic()
            client.call(Forget, "forget", Forget.Request())
            time.sleep(options.settle)
            clouds, class_id = list(watch.clouds), watch.names[right]
    finally:
        for node in nodes:
            node.terminate()
        for node in nodes:
            node.wait()

    def curve(since: float, until: float) -> list[list[float]]:
        return [
            [
                round(at - since, 2),
                *(round(v, 3) for v in scored(c, truth, options.instance, class_id)),
            ]
            for at, c in clouds
            if since - 1 < at < until
        ]

    result = {
        "object": right,
        "answered_s": round(answered, 2),
        "cloud_s_object_beside": curve(begin, forgot),
        "after_forget": curve(forgot, forgot + options.settle),
    }
    print(json.dumps(result))
    if options.png:
        texts = f"before: {options.wrong}", f"{options.settle:.0f} s after one click: {right}"
        images = [picture(*view, text) for view, text in zip((before, after), texts, strict=True)]
        options.png.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(options.png), np.hstack(images), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input", help="folder of a recording with instances and labels.json")
    parser.add_argument("--instance", type=int, required=True, help="the object to click on")
    parser.add_argument("--wrong", default="bathtub", help="what the stream calls its class")
    parser.add_argument("--frames", type=int, default=60, help="keyframes before the click")
    parser.add_argument("--settle", type=float, default=6.0, help="seconds until the second view")
    parser.add_argument("--png", type=Path, help="labels before and after")
    options = parser.parse_args()
    os.environ.setdefault("ROS_DOMAIN_ID", str(50 + os.getpid() % 50))
    with tempfile.TemporaryDirectory() as folder:
        run(options, Path(folder))


if __name__ == "__main__":
    main()
