"""Whole objects from the query node: service, topics, parts, and what the mapping node gives."""

from __future__ import annotations

import json
import threading
import time
from functools import partial

import numpy as np
import pytest
from mirrored_completer import MirroredCompleter
from trained_room import trained

import embedded_ros

embedded_ros.install()

from geometry_msgs.msg import Point, Pose, Quaternion, Vector3  # noqa: E402
from sensor_msgs.msg import PointCloud2  # noqa: E402
from std_msgs.msg import Header, String, UInt32  # noqa: E402
from visualization_msgs.msg import Marker, MarkerArray  # noqa: E402

from semantic_field.cli import main  # noqa: E402
from semantic_field.config import CompletionConfig  # noqa: E402
from semantic_field.field.map_file import dump_map, load_map  # noqa: E402
from semantic_field.mapping.mapper import Mapper  # noqa: E402
from semantic_field.nodes.mapping_node import MappingNode  # noqa: E402
from semantic_field.nodes.query_node import QueryNode  # noqa: E402
from semantic_field.nodes.ros import conversions  # noqa: E402
from semantic_field.nodes.ros.qos import RELIABLE  # noqa: E402
from semantic_field.object_prior.completer import NoPriors  # noqa: E402
from semantic_field.query.saved_objects import complete_saved  # noqa: E402
from semantic_field.srv import CompleteObject, ObjectViews, Query, QueryTexts, Rest  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]


@pytest.fixture
def snapshots(make_snapshots):
    return make_snapshots(*trained())


@pytest.fixture
def asked(start_node, snapshots, ask):
    """A query node that completes by mirroring, with a map: its completer."""

    def start(completer: MirroredCompleter | None = None, **parameters) -> MirroredCompleter:
        completer = completer or MirroredCompleter()
        start_node(partial(QueryNode, completer), **parameters)
        snapshots.send()
        assert ask("chair").found
        return completer

    return start


def cloud_of(message: PointCloud2) -> tuple[np.ndarray, np.ndarray]:
    """The points (N, 3) of a cloud, and all of it."""
    cloud = conversions.cloud_arrays(message)
    return np.stack([cloud[axis] for axis in "xyz"], axis=1), cloud


def test_a_hit_becomes_a_whole_object(asked, ask, call, listen, wait_until):
    completer = asked()
    hit = ask("chair").hits[0]
    seen = listen(PointCloud2, "grasp/object")
    assert wait_until(lambda: seen.last and seen.last.width == hit.point_count)
    answer = call(CompleteObject, "complete_object", id=hit.id)
    assert answer.success, answer.message
    assert answer.category == "chair" and answer.confidence == pytest.approx(0.8)
    assert answer.yaw_known
    assert answer.header.frame_id == "map" and answer.snapshot_version > 0
    assert f"hit {hit.id} (chair) as a whole: chair" in answer.message
    assert answer.view_count == 0 and "its points alone" in answer.message  # no mapping node

    places, cloud = cloud_of(answer.cloud)
    observed, known = cloud_of(seen.last)
    count, own = answer.observed_count, hit.point_count
    assert own <= count < len(places)
    assert np.array_equal(places[:own], observed)  # untouched, in their order
    assert np.array_equal(cloud["rgb"][:own], known["rgb"])
    assert np.array_equal(cloud["normal_z"][:own], known["normal_z"])
    assert (cloud["intensity"] == (np.arange(len(places)) < count)).all()
    assert list(answer.part_names) == ["leg", "seat", "backrest"]
    parts = [part.name for part in answer.parts]
    assert set(parts) <= set(answer.part_names) and "backrest" in parts
    for part in answer.parts:
        own = cloud["label"] == list(answer.part_names).index(part.name)
        assert part.point_count == own.sum()
        assert part.observed == pytest.approx((own[:count]).sum() / own.sum())
        middle = [getattr(part.pose.position, axis) for axis in "xyz"]
        size = [getattr(part.size, axis) for axis in "xyz"]
        assert (np.abs(places[own] - middle) <= 0.5 * np.array(size) + 1e-4).all()
    ((observation, category),) = completer.asked
    assert category == "chair" and observation.views == ()
    assert np.allclose(observation.points, places[:count])


def test_late_subscribers_get_the_last_whole(asked, ask, call, listen, wait_until):
    asked()
    hit = ask("chair").hits[0]
    answer = call(CompleteObject, "complete_object", id=hit.id)
    late = {
        name: listen(kind, f"grasp/completed{name}")
        for name, kind in (("", PointCloud2), ("/markers", MarkerArray), ("/answer", String))
    }
    for inbox in late.values():
        assert wait_until(lambda inbox=inbox: inbox.last)
    assert late[""].last == answer.cloud
    told = json.loads(late["/answer"].last.data)
    assert told["category"] == "chair" and told["observed_points"] == answer.observed_count
    assert [part["name"] for part in told["parts"]] == [part.name for part in answer.parts]
    markers = late["/markers"].last.markers
    assert markers[0].action == Marker.DELETEALL and len(markers) == 1 + 2 * len(answer.parts)
    boxes, names = markers[1::2], markers[2::2]
    for part, box, name in zip(answer.parts, boxes, names, strict=True):
        is_seen = part.observed >= 0.5
        assert box.type == (Marker.CUBE if is_seen else Marker.LINE_LIST)
        assert name.text == part.name + ("" if is_seen else " (predicted)")
        assert box.pose == part.pose and name.pose.position.z > part.pose.position.z


def test_what_nobody_saw_is_drawn_by_its_edges(asked, ask, call, listen, wait_until):
    asked()
    hit = ask("chair").hits[0]
    answer = call(CompleteObject, "complete_object", id=hit.id, category="mug")
    assert answer.success and answer.category == "mug"  # a person says so
    markers = listen(MarkerArray, "grasp/completed/markers")
    assert wait_until(lambda: markers.last)
    body, handle = markers.last.markers[1::2]
    assert body.type == Marker.CUBE and body.ns == "observed parts"
    assert handle.type == Marker.LINE_LIST and handle.ns == "predicted parts"
    assert len(handle.points) == 24  # twelve edges
    ends = np.array([[p.x, p.y, p.z] for p in handle.points])
    size = np.array([getattr(answer.parts[1].size, axis) for axis in "xyz"])
    assert np.allclose(np.abs(ends), 0.5 * size)
    steps = np.abs(ends[::2] - ends[1::2])
    assert ((steps > 1e-6).sum(1) == 1).all()


def test_a_box_becomes_a_whole_object(asked, ask, call):
    asked()
    hit = ask("chair").hits[0]
    size = Vector3(x=hit.size.x + 0.05, y=hit.size.y + 0.05, z=hit.size.z + 0.05)
    answer = call(CompleteObject, "complete_object", box=hit.pose, box_size=size)
    assert answer.success and answer.category == "chair" and "the box (chair)" in answer.message
    assert answer.observed_count >= 0.9 * hit.point_count
    places, _ = cloud_of(answer.cloud)
    assert places[:, 2].min() > -0.05


def test_what_cannot_be_completed_is_told_with_the_remedy(
    start_node, snapshots, ask, call, listen, make_node, wait_until
):
    completer = MirroredCompleter()
    start_node(partial(QueryNode, completer))
    ids = make_node("planner").create_publisher(UInt32, "complete_hit", RELIABLE)
    complete = partial(call, CompleteObject, "complete_object")
    early = complete(id=1)
    assert not early.success and "no snapshot yet" in early.message
    snapshots.send()
    sofa = ask("sofa").hits[0]
    chair = ask("chair").hits[0]
    nowhere = Pose(position=Point(x=50.0, y=0.0, z=0.0), orientation=Quaternion(w=1.0))
    edges = Vector3(x=1.0, y=1.0, z=1.0)
    turned = Header(frame_id="base_link")
    for fields, words in (
        ({"id": sofa.id}, "no prior for 'sofa': there are priors for chair, mug"),
        ({"id": chair.id, "category": "unicorn"}, "no prior for 'unicorn'"),
        ({"id": 999}, "semantic-field query"),
        ({}, "or a box with positive edges"),
        ({"box": nowhere, "box_size": edges}, "got 0 points of the map"),
        ({"box": nowhere, "box_size": edges, "header": turned}, "'base_link'"),
        ({"box": nowhere, "box_size": Vector3(x=float("nan"), y=1.0, z=1.0)}, "positive edges"),
    ):
        answer = complete(**fields)
        assert not answer.success and words in answer.message, answer.message
    assert not completer.asked
    answers = listen(String, "grasp/completed/answer")
    assert wait_until(lambda: ids.get_subscription_count() == 1)
    ids.publish(UInt32(data=sofa.id))
    assert wait_until(lambda: answers.last)
    told = json.loads(answers.last.data)
    assert not told["success"] and "no prior for 'sofa'" in told["message"]
    ids.publish(UInt32(data=chair.id))
    assert wait_until(lambda: json.loads(answers.last.data)["success"])

    mapper, _ = trained()
    empty = Mapper(mapper.config, mapper.teacher).snapshot()
    snapshots.send(version=5000)
    assert wait_until(lambda: ask("chair").snapshot_version == 5000)
    state = empty.__class__(**{**vars(empty), "version": 5001})
    snapshots.send(data=dump_map(state))
    assert wait_until(lambda: "empty" in complete(id=chair.id).message)


def test_without_priors_the_reason_is_told(start_node, snapshots, ask, call, tmp_path):
    with pytest.raises(ValueError, match=r"got none in .*train-prior"):
        start_node(QueryNode, **{"completion.priors": str(tmp_path)})
    start_node(partial(QueryNode, NoPriors()))
    snapshots.send()
    answer = call(CompleteObject, "complete_object", id=ask("chair").hits[0].id)
    assert not answer.success and "completion.priors" in answer.message
    assert not ask("the seat of the chair", wait=False).hits[0].part  # a text like any other


def test_parts_are_answered_by_services_and_topics(
    asked, ask, call, listen, make_node, snapshots, wait_until
):
    texts = make_node("asker").create_publisher(String, "query_text", RELIABLE)
    completer = asked(refresh_period_s=0.1)
    whole = ask("chair").hits[0]
    answer = ask("the backrest of the chair")
    (hit,) = answer.hits
    assert answer.found and (hit.id, hit.part, hit.label) == (whole.id, "backrest", "backrest")
    assert hit.score == pytest.approx(0.8 * whole.score, rel=1e-4)
    assert 0 <= hit.predicted < 1 and "backrest of hit" in answer.message
    assert whole.part == "" and whole.predicted == 0
    together = call(QueryTexts, "query_texts", texts=["the chair's seat", "sofa"])
    seat, sofa = together.answers
    assert seat.text == "the chair's seat" and seat.hits[0].part == "seat"
    assert sofa.hits[0].label == "sofa" and sofa.hits[0].part == ""

    answers, grasp = listen(String, "answer"), listen(PointCloud2, "grasp/object")
    assert wait_until(lambda: texts.get_subscription_count() == 1)
    texts.publish(String(data="chair leg"))
    assert wait_until(lambda: answers.last and json.loads(answers.last.data)["text"] == "chair leg")
    told = json.loads(answers.last.data)["hits"][0]
    assert told["label"] == "leg" and 0 <= told["predicted"] <= 1
    assert wait_until(lambda: grasp.last and grasp.last.width < whole.point_count)
    completions = len(completer.asked)
    checked = partial(call, QueryTexts, "query_texts", texts=["sofa"])
    for version in (1000, 1001):  # the map changes: parts are not completed again and again
        snapshots.send(version=version)
        assert wait_until(lambda n=version: checked().snapshot_version == n)
    time.sleep(0.3)
    assert len(completer.asked) == completions == 3


def test_a_part_that_is_asked_before_the_map_is_answered_once(
    start_node, snapshots, make_node, listen, log, wait_until
):
    texts = make_node("asker").create_publisher(String, "query_text", RELIABLE)
    completer = MirroredCompleter()
    start_node(partial(QueryNode, completer), refresh_period_s=0.1)
    answers = listen(String, "answer")
    assert wait_until(lambda: texts.get_subscription_count() == 1)
    texts.publish(String(data="the seat of the chair"))
    assert wait_until(lambda: log("no snapshot yet"))
    snapshots.send()
    assert wait_until(lambda: answers.last and json.loads(answers.last.data)["found"])
    assert len(completer.asked) == 1


class Slow(MirroredCompleter):
    """Takes its time, and notes how many completions were under way at once."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way = self.most = 0

    def __call__(self, observed, category):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        time.sleep(0.3)
        try:
            return super().__call__(observed, category)
        finally:
            self.under_way -= 1


def test_requests_at_once_are_served_one_after_another(asked, ask, call):
    completer = asked(Slow())
    hit = ask("chair").hits[0]
    answers: list = []

    def request() -> None:
        answers.append(call(CompleteObject, "complete_object", id=hit.id))

    threads = [threading.Thread(target=request) for _ in range(6)]  # more than the node has
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 6 and all(answer.success for answer in answers)
    assert completer.most == 1 and len(completer.asked) == 6


class Watching(MirroredCompleter):
    """Notes the steps that a mapper trains while an object is completed."""

    def __init__(self) -> None:
        super().__init__()
        self.mapper: Mapper | None = None
        self.steps: list[int] = []

    def __call__(self, observed, category):
        assert self.mapper is not None
        before = self.mapper.steps
        time.sleep(0.5)
        self.steps.append(self.mapper.steps - before)
        return super().__call__(observed, category)


@pytest.fixture
def mapping(start_node, quick, tmp_path):
    """A mapping node that goes on with the trained map."""
    trained()[0].save(tmp_path / "map.safetensors")
    same = {"field.grid.log2_table_size": 16, "mapping.rays_per_step": 1024}
    path = {"map_path": str(tmp_path / "map.safetensors"), "load_map_at_start": True}
    return lambda: start_node(MappingNode, **(quick | same | path))


def test_a_mapping_node_shows_the_object_and_rests_meanwhile(
    mapping, start_node, ask, call, wait_until
):
    node, completer = mapping(), Watching()
    start_node(partial(QueryNode, completer))
    assert wait_until(lambda: node.mapper is not None and node.mapper.steps > 450)
    completer.mapper = node.mapper
    hit = ask("chair").hits[0]
    answer = call(CompleteObject, "complete_object", id=hit.id)
    assert answer.success, answer.message
    assert completer.steps[0] <= 1  # the one that was under way
    after = node.mapper.steps
    assert wait_until(lambda: node.mapper.steps > after)  # and it goes on

    assert 1 <= answer.view_count <= 4 and f"from {answer.view_count} images" in answer.message
    observed, _ = completer.asked[0]
    assert len(observed.views) == answer.view_count
    _, room = trained()
    names = {i for i, name in room.label_names.items() if name == "chair"}
    for view in observed.views:
        assert max(view.mask.shape) <= 112 and view.color.shape == (*view.mask.shape, 3)
        assert view.mask.sum() > 30 and not (view.mask & view.others).any()
        v, u = np.nonzero(view.mask)
        local = view.camera.lift(u, v, view.depth[v, u])
        places = local @ view.T_world_camera[:3, :3].T + view.T_world_camera[:3, 3]
        gaps = np.abs(places[:, None] - observed.points[None, ::3]).max(-1).min(1)
        assert np.median(gaps) < 0.03
        pose = view.T_world_camera
        frame = min(room, key=lambda f: np.abs(f.T_world_camera - pose).max())
        assert np.abs(frame.T_world_camera - pose).max() < 0.05
        shift = np.array([frame.camera.cx, frame.camera.cy]) - [view.camera.cx, view.camera.cy]
        if view.camera.fx == pytest.approx(frame.camera.fx):  # not resized
            left, top = np.rint(shift).astype(int)
            labels = frame.labels[v + top, u + left]
            assert np.isin(labels, list(names)).mean() > 0.85


def test_rest_and_views_that_are_refused(mapping, call, ask, start_node, wait_until):
    node = mapping()
    assert wait_until(lambda: node.mapper is not None and node.mapper.steps > 450)
    for seconds in (-1.0, 1e6, float("nan")):
        refused = call(Rest, "rest", seconds=seconds)
        assert not refused.success and "expected a rest of 0 to 60 s" in refused.message
    assert call(Rest, "rest", seconds=30.0).success
    time.sleep(0.3)
    before = node.mapper.steps
    time.sleep(0.3)
    assert node.mapper.steps == before
    assert call(Rest, "rest", seconds=0.0).success
    assert wait_until(lambda: node.mapper.steps > before)
    point = conversions.cloud_message(
        Header(frame_id="map"),
        np.array([[90.0, 0, 0]]),
        np.zeros((1, 3), np.uint8),
        np.ones(1),
        np.zeros(1, int),
        np.array([[0.0, 0, 1]]),
    )
    nothing = call(ObjectViews, "object_views", points=point)
    assert nothing.success and not nothing.views  # there are keyframes; none shows it
    for fields in ({}, {"points": point, "max_views": 1000}, {"points": point, "max_pixels": 9999}):
        refused = call(ObjectViews, "object_views", **fields)
        assert not refused.success and "expected" in refused.message


def test_completion_can_be_told_to_use_the_points_alone(mapping, start_node, ask, call, wait_until):
    node, completer = mapping(), MirroredCompleter()
    start_node(partial(QueryNode, completer), **{"completion.views": 0})
    hit = ask("chair").hits[0]
    answer = call(CompleteObject, "complete_object", id=hit.id)
    assert answer.success and answer.view_count == 0 and node.mapper is not None


def test_the_service_of_queries_is_quick_beside_a_completion(asked, ask, call):
    class Held(MirroredCompleter):
        def __init__(self) -> None:
            super().__init__()
            self.go_on = threading.Event()

        def __call__(self, observed, category):
            assert self.go_on.wait(60.0)
            return super().__call__(observed, category)

    completer = Held()
    asked(completer)
    hit = ask("chair").hits[0]
    answers: list = []
    thread = threading.Thread(
        target=lambda: answers.append(call(CompleteObject, "complete_object", id=hit.id))
    )
    thread.start()
    assert call(Query, "query", text="sofa").found and not answers
    completer.go_on.set()
    thread.join()
    assert answers[0].success


def test_the_command_completes_and_writes(asked, ask, command, tmp_path):
    asked()
    hit = ask("chair").hits[0]
    path = tmp_path / "object.ply"
    code, out = command("complete", str(hit.id), "--out", str(path), "--json")
    told = json.loads(out)
    assert code == 0 and told["category"] == "chair" and told["parts"]
    assert hit.point_count <= told["observed_points"] < told["points"]
    head = path.read_bytes().partition(b"end_header\n")[0].decode()
    assert f"element vertex {told['points']}\n" in head and "comment part 0 leg\n" in head
    code, out = command("complete", "--text", "chair")
    assert code == 0 and "as a whole: chair, confidence 0.80" in out and "backrest" in out
    code, out = command("complete", "--text", "sofa")
    assert code == 1 and "no prior for 'sofa'" in out
    code, out = command("complete", "--text", "an elephant", "--json")
    assert code == 1 and "not in the map" in json.loads(out)["message"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "the id of a hit or --text, got neither"),
        (("3", "--text", "chair"), "got both"),
        (("3", "--map", "a.safetensors"), "ids are those of a running node"),
        (("3", "--priors", "folder"), "completion.priors"),
        (("3", "--out", "object.stl"), "a file .ply, got 'object.stl'"),
    ],
)
def test_arguments_that_do_not_fit_are_told(arguments, words, capsys):
    code = main(["complete", *arguments])
    assert code == 1 and words in capsys.readouterr().err


def test_an_object_of_a_saved_map_is_completed_without_nodes(tmp_path):
    mapper, _ = trained()
    mapper.save(tmp_path / "map.safetensors")
    state, completer = load_map((tmp_path / "map.safetensors").read_bytes()), MirroredCompleter()
    done = complete_saved(state, "the seat of the chair", mapper.teacher, completer)
    ((observed, category),) = completer.asked
    assert category == "chair" and 1 <= done.view_count == len(observed.views) <= 4
    assert len(done.thing.indices) == done.completion.observed.sum()
    few = CompletionConfig(views=1, view_pixels=32)
    done = complete_saved(state, "chair", mapper.teacher, completer, settings=few)
    assert done.view_count == 1 and max(completer.asked[1][0].views[0].mask.shape) <= 32
    without = load_map(dump_map(mapper.snapshot()))
    assert complete_saved(without, "chair", mapper.teacher, completer).view_count == 0
    with pytest.raises(ValueError, match="not in the map"):
        complete_saved(without, "an elephant", mapper.teacher, completer)
