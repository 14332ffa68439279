"""What the tests of this package's nodes share: a camera on topics, a small room, service calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import pytest
import torch

import embedded_ros

embedded_ros.install()

from geometry_msgs.msg import TransformStamped  # noqa: E402
from rcl_interfaces.msg import Log  # noqa: E402
from rclpy.executors import MultiThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster  # noqa: E402
from vision_msgs.msg import LabelInfo, VisionClass  # noqa: E402

from semantic_field.config import Config  # noqa: E402
from semantic_field.data.simulated_room import SimulatedRoom  # noqa: E402
from semantic_field.field.map_file import FORMAT, dump_map  # noqa: E402
from semantic_field.frames import Frame  # noqa: E402
from semantic_field.generalizable.carrying import carried_labels  # noqa: E402
from semantic_field.generalizable.gathering import at_pixels, gather  # noqa: E402
from semantic_field.generalizable.generalizable_model import GeneralizableModel, Prediction  # noqa: E402
from semantic_field.mapping.mapper import Mapper  # noqa: E402
from semantic_field.mapping.warm_up import warm_up  # noqa: E402
from semantic_field.msg import FieldSnapshot  # noqa: E402
from semantic_field.nodes.inference_node import InferenceNode  # noqa: E402
from semantic_field.nodes.ros import conversions  # noqa: E402
from semantic_field.nodes.ros.qos import LATCHED  # noqa: E402
from semantic_field.nodes.ros.run import TEACHER, WARM_UP  # noqa: E402
from semantic_field.srv import Query  # noqa: E402

OPTICAL = "camera_color_optical_frame"
RELIABLE = QoSProfile(depth=30)
ROSOUT = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# Small and quick: what is tested here is the nodes, not how well they map. And patient: on a busy
# machine the parts of a frame may come far apart.
QUICK = {
    "field.grid.log2_table_size": 14,
    "mapping.rays_per_step": 256,
    "input.input_qos": "reliable",
    "input.tf_timeout_s": 30.0,
    "input.label_timeout_s": 30.0,
    "save_map_at_shutdown": False,
    "status_period_s": 0.05,
    "snapshot_period_s": 0.2,
    "cloud_period_s": 0.2,
    "view_period_s": 0.1,
}


class CameraOnTopics:
    """What a camera driver, a localisation and a labeller publish, message by message."""

    def __init__(self, node: Node, spin) -> None:
        self.node, self._spin = node, spin
        self.publishers = {}
        for name in ("color", "depth"):
            self.publishers[name] = node.create_publisher(Image, f"{name}/image", RELIABLE)
            info = f"{name}/camera_info"
            self.publishers[info] = node.create_publisher(CameraInfo, info, RELIABLE)
        self.tf = TransformBroadcaster(node)
        self.static_tf = StaticTransformBroadcaster(node)

    def add_labels(self) -> None:
        """From now on there is a labeller: frames wait for their labels."""
        if "labels" not in self.publishers:
            node = self.node
            self.publishers["labels"] = node.create_publisher(Image, "labels/image", RELIABLE)
            self.names = node.create_publisher(LabelInfo, "labels/label_info", LATCHED)

    def wait(self, wait_until) -> None:
        """Until somebody listens to images and transforms."""
        names = [self.node.resolve_topic_name(name) for name in ("color/image", "depth/image")]
        topics = [*names, *(f"{name.removesuffix('image')}camera_info" for name in names), "/tf"]
        assert wait_until(lambda: all(self.node.count_subscribers(t) for t in topics))
        heard = self.publishers.values()
        assert wait_until(lambda: all(p.get_subscription_count() for p in heard))
        # What is sent before the other end knows of it as well is lost.
        sent = {*topics, *(publisher.topic_name for publisher in heard)}
        nodes = [node for spinning in self._spin.running for node in spinning.executor.get_nodes()]
        ends = [end for node in nodes for end in node.subscriptions if end.topic_name in sent]
        assert wait_until(lambda: all(end.get_publisher_count() for end in ends))

    def transform(
        self, matrix: np.ndarray, stamp_ns: int, parent: str = "map", child: str = OPTICAL
    ) -> TransformStamped:
        return TransformStamped(
            header=conversions.make_header(stamp_ns, parent),
            child_frame_id=child,
            transform=conversions.to_transform(matrix),
        )

    def send_pose(self, frame: Frame) -> None:
        self.tf.sendTransform(self.transform(frame.T_world_camera, frame.stamp_ns))

    def send_info(self, frame: Frame, names: tuple[str, ...] = ("color", "depth")) -> None:
        header = conversions.make_header(frame.stamp_ns, OPTICAL)
        for name in names:
            self.publishers[f"{name}/camera_info"].publish(
                conversions.camera_info(frame.camera, header)
            )

    def send_image(self, name: str, pixels: np.ndarray, encoding: str, stamp_ns: int) -> None:
        header = conversions.make_header(stamp_ns, OPTICAL)
        self.publishers[name].publish(conversions.image_message(pixels, encoding, header))

    def send_images(self, frame: Frame) -> None:
        self.send_image("color", frame.color, "rgb8", frame.stamp_ns)
        self.send_image("depth", frame.depth, "32FC1", frame.stamp_ns)

    def send_labels(self, frame: Frame) -> None:
        header = conversions.make_header(frame.stamp_ns, OPTICAL)
        self.publishers["labels"].publish(conversions.label_message(frame.labels, header))

    def send_names(self, names: dict[int, str]) -> None:
        classes = [VisionClass(class_id=i, class_name=name) for i, name in names.items()]
        self.names.publish(LabelInfo(class_map=classes))

    def send(self, frame: Frame) -> None:
        """Everything of a frame, as a robot sends it."""
        self.send_pose(frame)
        self.send_info(frame)
        self.send_images(frame)
        if frame.labels is not None:
            self.send_labels(frame)


@pytest.fixture
def camera(make_node, spin) -> CameraOnTopics:
    return CameraOnTopics(make_node("camera"), spin)


@lru_cache(maxsize=1)
def small_room() -> tuple[SimulatedRoom, list[Frame]]:
    room = SimulatedRoom(n_frames=12, size=(160, 120))
    return room, [replace(frame, instances=None) for frame in room]


@pytest.fixture
def room() -> tuple[SimulatedRoom, list[Frame]]:
    """A simulated room and its twelve frames of 160 x 120 pixels."""
    return small_room()


class Snapshots:
    """A stand-in for the mapping node's snapshot topic, with a real map in it."""

    def __init__(self, node: Node, mapper: Mapper, room: SimulatedRoom) -> None:
        self.publisher = node.create_publisher(FieldSnapshot, "snapshot", LATCHED)
        self.room, self.mapper, self.state = room, mapper, mapper.snapshot()
        self.data = dump_map(self.state)

    def send(self, version: int | None = None, data: bytes | None = None) -> None:
        state = self.state if version is None else replace(self.state, version=version)
        data = data if data is not None else dump_map(state)
        self.publisher.publish(
            FieldSnapshot(
                header=Header(frame_id="map"),
                version=state.version,
                format=FORMAT,
                data=conversions.to_bytes(data),
            )
        )


@pytest.fixture
def make_snapshots(make_node) -> Callable[[Mapper, SimulatedRoom], Snapshots]:
    return lambda mapper, room: Snapshots(make_node("mapping"), mapper, room)


class Caller:
    """Calls services of other nodes from the test's own thread."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def __call__(self, kind: type, name: str, /, **fields):
        answer = self.attempt(kind, name, 60.0, **fields)
        assert answer is not None, f"no answer from {name}"
        return answer

    def attempt(self, kind: type, name: str, timeout_s: float, /, **fields):
        """The answer; None where no service is there, or does not answer, in time: a killed server
        is seen for a while."""
        client = self.node.create_client(kind, name)
        try:
            if not client.wait_for_service(timeout_s):
                return None
            answered = threading.Event()
            future = client.call_async(kind.Request(**fields))
            future.add_done_callback(lambda _: answered.set())
            answered.wait(timeout_s)
            return future.result() if future.done() else None
        finally:
            self.node.destroy_client(client)


@pytest.fixture
def call(make_node, spin) -> Caller:
    node = make_node("caller")
    spin.in_background(node)
    return Caller(node)


@pytest.fixture
def ask(call, wait_until):
    """The answer of the query service, once the node has a map."""

    def make(text: str, wait: bool = True, **fields) -> Query.Response:
        answers = []

        def answered() -> bool:
            answers.append(call(Query, "query", text=text, **fields))
            return answers[-1].success

        if wait:
            assert wait_until(answered), answers[-1].message
        else:
            answered()
        return answers[-1]

    return make


COMMAND = "import sys; from semantic_field.cli import main; raise SystemExit(main(sys.argv[1:]))"


@pytest.fixture
def command(start_python):
    """``semantic-field NAME …``: its exit code and what it prints."""

    def run(name: str, *arguments: str) -> tuple[int, str]:
        process = start_python(COMMAND, name, *arguments)
        out = process.stdout.read()
        return process.wait(), out

    return run


@pytest.fixture
def query(command):
    """``semantic-field query``."""
    return lambda *arguments: command("query", "--timeout", "60", *arguments)


class Inbox:
    """The messages of a topic, as they come."""

    def __init__(self, node: Node, kind: type, topic: str, qos: QoSProfile) -> None:
        self.messages: list = []
        self.subscription = node.create_subscription(kind, topic, self.messages.append, qos)

    @property
    def last(self):
        return self.messages[-1] if self.messages else None


@pytest.fixture
def listen(make_node, spin):
    """Inboxes: ``listen(kind, topic)``; each in a node of its own, latched unless told."""
    count = 0

    def make(kind: type, topic: str, qos: QoSProfile = LATCHED) -> Inbox:
        nonlocal count
        count += 1
        node = make_node(f"listener_{count}")
        inbox = Inbox(node, kind, topic, qos)
        spin.in_background(node)
        return inbox

    return make


@pytest.fixture
def log(listen) -> Callable[[str], int]:
    """How many warnings and errors with that text were put out by any node."""
    inbox = listen(Log, "/rosout", ROSOUT)
    return lambda text: sum(text in entry.msg for entry in inbox.messages if entry.level >= 30)


@pytest.fixture
def start_node(context, spin):
    """Nodes of this package, spun as their processes spin them; stopped after the test."""
    running: list[tuple] = []

    def start(kind: type, **parameters):
        given = [
            Parameter(name.replace("__", "."), value=value) for name, value in parameters.items()
        ]
        node = kind(context=context, parameter_overrides=given)
        executor = MultiThreadedExecutor(4, context=context)
        running.append((node, spin.in_background(node, executor=executor)))
        return node

    def stop(node) -> None:
        entry = next(entry for entry in running if entry[0] is node)
        running.remove(entry)
        entry[1].stop()
        node.destroy_node()

    start.stop = stop
    yield start
    for node, _ in list(running):
        stop(node)


@pytest.fixture(scope="session")
def compiled() -> None:
    """Kernels are compiled: a mapping node listens only then, and that may outlast patience."""
    warm_up(Config())


@pytest.fixture(scope="session", autouse=True)
def work_that_outlives_its_node():
    """Wait, before Python shuts down, for the threads that a destroyed node does not wait for.

    Where one is in torch or in the compiler at that moment, the process aborts, although every
    test has passed. Nodes that run as processes do not shut down then: see ``nodes.run``.
    """
    yield
    for thread in threading.enumerate():
        if thread.name in (TEACHER, WARM_UP):
            thread.join()


@pytest.fixture
def quick(compiled) -> dict:
    return dict(QUICK)


class MeanOfViews(GeneralizableModel):
    """Averages the sources that see the surface at the target's depth: nothing to be learnt, and
    right wherever depth is. Its confidence is the share of these that say the same."""

    tolerance_m = 0.05

    def extract(self, colors):
        return (colors[:, :, :1, :1],)

    def source_depths(self, sources):
        if sources.depths is None:
            raise ValueError("expected sources with depth, got none")
        return sources.depths

    def forward(self, sources, rays):
        at = gather(sources, rays, rays.depth[..., None])
        seen = at.inside & (at.reading > 0) & (at.gap.abs() < self.tolerance_m)
        known = seen.any(-1)[..., 0]
        of_colors = seen / seen.sum(-1, keepdim=True).clamp(min=1)
        scores, confidence = None, torch.zeros_like(rays.depth)
        if sources.labels is not None:
            labels = at_pixels(sources.labels, at.pixels, at.inside, -1)
            says = seen & (labels >= 0)
            weights = says / says.sum(-1, keepdim=True).clamp(min=1)
            scores = carried_labels(weights, labels, sources.n_classes)
            confidence = scores.amax(-1) if sources.n_classes else confidence
        return Prediction(
            color=(of_colors[..., None] * at.colors).sum((2, 3)),
            depth=torch.where(known, rays.depth, 0.0),
            confidence=confidence,
            scores=scores,
        )


@pytest.fixture
def inference(start_node):
    """Inference nodes for the small room, patient on a busy machine."""

    def start(model: GeneralizableModel | None = None, **parameters) -> InferenceNode:
        quick = {
            "input.input_qos": "reliable",
            "input.tf_timeout_s": 30.0,
            "views": 3,
            "image_width": 160,
            "view_width": 160,
            "view_height": 120,
            "status_period_s": 0.05,
        }
        kind = partial(InferenceNode, model or MeanOfViews())
        return start_node(kind, **(quick | parameters))

    start.stop, start.model = start_node.stop, MeanOfViews
    return start
