"""The mapping node as it runs: another map, other settings, failed transitions, a slow start."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

import embedded_ros

embedded_ros.install()

from geometry_msgs.msg import Point  # noqa: E402
from lifecycle_msgs.msg import State, Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import Image, PointCloud2  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from semantic_field.field.map_file import load_map  # noqa: E402
from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED  # noqa: E402
from semantic_field.msg import FieldSnapshot, FieldStatus  # noqa: E402
from semantic_field.nodes import mapping_node  # noqa: E402
from semantic_field.nodes.mapping_node import MappingNode  # noqa: E402
from semantic_field.nodes.query_node import QueryNode  # noqa: E402
from semantic_field.srv import Annotate, MapFile, Query, QueryTexts, Segment  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]


@pytest.fixture
def mapping(start_node, quick):
    """Mapping nodes with quick settings."""
    return lambda **parameters: start_node(
        MappingNode, **(quick | {"teacher.kind": "none"} | parameters)
    )


@pytest.fixture
def status(listen):
    """The newest status, as a function."""
    inbox = listen(FieldStatus, "status")
    return lambda: inbox.last or FieldStatus()


@pytest.fixture
def feed(camera, room, status, wait_until):
    """Send frames of the room one by one, each when the one before is taken in."""

    def send(count: int, first: int = 0) -> None:
        camera.add_labels()
        camera.wait(wait_until)
        camera.send_names(room[0].label_names)
        assert wait_until(lambda: status().label_names)
        before = status().keyframes
        for i, frame in enumerate(room[1][first : first + count]):
            camera.send(frame)
            assert wait_until(lambda n=before + i + 1: status().keyframes >= n), status()

    return send


def put(node, **values) -> list:
    """Set parameters as ``ros2 param set`` does; ``__`` stands for a dot."""
    given = [Parameter(n.replace("__", "."), value=v) for n, v in values.items()]
    return node.set_parameters(given)


def did(node, **values) -> bool:
    return all(result.successful for result in put(node, **values))


# --- another map ----------------------------------------------------------------------------------


def test_after_a_reset_everybody_has_the_empty_map(
    mapping, start_node, feed, call, listen, wait_until, log
):
    """The query node, who listens to the answer, and those who come late."""
    mapping(**{"teacher.kind": "label_text"})
    start_node(QueryNode)
    clouds, answers = listen(PointCloud2, "cloud"), listen(String, "answer")
    feed(3)
    assert wait_until(lambda: call(Query, "query", text="floor").success)
    assert wait_until(lambda: clouds.last and clouds.last.width)

    assert call(Trigger, "reset").success
    assert wait_until(lambda: "the map is empty" in call(Query, "query", text="floor").message)
    answer = call(Query, "query", text="floor")
    assert not answer.success and not answer.found and not answer.hits
    assert not call(QueryTexts, "query_texts", texts=["floor", "wall"]).success
    assert not call(Segment, "segment", names=["floor", "wall"]).success
    assert wait_until(lambda: answers.last and "empty" in json.loads(answers.last.data)["message"])
    assert wait_until(lambda: clouds.last.width == 0)
    late = listen(FieldSnapshot, "snapshot")
    assert wait_until(lambda: late.last)
    assert load_map(bytes(late.last.data)).steps == 0

    feed(2, first=6)
    assert wait_until(lambda: call(Query, "query", text="floor").success)


def test_a_loaded_map_is_shown_at_once(mapping, feed, status, call, listen, tmp_path, wait_until):
    mapping()
    feed(2)
    assert wait_until(lambda: status().steps > 20)
    assert call(SetBool, "pause", data=True).success
    path = str(tmp_path / "map")
    assert call(MapFile, "save_map", path=path).success
    steps = load_map((tmp_path / "map").read_bytes()).steps
    snapshots = listen(FieldSnapshot, "snapshot")
    assert call(Trigger, "reset").success
    assert wait_until(lambda: snapshots.last and load_map(bytes(snapshots.last.data)).steps == 0)
    assert call(MapFile, "load_map", path=path).success
    assert wait_until(lambda: load_map(bytes(snapshots.last.data)).steps == steps)


# --- other settings -------------------------------------------------------------------------------


def test_weights_and_keyframes_follow_their_settings(
    mapping, feed, status, camera, room, wait_until
):
    node = mapping(**{"mapping.forget_moved": False})  # else it looks at covered views, too
    feed(2)

    def color() -> float:
        return {entry.name: entry.value for entry in status().losses}.get("color", -1.0)

    assert wait_until(lambda: color() > 0)
    assert did(node, mapping__color_weight=0.0)
    assert wait_until(lambda: color() == 0)
    refused = put(node, mapping__color_weight=-1.0)[0]
    assert not refused.successful and "color_weight at least 0" in refused.reason
    assert did(node, mapping__keyframe_translation_m=50.0, mapping__keyframe_rotation_rad=9.0)
    camera.send(room[1][5])  # another view, but none that is so far away
    assert wait_until(lambda: {d.cause for d in status().dropped} == {"view_covered"}), status()
    middle = float(np.median(room[1][7].depth))
    assert did(node, mapping__keyframe_translation_m=0.01, mapping__max_depth_m=middle)
    camera.send(room[1][7])
    assert wait_until(lambda: status().keyframes == 3)
    depths = node.mapper.live_map.keyframes.images.depths[:3]
    farthest = [(depth & GUESSED - 1).max() * DEPTH_UNIT_M for depth in depths]
    assert farthest[2] <= middle + DEPTH_UNIT_M < farthest[0]


def test_timeouts_periods_and_sizes_follow_their_settings(
    mapping, feed, status, camera, room, listen, wait_until
):
    node = mapping()
    views = listen(Image, "view/color", QoSProfile(depth=5))
    feed(1)
    assert wait_until(lambda: views.last and views.last.width == 160)
    assert did(node, view_width=64)
    assert wait_until(lambda: views.last.width == 64)

    frame = room[1][4]
    camera.send_info(frame)
    camera.send_images(frame)  # without a pose, with a timeout of 30 s
    assert wait_until(lambda: status().frames_held_back == 1)
    assert did(node, input__tf_timeout_s=0.0)
    assert wait_until(lambda: [d.cause for d in status().dropped] == ["no_transform"]), status()

    assert did(node, status_period_s=1000.0)
    before = len(node_statuses := listen(FieldStatus, "status").messages)
    assert did(node, status_period_s=0.05)
    assert wait_until(lambda: len(node_statuses) > before + 5)


def test_names_and_places_follow_their_settings(mapping, feed, call, tmp_path, wait_until):
    node = mapping()
    feed(1)
    nowhere = Point(x=1e6)
    nameless = call(Annotate, "annotate", point=nowhere).message
    assert "name" in nameless and "surface" not in nameless
    assert did(node, annotation_name="mug", map_path=str(tmp_path / "elsewhere"))
    assert "surface" in call(Annotate, "annotate", point=nowhere).message
    assert str(tmp_path / "elsewhere") in call(MapFile, "save_map").message
    assert (tmp_path / "elsewhere").exists()
    assert did(node, autosave_period_s=0.05, map_path=str(tmp_path / "autosaved"))
    assert wait_until((tmp_path / "autosaved").exists)


# --- transitions ----------------------------------------------------------------------------------


@pytest.fixture
def change(call):
    """Ask for a transition of the mapping node; whether it succeeded, and the state after it."""

    def make(transition: int) -> tuple[bool, int]:
        request = Transition(id=transition)
        done = call(ChangeState, "mapping_node/change_state", transition=request).success
        return done, call(GetState, "mapping_node/get_state").current_state.id

    return make


def test_a_failed_configure_says_why_and_may_be_tried_again(
    mapping, change, log, feed, call, status, start_node, tmp_path, wait_until
):
    path = tmp_path / "map"
    node = mapping(autostart=False, load_map_at_start=True, map_path=str(path))
    assert change(Transition.TRANSITION_CONFIGURE) == (False, State.PRIMARY_STATE_UNCONFIGURED)
    assert wait_until(lambda: log(str(path)))
    assert log("then again: ros2 lifecycle set /mapping_node configure") == 1
    path.write_bytes(b"no map")
    assert change(Transition.TRANSITION_CONFIGURE) == (False, State.PRIMARY_STATE_UNCONFIGURED)
    assert wait_until(lambda: log("damaged") == 1)
    assert node.mapper is None and "/annotate" not in {s.service_name for s in node.services}
    path.write_bytes(saved_map(tmp_path))
    assert change(Transition.TRANSITION_CONFIGURE) == (True, State.PRIMARY_STATE_INACTIVE)
    assert change(Transition.TRANSITION_ACTIVATE) == (True, State.PRIMARY_STATE_ACTIVE)


def test_a_node_that_could_not_configure_shuts_down(mapping, change, tmp_path):
    mapping(autostart=False, load_map_at_start=True, map_path=str(tmp_path / "none"))
    assert change(Transition.TRANSITION_CONFIGURE) == (False, State.PRIMARY_STATE_UNCONFIGURED)
    shutdown = change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert shutdown == (True, State.PRIMARY_STATE_FINALIZED)


def saved_map(folder) -> bytes:
    from semantic_field.config import Config
    from semantic_field.mapping.mapper import Mapper
    from semantic_field.settings import updated

    mapper = Mapper(updated(Config(), {"field.grid.log2_table_size": 14}))
    mapper.save(folder / "other")
    return (folder / "other").read_bytes()


def test_a_fault_while_configuring_is_told_with_its_traceback(
    mapping, change, log, wait_until, monkeypatch
):
    def broken(*_):
        raise TypeError("a bug of ours")

    node = mapping(autostart=False)
    with monkeypatch.context() as patched:
        patched.setattr(mapping_node, "StatusPublisher", broken)  # the last thing that is opened
        assert change(Transition.TRANSITION_CONFIGURE) == (False, State.PRIMARY_STATE_UNCONFIGURED)
    assert wait_until(lambda: log("Traceback") and log("TypeError: a bug of ours"))
    assert node.mapper is None and "/pause" not in {s.service_name for s in node.services}
    assert change(Transition.TRANSITION_CONFIGURE) == (True, State.PRIMARY_STATE_INACTIVE)


# --- a slow start ---------------------------------------------------------------------------------


def test_nothing_is_heard_before_the_kernels_are_compiled(
    mapping, status, camera, room, wait_until, monkeypatch
):
    compiled = threading.Event()
    monkeypatch.setattr(mapping_node, "warm_up", lambda config: compiled.wait())
    mapping()
    assert wait_until(lambda: status().state == "starting")
    assert camera.node.count_subscribers("/color/image") == 0
    compiled.set()
    assert wait_until(lambda: status().state == "mapping")
    camera.add_labels()
    camera.wait(wait_until)
    camera.send_names(room[0].label_names)
    camera.send(room[1][0])
    assert wait_until(lambda: status().keyframes == 1), status()


def test_frames_that_the_mapper_loses_are_told(mapping, room, log, wait_until):
    node = mapping()
    with node.mapper.turns.visit():  # it is busy: one frame is in work, one waits
        for i in (0, 3, 6, 9):
            node.mapper.add_frame(room[1][i])
    node.mapper.add_frame(room[1][9])  # nothing is lost by it
    assert wait_until(lambda: log("frames dropped (mapper_busy, "))
    assert log("view_covered") == 0
