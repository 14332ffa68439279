"""Whatever arrives, a node goes on: odd messages on every topic, odd requests to every service."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

import embedded_ros

embedded_ros.install()

from builtin_interfaces.msg import Time  # noqa: E402
from geometry_msgs.msg import Point  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rcl_interfaces.msg import Parameter as ParameterMessage  # noqa: E402
from rcl_interfaces.msg import ParameterValue  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest  # noqa: E402
from std_msgs.msg import Header, String, UInt32  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from semantic_field.msg import FieldStatus  # noqa: E402
from semantic_field.nodes.camera.frame_builder import FrameBuilder  # noqa: E402
from semantic_field.nodes.inference_node import InferenceNode  # noqa: E402
from semantic_field.nodes.mapping_node import MappingNode  # noqa: E402
from semantic_field.nodes.query_node import QueryNode  # noqa: E402
from semantic_field.nodes.replay_node import ReplayNode  # noqa: E402
from semantic_field.nodes.ros.drops import DropCounter  # noqa: E402
from semantic_field.nodes.ros.guarding import GuardedNode  # noqa: E402
from semantic_field.nodes.ros.qos import LATCHED, RELIABLE  # noqa: E402
from semantic_field.srv import Annotate, Forget, Query  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]
NODES = {
    "inference_node": (
        InferenceNode,
        {"input.tf_timeout_s": 0.1, "follow": "camera", "view_frame": "camera", "depth": "map"},
    ),
    "mapping_node": (
        MappingNode,
        {"input.pose_source": "odometry", "input.tf_timeout_s": 0.1, "input.label_timeout_s": 0.1},
    ),
    "query_node": (QueryNode, {"teacher.kind": "label_text"}),
    "replay_node": (ReplayNode, {"input": "room:frames=2,width=32,height=24", "step": True}),
}
MODELS = ("plumb_bob", "rational_polynomial", "equidistant", "", "none", "pinhole", "no such")
FLOATS = (math.nan, math.inf, -math.inf, 1e300, -0.0, 0.0)
TEXTS = ("", "/", "\x00", "ü" * 3000, "map", "/map")


# --- odd messages ---------------------------------------------------------------------------------


def odd(kind: type, random: np.random.Generator):
    """A message of that type whose every field has some odd value that its type allows."""
    message = kind()
    for name, type_ in kind.get_fields_and_field_types().items():
        setattr(message, name, odd_value(type_, getattr(message, name), random))
    return message


def odd_value(type_: str, default, random: np.random.Generator):
    base, _, rest = type_.partition("[")
    if type_.startswith("sequence<"):
        base = type_.removeprefix("sequence<").removesuffix(">").partition(",")[0]
        return [odd_one(base, random) for _ in range(int(random.integers(0, 4)))]
    if rest:
        return [odd_one(base, random) for _ in range(int(rest.rstrip("]")))]
    if "/" in type_:
        return odd(type(default), random)
    return odd_one(type_, random)


def odd_one(type_: str, random: np.random.Generator):
    if "/" in type_:
        package, _, name = type_.partition("/")
        module = __import__(f"{package}.msg", fromlist=[name])
        return odd(getattr(module, name), random)
    if type_ in ("float", "double"):
        values = [v for v in FLOATS if type_ == "double" or abs(v) != 1e300]
        return values[random.integers(len(values))]
    if type_ == "boolean":
        return bool(random.integers(2))
    if type_ in ("octet", "byte"):
        return bytes([int(random.integers(256))])
    if "string" in type_:
        return TEXTS[random.integers(len(TEXTS))]
    bits = int("".join(c for c in type_ if c.isdigit()) or 8)
    high = 2**bits if type_.startswith("u") else 2 ** (bits - 1)
    return (high - 2**bits, high - 1, 0, 1, 7)[random.integers(5)]


def heard_topics(node: Node) -> list:
    return [s for s in node.subscriptions if s.topic_name not in ("/parameter_events", "/clock")]


def services(node: Node) -> list:
    lifecycle = ("change_state", "get_", "shutdown")
    return [
        (s.service_name, s.srv_type)
        for s in node.services
        if not s.service_name.rpartition("/")[2].startswith(lifecycle)
    ]


@pytest.fixture
def running(start_node, inference, quick, wait_until):
    """A node of this package, listening; ``running.alive(node)`` asks whether it still serves."""

    def start(name: str, **more):
        kind, given = NODES[name]
        quiet = quick | {"teacher.kind": "none"} if kind is MappingNode else {}
        begin = inference if kind is InferenceNode else partial(start_node, kind)
        node = begin(**(quiet | given | more))
        listens = kind in (InferenceNode, MappingNode)
        assert wait_until(lambda: not listens or node.input is not None)
        return node

    return start


@pytest.mark.parametrize("name", NODES)
def test_odd_messages_end_no_node(running, make_node, spin, wait_until, call, name):
    node, sender = running(name), make_node("sender")
    random, taken = np.random.default_rng(3), Counter()
    (spinning,) = (one for one in spin.running if node in one.executor.get_nodes())
    for heard in heard_topics(node):
        heard.callback = counted(heard.callback, taken, heard.topic_name)
        transient = heard.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        qos = LATCHED if transient else RELIABLE
        publisher = sender.create_publisher(heard.msg_type, heard.topic_name, qos)
        assert wait_until(lambda p=publisher: p.get_subscription_count())
        assert wait_until(lambda end=heard: end.get_publisher_count())
        for _ in range(12):
            before = taken[heard.topic_name]
            publisher.publish(odd(heard.msg_type, random))
            wait_until(lambda n=before, t=heard.topic_name: taken[t] > n, timeout_s=0.2)
        assert taken[heard.topic_name], heard.topic_name
    assert call(SetParameters, f"{name}/set_parameters", parameters=[]).results == []
    assert spinning.is_alive


def counted(callback: Callable, taken: Counter, topic: str) -> Callable:
    """The callback; counts when it is done, or has failed."""

    def run(message) -> None:
        try:
            callback(message)
        finally:
            taken[topic] += 1

    return run


@pytest.mark.parametrize("name", NODES)
def test_odd_requests_are_answered(running, call, name):
    node = running(name)
    random = np.random.default_rng(5)
    for service, kind in services(node):
        if service.endswith("save_map"):
            continue  # it would write where the odd path says
        for _ in range(5):
            request = odd(kind.Request, random)
            fields = {n: getattr(request, n) for n in kind.Request.get_fields_and_field_types()}
            answer = call(kind, service, **fields)
            assert not hasattr(answer, "success") or answer.success or answer.message, service


def test_a_parameter_of_no_type_is_answered(running, call):
    running("query_node")
    odd_type = ParameterMessage(name="query.threshold", value=ParameterValue(type=99))
    call(SetParameters, "query_node/set_parameters", parameters=[odd_type])
    assert not call(Query, "query", text="sofa").success


@pytest.mark.parametrize("transition", [77, 1], ids=["none such", "none from here"])
def test_a_transition_that_leads_nowhere_is_answered(running, call, transition):
    running("mapping_node")
    asked = Transition(id=transition)
    assert not call(ChangeState, "mapping_node/change_state", transition=asked).success
    assert call(GetState, "mapping_node/get_state").current_state.label == "active"


def test_odd_images_and_cameras_make_no_frame_or_a_whole_one(make_node):
    """Colour, depth and CameraInfo of one stamp, of which one is odd or all are."""
    drops = DropCounter(make_node("drops"))
    random = np.random.default_rng(7)
    usable = 0
    for turn in range(300):
        size = {"height": 6, "width": 8}
        color = Image(**size, encoding="rgb8", step=24, data=bytes(144))
        depth = Image(**size, encoding="32FC1", step=32, data=bytes(192))
        info = odd(CameraInfo, random)
        if turn % 3 == 0:
            color, depth = odd(Image, random), odd(Image, random)
        if turn % 2:
            info.height, info.width = 6, 8
            model = MODELS[random.integers(len(MODELS))]
            info.distortion_model, info.d = model, [FLOATS[i] for i in random.integers(6, size=5)]
        if turn % 7 == 1:
            info.k = [8.0, 0.0, 3.5, 0.0, 8.0, 2.5, 0.0, 0.0, 1.0]
            info.p = [0.0] * 12  # of a driver that fills in K alone
            info.binning_x, info.binning_y, info.roi = 0, 0, RegionOfInterest()
        try:
            FrameBuilder(bool(turn % 4), drops).build(color, depth, None, info, info, np.eye(4))
            usable += 1
        except ValueError as error:
            assert str(error)
    assert 0 < usable < 150


# --- what is refused is said ----------------------------------------------------------------------


class Picky(GuardedNode, Node):
    """Refuses what it hears and is asked; ``faulty`` answers with a bug."""

    def __init__(self, **options) -> None:
        super().__init__("picky", **options)
        self.create_subscription(String, "said", self._refuse_it, RELIABLE)
        self.create_service(SetBool, "asked", lambda request, response: self._refuse_it(request))
        self.ticks = 0

    def _refuse_it(self, _) -> None:
        raise ValueError("expected another word")

    def tick(self) -> None:
        self.ticks += 1
        raise OSError("the disk is full")


def test_refusals_are_counted_and_told(start_node, make_node, call, log, wait_until):
    node = start_node(Picky)
    publisher = make_node("sender").create_publisher(String, "said", RELIABLE)
    assert wait_until(lambda: publisher.get_subscription_count())
    for _ in range(3):
        publisher.publish(String(data="x"))
    assert wait_until(lambda: node.refused["message on said"] == 3)
    assert wait_until(lambda: log("message on said refused (1 so far): expected another word"))
    answer = call(SetBool, "asked", data=True)
    assert not answer.success and answer.message == "expected another word"
    node.create_timer(0.01, node.tick)
    assert wait_until(lambda: node.ticks > 2 and log("the disk is full"))


def test_refused_and_accepted_annotations_alternate(running, make_node, call, wait_until):
    """Real rclpy lets no line of code log with two severities."""
    running("mapping_node")
    assert not call(Annotate, "annotate", name="mug", kind="sphere").success
    assert not call(Forget, "forget", id=7).success
    assert call(Trigger, "reset").success
    assert not call(Annotate, "annotate", name="mug", point=Point(x=math.nan)).success
    ids = make_node("asker").create_publisher(UInt32, "annotate/forget", RELIABLE)
    assert wait_until(lambda: ids.get_subscription_count())
    ids.publish(UInt32(data=3))
    assert call(SetBool, "pause", data=False).success


def test_an_image_with_a_negative_stamp_is_counted(running, make_node, listen, wait_until):
    running("mapping_node")
    status = listen(FieldStatus, "status")
    publisher = make_node("camera").create_publisher(Image, "color/image", QoSProfile(depth=5))
    assert wait_until(lambda: publisher.get_subscription_count())
    publisher.publish(Image(header=Header(stamp=Time(sec=-5, nanosec=1)), encoding="rgb8"))

    def counted() -> bool:
        dropped = status.last.dropped if status.last else []
        return [(entry.cause, entry.count) for entry in dropped] == [("negative_stamp", 1)]

    assert wait_until(counted), status.last
