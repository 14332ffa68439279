"""Both nodes with a CLIP model of the user's own: a small random one, loaded the real way."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest

import embedded_ros

embedded_ros.install()

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from rcl_interfaces.msg import SetParametersResult  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header, String  # noqa: E402

from semantic_field.config import (  # noqa: E402
    Config,
    FieldConfig,
    GridConfig,
    MappingConfig,
    TeacherConfig,
)
from semantic_field.field.map_file import load_map  # noqa: E402
from semantic_field.mapping.language import teacher_worker as worker  # noqa: E402
from semantic_field.mapping.mapper import Mapper  # noqa: E402
from semantic_field.msg import FieldStatus  # noqa: E402
from semantic_field.nodes.mapping_node import MappingNode  # noqa: E402
from semantic_field.nodes.query_node import QueryNode  # noqa: E402
from semantic_field.nodes.ros import conversions  # noqa: E402
from semantic_field.nodes.ros.qos import RELIABLE  # noqa: E402
from semantic_field.query.engine import QueryEngine  # noqa: E402
from semantic_field.srv import Query  # noqa: E402
from semantic_field.teachers import make_language_teacher  # noqa: E402
from semantic_field.teachers.clip_teacher import OpenClipTeacher  # noqa: E402
from semantic_field.teachers.feature_store import FeatureStore, image_key  # noqa: E402

pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
pytestmark = [
    pytest.mark.ros,
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]


def test_a_clip_of_ones_own_maps_and_answers(
    start_node, quick, clip_checkpoint, listen, camera, room, wait_until, call, tmp_path
):
    status = listen(FieldStatus, "status")
    teacher = {"teacher.kind": "open_clip", "teacher.path": clip_checkpoint}
    images = {"language.source": "images", "teacher.store": str(tmp_path)}
    start_node(MappingNode, **(quick | teacher | images))
    start_node(QueryNode, **teacher)
    camera.add_labels()
    camera.wait(wait_until)
    source, frames = room
    camera.send_names(source.label_names)
    for i, frame in enumerate(frames[:3]):
        camera.send(frame)
        assert wait_until(lambda n=i + 1: status.last and status.last.keyframes >= n), status.last
    assert wait_until(lambda: status.last.teacher_keyframes >= 3), status.last
    now = status.last
    assert now.teacher == "open_clip" and now.teacher_error == "" and now.teacher_rate > 0
    assert wait_until(lambda: status.last.teacher_backlog == 0)
    assert wait_until(lambda: status.last.teacher_state == "waiting")
    assert len(list(tmp_path.glob("*/*.chunk"))) == 2  # of language and of regions

    def answered() -> bool:
        # What is found says nothing: the weights are random.
        return call(Query, "query", text="somewhere to sit").success

    assert wait_until(answered)

    assert put_vocabulary(call, "guitar", "sofa").successful
    assert wait_until(lambda: sorted(status.last.label_names) == ["guitar", "sofa"])
    steps = status.last.steps
    assert wait_until(lambda: status.last.steps > steps)  # it learns on


def put_vocabulary(call, *texts: str) -> SetParametersResult:
    parameter = Parameter("language.vocabulary", value=list(texts)).to_parameter_msg()
    return call(SetParameters, "mapping_node/set_parameters", parameters=[parameter]).results[0]


@pytest.fixture
def teacher(clip_checkpoint):
    return make_language_teacher(TeacherConfig(kind="open_clip", path=clip_checkpoint))


@pytest.fixture
def snapshots(make_snapshots, room, teacher):
    """A map whose language is the names' in CLIP's space: enough to ask with images."""
    source, frames = room
    config = Config(
        field=FieldConfig(grid=GridConfig(log2_table_size=14)),
        mapping=MappingConfig(rays_per_step=512, keyframe_translation_m=0.0),
    )
    mapper = Mapper(config, teacher)
    mapper.set_label_names(source.label_names)
    for frame in frames[:3]:
        mapper.add_frame(frame)
    mapper.train_steps(100)
    return make_snapshots(mapper, source)


def test_an_image_is_asked_for_in_place_of_a_text(
    snapshots,
    make_node,
    start_node,
    query,
    clip_checkpoint,
    teacher,
    room,
    call,
    listen,
    wait_until,
    tmp_path,
):
    """What it finds says nothing, but it must be what the engine finds."""
    crop = room[1][0].color[30:90, 40:120]
    options = {"negatives": ["wall", "floor"], "threshold": 0.02, "max_hits": 2}
    engine = QueryEngine(teacher)
    engine.set_map(load_map(snapshots.data))
    plain = engine.query_image(crop)
    beaten = engine.query_image(crop, **options)
    assert not np.allclose(plain.relevancy, beaten.relevancy, atol=0.01)

    answers = listen(String, "answer")
    start_node(
        QueryNode,
        **{"teacher.kind": "open_clip", "teacher.path": clip_checkpoint},
    )
    snapshots.send()

    def ask(pixels: np.ndarray, encoding: str, **fields) -> Query.Response:
        image = conversions.image_message(pixels, encoding, Header())
        return call(Query, "query", image=image, with_cloud=True, **fields)

    assert wait_until(lambda: ask(crop, "rgb8").success)
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    for pixels, encoding, expected in (
        (crop, "rgb8", plain),
        (crop[..., ::-1], "bgr8", plain),
        (np.dstack([crop, grey]), "rgba8", plain),
        (grey, "mono8", engine.query_image(np.dstack([grey] * 3))),
    ):
        answer = ask(pixels, encoding)
        assert answer.success and answer.message == expected.message, encoding
        relevancy = conversions.cloud_arrays(answer.relevancy)["intensity"]
        assert np.allclose(relevancy, expected.relevancy, atol=1e-4), encoding
    picture = tmp_path / "crop.png"
    assert cv2.imwrite(str(picture), crop[..., ::-1])
    code, out = query("--image", str(picture), "--json")
    told = json.loads(out)
    assert code == (0 if plain.found else 2) and told["message"] == plain.message
    assert told["text"] == str(picture) and len(told["hits"]) == len(plain.hits)

    answer = ask(crop, "rgb8", **options)
    assert answer.message == beaten.message and len(answer.hits) == len(beaten.hits)
    count = len(answers.messages)
    snapshots.send(version=1000)  # the question is asked again: an image with its options
    assert wait_until(lambda: len(answers.messages) > count)
    assert json.loads(answers.last.data)["message"] == beaten.message
    by_topic = make_node("shower").create_publisher(Image, "query_image", RELIABLE)
    assert wait_until(lambda: by_topic.get_subscription_count() == 1)
    by_topic.publish(conversions.image_message(crop, "rgb8", Header()))
    assert wait_until(lambda: json.loads(answers.last.data)["message"] == plain.message)


def test_without_a_checkpoint_mapping_goes_on(
    start_node, quick, listen, camera, room, wait_until, call
):
    status = listen(FieldStatus, "status")
    without = {"teacher.kind": "open_clip", "language.source": "images"}
    start_node(MappingNode, **(quick | without))
    camera.add_labels()
    camera.wait(wait_until)
    camera.send(room[1][0])
    assert wait_until(lambda: status.last and status.last.steps > 5), status.last
    now = status.last
    assert now.state == "mapping" and now.teacher == "none" and now.teacher_state == "off"
    assert "teacher.path" in now.teacher_error and "weights get clip-vit-b16" in now.teacher_error
    refused = put_vocabulary(call, "guitar")
    assert not refused.successful and "language.source" in refused.reason


def test_failures_of_teachers_stay_in_the_diagnostics(
    start_node, quick, clip_checkpoint, listen, camera, room, wait_until, tmp_path
):
    """Own features of the second image alone: the first one's failure is told to the end."""
    options = {"kind": "open_clip", "path": clip_checkpoint, "dense": "store"}
    options["store"] = str(tmp_path)
    frames = room[1]
    fingerprint = OpenClipTeacher(TeacherConfig(**options)).dense_fingerprint
    features = np.full((1, 2, 3, 16), 0.25, np.float32)
    FeatureStore(tmp_path, fingerprint).put(image_key(frames[1].color), {"language": features})
    status = listen(FieldStatus, "status")
    diagnoses = listen(DiagnosticArray, "/diagnostics", QoSProfile(depth=50))
    teacher = {f"teacher.{name}": value for name, value in options.items()}
    start_node(MappingNode, **(quick | teacher | {"language.source": "images"}))
    camera.add_labels()
    camera.wait(wait_until)
    camera.send_names(room[0].label_names)

    def told() -> dict[str, str]:
        return {pair.key: pair.value for pair in diagnoses.last.status[0].values}

    camera.send(frames[0])
    assert wait_until(lambda: diagnoses.last and told().get("teacher failures") == "1")
    camera.send(frames[1])
    assert wait_until(lambda: status.last.teacher_keyframes == 1), status.last
    assert wait_until(lambda: status.last.teacher_error == ""), status.last
    assert told()["teacher failures"] == "1" and "precompute" in told()["last teacher failure"]


def test_teachers_that_give_up_are_an_error(
    start_node, quick, clip_checkpoint, listen, camera, room, wait_until, monkeypatch
):
    """Mapping goes on without them."""

    def broken(self, color, *labels):
        raise TypeError("a bug of ours")

    monkeypatch.setattr(OpenClipTeacher, "embed_image", broken)
    status = listen(FieldStatus, "status")
    diagnoses = listen(DiagnosticArray, "/diagnostics", QoSProfile(depth=50))
    teacher = {"teacher.kind": "open_clip", "teacher.path": clip_checkpoint}
    start_node(MappingNode, **(quick | teacher | {"language.source": "images"}))
    camera.wait(wait_until)
    for i, frame in enumerate(room[1][:3]):
        camera.send(replace(frame, labels=None))
        assert wait_until(lambda n=i + 1: status.last and status.last.keyframes >= n), status.last
    assert wait_until(lambda: status.last.teacher_state == "failed"), status.last

    def told() -> tuple[bytes, str]:
        (entry,) = diagnoses.last.status
        return entry.level, entry.message

    why = "teacher: TypeError: a bug of ours"
    assert wait_until(lambda: told() == (DiagnosticStatus.ERROR, why)), told()
    assert status.last.state == "mapping"


def test_the_map_is_saved_before_a_slow_teacher_is_waited_for(
    start_node, quick, clip_checkpoint, camera, room, wait_until, tmp_path, monkeypatch
):
    """At shutdown, whose patience may be shorter than a teacher's."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(self, color, *labels):
        begun.set()
        assert go_on.wait()
        raise ValueError("too late")

    monkeypatch.setattr(OpenClipTeacher, "embed_image", slow)
    monkeypatch.setattr(worker, "STOP_WAIT_S", threading.TIMEOUT_MAX)
    teacher = {"teacher.kind": "open_clip", "teacher.path": clip_checkpoint}
    path = tmp_path / "map.safetensors"
    own = {"language.source": "images", "map_path": str(path), "save_map_at_shutdown": True}
    node = start_node(MappingNode, **(quick | teacher | own))
    camera.add_labels()
    camera.wait(wait_until)
    camera.send(room[1][0])
    assert wait_until(lambda: begun.is_set() and node.mapper.status().steps > 2)
    ending = threading.Thread(target=start_node.stop, args=(node,))
    ending.start()
    try:
        assert wait_until(path.exists)
        assert ending.is_alive()
    finally:
        go_on.set()
        ending.join()
