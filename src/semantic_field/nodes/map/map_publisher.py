"""Publishes the map: snapshots, the semantic point cloud, rendered camera views.

A dedicated thread does the work, so neither callbacks nor training wait for it. Clouds and views
are made only with subscribers; snapshots always, as late subscribers receive the last one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from semantic_field.config import MappingNodeConfig
from semantic_field.field.map_file import FORMAT, dump_map
from semantic_field.field.map_state import MapState
from semantic_field.field.surface.extraction import (
    describe_points,
    extract_surface,
    with_votes,
)
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import Frame
from semantic_field.geometry import Camera
from semantic_field.mapping.mapper import Mapper
from semantic_field.msg import FieldSnapshot
from semantic_field.nodes.map.local_frame import cloud_header, header_of, local_transform
from semantic_field.nodes.map.shared_map import OF_THIS_PROCESS
from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.qos import LATCHED, RELIABLE
from semantic_field.nodes.ros.workers import Worker

POLL_S = 0.1
LEARNT_S = 1.0  # after a correction: most of it has been learnt by then
AROUND_M = 0.5
NOTHING = SurfacePoints(
    *(np.zeros((0, 3), np.float32) for _ in range(2)),
    np.zeros((0, 3), np.uint8),
    np.zeros((0, 0), np.float16),
    np.zeros(0, np.int32),
    np.zeros(0, np.float32),
)
MAX_PIXELS = 1 << 22  # of a requested view: a typing error must not exhaust memory


class MapPublisher:
    """Publishes ``snapshot``, ``cloud`` and ``view/{color,depth,label}`` of one mapper."""

    def __init__(self, node: LifecycleNode, mapper: Mapper, config: MappingNodeConfig) -> None:
        self._node, self._mapper, self._config = node, mapper, config
        self._snapshot = node.create_publisher(FieldSnapshot, "snapshot", LATCHED)
        self._cloud = node.create_publisher(PointCloud2, "cloud", LATCHED)
        self._views = {
            name: node.create_publisher(Image, f"view/{name}", RELIABLE)
            for name in ("color", "depth", "label")
        }
        # Not tf2's StaticTransformBroadcaster: it keeps sending the first transform of a frame.
        self._static_tf = node.create_publisher(TFMessage, "/tf_static", LATCHED)
        self._placed_at = np.zeros(3)
        self._corrections: deque[tuple[float, NDArray, NDArray]] = deque()
        self._published: tuple[MapState, SurfacePoints] | None = None
        self._due = {"snapshot": 0.0, "cloud": 0.0, "view": 0.0}
        self._steps = {"snapshot": -1, "cloud": -1}
        self._sending = threading.Lock()  # so that the last latched message is of the newest map
        self._renewed = 0
        self._stop = threading.Event()
        self._worker: Worker | None = None
        self.version = 0
        self.latest_frame: Frame | None = None

    def start(self) -> None:
        """Start the publishing thread."""
        self._stop.clear()
        self._worker = Worker(self._node, "map publisher", self._run)
        self._worker.start()

    def stop(self) -> None:
        """Stop the thread, after it has finished its current work."""
        self._stop.set()
        if self._worker is not None:
            self._worker.join()
            self._worker = None

    def follow(self, config: MappingNodeConfig) -> None:
        """Apply new settings; everything is due immediately."""
        self._config = config
        self._due = dict.fromkeys(self._due, 0.0)

    def renew(self) -> None:
        """After the map was emptied or replaced: publish a snapshot and an empty cloud at once."""
        with self._sending:
            self._renewed += 1
            self._published = None
            self._corrections.clear()
            state = self._mapper.snapshot()
            self._send_snapshot(state)
            self._send(state, NOTHING)
            self._due, self._steps = dict.fromkeys(self._due, 0.0), dict.fromkeys(self._steps, -1)

    def close(self) -> None:
        self.stop()
        for publisher in (
            self._snapshot,
            self._cloud,
            *self._views.values(),
            self._static_tf,
        ):
            self._node.destroy_publisher(publisher)

    def hasten(self, low: NDArray, high: NDArray) -> None:
        """Show a correction at once; ``low`` and ``high`` (3,) bound it: map coordinates, metres.

        Extracting a whole cloud takes longer than learning the correction. So the last cloud is
        published again at once (``_send`` applies the annotations to it), and again after
        ``LEARNT_S``, with the labels around the correction queried from the field.
        """
        now = time.monotonic()
        with self._sending:
            if self._published is not None and self._heard(self._cloud):
                self._send(*self._published)
        self._corrections.append((now + LEARNT_S, low - AROUND_M, high + AROUND_M))
        self._due["snapshot"] = min(self._due["snapshot"], now + LEARNT_S)

    def _publish_corrections(self) -> None:
        while self._corrections and self._corrections[0][0] <= time.monotonic():
            _, low, high = self._corrections.popleft()
            renewed, published = self._renewed, self._published
            if published is None or not self._heard(self._cloud):
                self._due["cloud"] = 0.0
                continue
            state, points = self._mapper.snapshot(), published[1]
            state.surfaces.points = None  # the surface cached with this state may have moved
            near = ((points.xyz >= low) & (points.xyz <= high)).all(1)
            label = points.label.copy()
            renewed_points = describe_points(state, points.xyz[near], with_latent=False)
            label[near] = with_votes(state, renewed_points).label
            with self._sending:
                if renewed == self._renewed:
                    self._send_cloud(state, replace(points, label=label))

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            self._publish_corrections()
            self._publish_map()
            self._publish_view()

    def _publish_map(self) -> None:
        renewed, steps = self._renewed, self._mapper.steps
        wanted = [
            name
            for name, always in (("snapshot", True), ("cloud", self._heard(self._cloud)))
            if always and steps > 0 and steps != self._steps[name] and self._is_due(name)
        ]
        if not wanted:
            return
        state = self._mapper.snapshot()
        for name in wanted:
            points = extract_surface(state) if name == "cloud" else None
            with self._sending:
                if renewed != self._renewed:
                    return
                if points is None:
                    self._send_snapshot(state)
                else:
                    self._send_cloud(state, points)
                self._steps[name] = steps
                self._due[name] = time.monotonic() + getattr(self._config, f"{name}_period_s")

    def _is_due(self, name: str) -> bool:
        return time.monotonic() >= self._due[name]

    @staticmethod
    def _heard(publisher) -> bool:
        return publisher.get_subscription_count() > 0

    def _send_snapshot(self, state: MapState) -> None:
        self._place(state)
        header = header_of(state)
        data = dump_map(state)
        OF_THIS_PROCESS.offer(state, data)
        self._snapshot.publish(
            FieldSnapshot(
                header=header,
                version=state.version,
                format=FORMAT,
                data=conversions.to_bytes(data),
            )
        )
        self.version = state.version

    def _place(self, state: MapState) -> None:
        """Broadcast the local frame of the clouds, if it is not the global one and has changed."""
        if state.origin.any() and not np.array_equal(state.origin, self._placed_at):
            self._static_tf.publish(TFMessage(transforms=[local_transform(state)]))
        self._placed_at = state.origin

    def _send_cloud(self, state: MapState, points: SurfacePoints) -> None:
        self._published = state, points
        self._send(state, points)

    def _send(self, state: MapState, points: SurfacePoints) -> None:
        """Publish the cloud; annotations override its labels without waiting for training."""
        self._place(state)
        label = self._mapper.annotations().overrule(points.xyz, points.label)
        self._cloud.publish(
            conversions.cloud_message(
                cloud_header(state),
                points.xyz,
                points.color,
                points.confidence,
                label,
                points.normals,
            )
        )

    def _publish_view(self) -> None:
        frame = self.latest_frame
        heard = any(self._heard(publisher) for publisher in self._views.values())
        if frame is None or not heard or not self._is_due("view"):
            return
        width = min(self._config.view_width, frame.camera.width)
        camera = frame.camera.resized(
            width, max(1, frame.camera.height * width // frame.camera.width)
        )
        view = self._mapper.render(camera, frame.T_world_camera)
        header = conversions.make_header(frame.stamp_ns, self._config.input.global_frame)
        for name, message in view_images(view, header).items():
            if name in self._views:
                self._views[name].publish(message)
        self._due["view"] = time.monotonic() + self._config.view_period_s


def view_images(view: RenderedView, header: Header) -> dict[str, Image]:
    """Return a view's images: color rgb8, depth 32FC1 (m), label 16UC1, confidence 32FC1."""
    return {
        "color": conversions.image_message(view.color, "rgb8", header),
        "depth": conversions.image_message(view.depth, "32FC1", header),
        "label": conversions.label_message(view.label, header),
        "confidence": conversions.image_message(view.confidence, "32FC1", header),
    }


def requested_camera(request) -> Camera:
    """Return the camera of a RenderView request: from its CameraInfo, or size and field of view.

    Raises:
        ValueError: if these are no valid camera, or have more than ``MAX_PIXELS``.
    """
    if request.camera_info.width:
        camera = conversions.camera_from_info(request.camera_info)[0]
    else:
        camera = Camera.from_field_of_view(
            int(request.width), int(request.height), float(request.horizontal_field_of_view)
        )
    if camera.width * camera.height > MAX_PIXELS:
        raise ValueError(
            f"expected at most {MAX_PIXELS} pixels, got {camera.width} x {camera.height}"
        )
    return camera
