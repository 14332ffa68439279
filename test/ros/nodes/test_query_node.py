"""The query node: snapshots and texts in, answers by service and by topic out."""

from __future__ import annotations

import json
import os
import signal

import cv2
import numpy as np
import pytest
from trained_room import trained

import embedded_ros

embedded_ros.install()

from geometry_msgs.msg import PoseStamped  # noqa: E402
from rcl_interfaces.msg import Parameter as ParameterMessage  # noqa: E402
from rcl_interfaces.msg import ParameterType, ParameterValue  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from sensor_msgs.msg import Image, PointCloud2  # noqa: E402
from std_msgs.msg import Header, String  # noqa: E402
from vision_msgs.msg import Detection3DArray  # noqa: E402
from visualization_msgs.msg import Marker, MarkerArray  # noqa: E402

from semantic_field.nodes.query_node import QueryNode  # noqa: E402
from semantic_field.nodes.ros import conversions  # noqa: E402
from semantic_field.nodes.ros.qos import RELIABLE  # noqa: E402
from semantic_field.srv import Query, QueryTexts, Segment  # noqa: E402

pytestmark = [
    pytest.mark.ros,
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]
ABSENT = "an elephant"


@pytest.fixture
def snapshots(make_snapshots):
    return make_snapshots(*trained())


def test_a_late_query_node_answers_from_the_last_snapshot(snapshots, start_node, ask):
    snapshots.send()
    start_node(QueryNode)
    answer = ask("sofa", with_cloud=True)
    assert answer.found and answer.hits and answer.header.frame_id == "map"
    assert answer.snapshot_version == snapshots.state.version
    best = answer.hits[0]
    assert best.label == "sofa" and 0.5 <= best.score <= 1.0 and best.point_count >= 30
    assert best.score == pytest.approx(answer.best_score)
    (truth,) = [thing for thing in snapshots.room.objects if thing.name == "sofa"]
    place = [getattr(best.pose.position, axis) for axis in "xyz"]
    assert np.linalg.norm(np.subtract(place, truth.centre)) < 0.5
    relevancy = conversions.cloud_arrays(answer.relevancy)["intensity"]
    assert len(relevancy) > 1000 and relevancy.min() >= 0 and relevancy.max() <= 1


def test_answers_that_say_no(snapshots, start_node, ask):
    start_node(QueryNode)
    early = ask("sofa", wait=False)
    assert not early.success and "no snapshot yet" in early.message
    snapshots.send()
    assert ask("sofa").relevancy.width == 0  # nobody asked for the cloud
    absent = ask(ABSENT, with_cloud=True)
    assert absent.success and not absent.found and not absent.hits
    assert 0 <= absent.best_score < 0.5 and "not in the map" in absent.message
    assert absent.relevancy.width > 1000
    for fields in ({"text": ""}, {"text": "  "}, {"text": "sofa", "threshold": 1.5}):
        answer = ask(wait=False, **fields)
        assert not answer.success and answer.message, fields
    nan = ask("sofa", wait=False, threshold=float("nan"))
    assert not nan.success
    few = ask("chair", max_hits=1)
    assert len(few.hits) == 1


def test_a_question_is_a_text_or_an_image(snapshots, start_node, ask):
    start_node(QueryNode)
    snapshots.send()
    assert ask("sofa").found
    crop = conversions.image_message(np.zeros((4, 6, 3), np.uint8), "rgb8", Header())
    depth = conversions.image_message(np.zeros((4, 6), np.uint16), "16UC1", Header())
    cut_off = Image(height=4, width=6, encoding="rgb8", step=18)
    for text, image, why in (
        ("", Image(), "got neither"),
        ("sofa", crop, "got both"),
        ("", depth, "expected colour in rgb8"),
        ("", cut_off, "cut off"),
        ("", crop, "label_text"),  # a teacher that sees no images
    ):
        answer = ask(text, wait=False, image=image)
        assert not answer.success and why in answer.message, answer.message


def test_several_texts_at_once_leave_the_topics_alone(snapshots, start_node, ask, call, listen):
    start_node(QueryNode)
    early = call(QueryTexts, "query_texts", texts=["sofa"])
    assert not early.success and "no snapshot yet" in early.message
    snapshots.send()
    alone = ask("chair", max_hits=2)
    answers = listen(String, "answer")
    together = call(QueryTexts, "query_texts", texts=["chair", ABSENT, "sofa"], max_hits=2)
    assert together.success and together.message == "2 of 3 texts are in the map"
    assert together.header == alone.header
    assert together.snapshot_version == snapshots.state.version
    assert [answer.text for answer in together.answers] == ["chair", ABSENT, "sofa"]
    assert [answer.found for answer in together.answers] == [True, False, True]
    chair, absent, sofa = together.answers
    assert chair.hits == alone.hits and chair.message == alone.message
    assert chair.best_score == pytest.approx(alone.best_score)
    assert not absent.hits and "not in the map" in absent.message and absent.best_score < 0.5
    assert sofa.hits[0].label == "sofa"
    (plain,) = call(QueryTexts, "query_texts", texts=["somewhere to sit"]).answers
    fields = {"texts": ["somewhere to sit"], "negatives": ["sofa"]}
    (beaten,) = call(QueryTexts, "query_texts", **fields).answers
    assert plain.hits[0].label == "sofa" and beaten.hits[0].label == "chair"
    for fields in ({"texts": []}, {"texts": ["chair", " "]}, {"texts": ["a"], "threshold": 2.0}):
        refused = call(QueryTexts, "query_texts", **fields)
        assert not refused.success and "expected" in refused.message
    ask("sofa")
    assert {json.loads(message.data)["text"] for message in answers.messages} <= {"chair", "sofa"}


def test_segments_are_points_with_the_names_index(snapshots, start_node, ask, call):
    start_node(QueryNode)
    names = ["chair", "sofa", "floor"]
    early = call(Segment, "segment", names=names)
    assert not early.success and "no snapshot yet" in early.message
    snapshots.send()
    whole = conversions.cloud_arrays(ask("chair", with_cloud=True).relevancy)
    answer = call(Segment, "segment", names=names, with_cloud=True)
    counts = call(Segment, "segment", names=names)
    assert counts.counts == answer.counts and counts.segments.width == 0
    assert answer.success and answer.snapshot_version == snapshots.state.version
    cloud = conversions.cloud_arrays(answer.segments)
    assert answer.header.frame_id == answer.segments.header.frame_id == "map"
    assert f"{len(cloud)} of {len(whole)} points" in answer.message
    assert list(answer.counts) == np.bincount(cloud["label"], minlength=3).tolist()
    of_name = [set(cloud["rgb"][cloud["label"] == i].tolist()) for i in range(3)]
    assert [len(colors) for colors in of_name] == [1, 1, 1] and len(set.union(*of_name)) == 3
    is_what = dict(zip(whole[["x", "y", "z"]].tolist(), whole["label"].tolist(), strict=True))
    labels = np.array([is_what[place] for place in cloud[["x", "y", "z"]].tolist()])
    for index, name in enumerate(names):
        class_id = next(i for i, known in snapshots.room.label_names.items() if known == name)
        found = cloud["label"][labels == class_id]
        assert len(found) > 100 and (found == index).mean() > 0.9, name
    for bad in ([], ["chair", " "]):
        refused = call(Segment, "segment", names=bad)
        assert not refused.success and "expected" in refused.message


def test_the_command_asks_all_that_the_services_answer(snapshots, start_node, ask, query, tmp_path):
    start_node(QueryNode)
    snapshots.send()
    assert ask("sofa").found
    code, out = query("sofa", "--json", "--max-hits", "1")
    one = json.loads(out)
    assert code == 0 and one["text"] == "sofa" and one["hits"][0]["label"] == "sofa"
    code, out = query("sofa", ABSENT, "--json")
    several = json.loads(out)
    assert code == 2 and several["success"]
    assert [answer["found"] for answer in several["answers"]] == [True, False]
    assert several["answers"][0]["hits"][0] == one["hits"][0]
    code, out = query("sofa", "chair")
    assert code == 0 and "2 of 2 texts" in out and "sofa" in out and "position" in out
    cloud = tmp_path / "named.ply"
    code, out = query("chair", "floor", "--segment", "--out", str(cloud), "--json")
    counts = [entry["point_count"] for entry in json.loads(out)["segments"]]
    assert code == 0 and min(counts) > 100
    assert f"element vertex {sum(counts)}\n".encode() in cloud.read_bytes()[:300]
    code, out = query("chair", "floor", "--segment")
    assert code == 0 and "floor" in out and str(counts[1]) in out


def test_the_command_says_why_there_is_no_answer(snapshots, start_node, query, tmp_path):
    start_node(QueryNode)
    for asked in (("sofa",), ("sofa", "chair"), ("sofa", "--segment")):
        code, out = query(*asked, "--json")
        assert code == 1 and "no snapshot yet" in json.loads(out)["message"]
    picture = tmp_path / "crop.png"
    assert cv2.imwrite(str(picture), np.zeros((8, 8, 3), np.uint8))
    code, out = query("--image", str(picture))
    assert code == 1 and "no snapshot" in out


def test_topics_carry_the_answer_also_to_those_who_come_late(
    snapshots, start_node, listen, make_node, wait_until
):
    texts = make_node("asker").create_publisher(String, "query_text", RELIABLE)
    start_node(QueryNode)
    snapshots.send()
    early = listen(String, "answer")
    assert wait_until(lambda: texts.get_subscription_count() == 1)
    texts.publish(String(data="sofa"))
    assert wait_until(lambda: early.last)
    summary = json.loads(early.last.data)
    assert summary["found"] and summary["hits"][0]["label"] == "sofa"

    late = {
        topic: listen(kind, topic)
        for topic, kind in {
            "relevancy": PointCloud2,
            "hits": Detection3DArray,
            "hits/markers": MarkerArray,
            "answer": String,
            "goal": PoseStamped,
            "grasp/object": PointCloud2,
            "grasp/scene": PointCloud2,
        }.items()
    }
    for topic, inbox in late.items():
        assert wait_until(lambda inbox=inbox: inbox.last), topic
    assert late["answer"].last == early.last
    cloud = conversions.cloud_arrays(late["relevancy"].last)
    grasp = [conversions.cloud_arrays(late[f"grasp/{part}"].last) for part in ("object", "scene")]
    whole, thing, scene = ({tuple(p) for p in c[["x", "y", "z"]]} for c in (cloud, *grasp))
    assert len(thing) > 30 and thing | scene <= whole and not thing & scene

    detections = late["hits"].last
    assert detections.header.frame_id == "map"
    assert len(detections.detections) == len(summary["hits"])
    first, told = detections.detections[0], summary["hits"][0]
    assert first.id == str(told["id"]) and first.results[0].hypothesis.class_id == "sofa"
    assert first.results[0].hypothesis.score == pytest.approx(told["score"], abs=1e-3)
    assert first.bbox.center.position.x == pytest.approx(told["centre"][0], abs=1e-3)
    assert first.bbox.size.z == pytest.approx(told["size"][2], abs=1e-3)

    markers = late["hits/markers"].last.markers
    assert markers[0].action == Marker.DELETEALL
    assert len(markers) == 1 + 2 * len(summary["hits"])
    assert {m.type for m in markers[1:]} == {Marker.CUBE, Marker.TEXT_VIEW_FACING}

    goal = late["goal"].last
    assert goal.header.frame_id == "map"
    away = np.hypot(
        goal.pose.position.x - told["centre"][0], goal.pose.position.y - told["centre"][1]
    )
    assert away > 0.5 * min(told["size"][:2])


def test_an_answer_without_hits_leaves_no_goal_of_the_last_one(
    snapshots, start_node, ask, listen, wait_until
):
    start_node(QueryNode)
    snapshots.send()
    assert ask("sofa").found
    early = listen(PoseStamped, "goal")
    assert wait_until(lambda: early.last)
    assert not ask(ABSENT).found
    late = listen(PoseStamped, "goal")
    grasp = listen(PointCloud2, "grasp/object")
    assert wait_until(lambda: grasp.last)
    assert grasp.last.width == 0 and not late.last


def test_the_goal_has_one_publisher_until_a_goal_is_gone(snapshots, start_node, ask):
    """Answers come again and again: a publisher that is made anew costs discovery each time."""
    node = start_node(QueryNode)

    def publisher():
        (found,) = (end for end in node.publishers if end.topic_name == "/goal")
        return found

    first = publisher()
    snapshots.send()
    for text in (ABSENT, ABSENT, "sofa", "sofa"):
        ask(text)
        assert publisher() is first, text
    ask(ABSENT)
    second = publisher()
    assert second is not first  # what it kept for late joiners went with it
    ask(ABSENT)
    assert ask("sofa").found and publisher() is second


def test_a_text_that_came_before_the_map_is_answered_with_it(
    snapshots, start_node, listen, make_node, wait_until, log
):
    texts = make_node("asker").create_publisher(String, "query_text", RELIABLE)
    start_node(QueryNode)
    answers = listen(String, "answer")
    assert wait_until(lambda: texts.get_subscription_count() == 1)
    texts.publish(String(data="sofa"))
    assert wait_until(lambda: log("no snapshot yet"))
    snapshots.send()
    assert wait_until(lambda: answers.last and json.loads(answers.last.data)["found"])


def test_a_text_that_cannot_be_asked_is_forgotten_and_snapshots_go_on(
    snapshots, start_node, make_node, wait_until, log, ask
):
    texts = make_node("asker").create_publisher(String, "query_text", RELIABLE)
    start_node(QueryNode, refresh_period_s=0.1)
    assert wait_until(lambda: texts.get_subscription_count() == 1)
    texts.publish(String(data="  "))
    assert wait_until(lambda: log("no snapshot yet"))
    snapshots.send()
    assert wait_until(lambda: log("with words in it"))
    for version in (1000, 1001):
        snapshots.send(version=version)
        assert wait_until(lambda n=version: ask("sofa").snapshot_version == n)
    assert log("with words in it") == 1


def test_a_refreshed_answer_keeps_the_options_of_its_question(
    snapshots, start_node, listen, wait_until, ask
):
    start_node(QueryNode)
    answers = listen(String, "answer")
    snapshots.send()
    asked = {"negatives": ["sofa"], "threshold": 0.4, "max_hits": 1}
    first = ask("somewhere to sit", **asked)
    assert [hit.label for hit in first.hits] == ["chair"]
    assert wait_until(lambda: answers.messages)
    snapshots.send(version=1000)
    assert wait_until(lambda: len(answers.messages) >= 2)
    before, after = (json.loads(message.data) for message in answers.messages[:2])
    assert after == before
    assert "sofa" in {hit.label for hit in ask("somewhere to sit").hits}


def test_damaged_snapshots_are_refused_and_the_map_stays(
    snapshots, start_node, ask, wait_until, log
):
    start_node(QueryNode)
    snapshots.send()
    assert ask("sofa").found
    broken = bytearray(snapshots.data)
    broken[len(broken) // 2] ^= 1
    for i, data in enumerate((bytes(broken), snapshots.data[:1000], b"")):
        snapshots.send(version=900 + i, data=data)
        assert wait_until(lambda n=900 + i: log(f"snapshot {n} is not usable"))
    answer = ask("sofa")
    assert answer.found and answer.snapshot_version == snapshots.state.version
    snapshots.send(version=1000)
    assert wait_until(lambda: ask("sofa").snapshot_version == 1000)


def test_ids_of_hits_stay_with_their_objects(snapshots, start_node, ask, wait_until):
    start_node(QueryNode)
    snapshots.send()
    before = {hit.id: hit.pose.position for hit in ask("chair").hits}
    snapshots.mapper.train_steps(20)
    snapshots.state = snapshots.mapper.snapshot()
    snapshots.send()
    assert wait_until(lambda: ask("chair").snapshot_version == snapshots.state.version)
    after = {hit.id: hit.pose.position for hit in ask("chair").hits}
    assert len(before) >= 2 and len(before.keys() & after.keys()) >= 2
    for key in before.keys() & after.keys():
        moved = [getattr(before[key], axis) - getattr(after[key], axis) for axis in "xyz"]
        assert np.linalg.norm(moved) < 0.4


def test_parameters_may_change_while_it_runs(snapshots, start_node, ask, call):
    node = start_node(QueryNode)
    snapshots.send()
    assert ask("sofa").found

    def put(name: str, **value):
        parameter = ParameterMessage(name=name, value=ParameterValue(**value))
        answer = call(SetParameters, "query_node/set_parameters", parameters=[parameter])
        return answer.results[0]

    double = ParameterType.PARAMETER_DOUBLE
    assert put("query.threshold", type=double, double_value=0.999).successful
    strict = ask("sofa")
    assert (not strict.found and "0.999" in strict.message) or "1.00" in strict.message
    for value in (0.0, 1.5, float("nan")):
        refused = put("query.threshold", type=double, double_value=value)
        assert not refused.successful and refused.reason, value
    wrong = put("query.threshold", type=ParameterType.PARAMETER_STRING, string_value="low")
    assert not wrong.successful
    up = put("query.up", type=ParameterType.PARAMETER_STRING, string_value="sideways")
    assert not up.successful and "sideways" in up.reason
    assert put("refresh", type=ParameterType.PARAMETER_BOOL, bool_value=False).successful
    assert not node.settings.refresh
    fixed = put("teacher.threads", type=ParameterType.PARAMETER_INTEGER, integer_value=2)
    assert not fixed.successful  # read only
    assert node.get_parameter("query.threshold").value == 0.999
    assert put("query.threshold", type=double, double_value=0.5).successful
    assert ask("sofa").found


RUN = """
import embedded_ros
embedded_ros.install()
from semantic_field.nodes.query_node import main
raise SystemExit(main())
"""


def test_a_killed_query_node_gets_the_map_again(snapshots, start_python, ask, call, wait_until):
    snapshots.send()
    first = start_python(RUN)
    hits = [hit.label for hit in ask("sofa").hits]
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    second = start_python(RUN)
    answers = []

    def answered() -> bool:
        answers.append(call.attempt(Query, "query", 2.0, text="sofa"))
        return answers[-1] is not None and answers[-1].success

    assert wait_until(answered, timeout_s=60.0)
    assert [hit.label for hit in answers[-1].hits] == hits
    second.send_signal(signal.SIGINT)
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 0, out
