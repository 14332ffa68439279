"""The query node's parts without a graph: the last question, segments of one map, responses."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

import embedded_ros

embedded_ros.install()

from rclpy.logging import get_logger  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from semantic_field.cli import main  # noqa: E402
from semantic_field.field.map_state import MapState  # noqa: E402
from semantic_field.field.surface.points import SurfacePoints  # noqa: E402
from semantic_field.mapping.language.basis import LanguageBasis  # noqa: E402
from semantic_field.nodes.asking.questions import (  # noqa: E402
    LastQuestion,
    Options,
    Question,
    question_of,
)
from semantic_field.nodes.asking.responses import fill_segments  # noqa: E402
from semantic_field.nodes.ros import conversions  # noqa: E402
from semantic_field.nodes.ros.guarding import GuardedNode  # noqa: E402
from semantic_field.query.colors import label_colors  # noqa: E402
from semantic_field.query.engine import QueryEngine, QueryResult  # noqa: E402
from semantic_field.query.interpretation import Interpreter  # noqa: E402
from semantic_field.query.part_answers import PartEngine  # noqa: E402
from semantic_field.srv import Query, Segment  # noqa: E402
from semantic_field.teachers.label_text import LabelTextTeacher  # noqa: E402

NAMES = {3: "chair", 9: "floor"}


@pytest.fixture(scope="module")
def teacher() -> LabelTextTeacher:
    return LabelTextTeacher()


def without_parts(engine: QueryEngine) -> PartEngine:
    """An engine that knows no parts of anything."""

    def complete(*_):
        raise AssertionError("nothing is to be completed")

    return PartEngine(engine, {}, complete)


def column_of_points(teacher, label: list[int]) -> tuple[MapState, SurfacePoints]:
    """A map without a field: points 3 cm apart, each exactly what its label says."""
    count = len(label)
    xyz = np.zeros((count, 3), np.float32)
    xyz[:, 2] = 0.03 * np.arange(count)
    basis = LanguageBasis(teacher, 16)
    latents = basis.latents_of(list(NAMES.values())).numpy()
    points = SurfacePoints(
        xyz,
        np.tile(np.float32([1, 0, 0]), (count, 1)),
        np.full((count, 3), 128, np.uint8),
        latents[[list(NAMES).index(i) for i in label]].astype(np.float16),
        np.array(label, np.int32),
        np.linspace(0, 1, count, dtype=np.float32),
    )
    state = MapState(
        field=None,  # type: ignore[arg-type]  # the surface is given
        frame_id="map",
        bounds=np.stack([xyz.min(0), xyz.max(0)]).astype(np.float64),
        voxels=None,  # type: ignore[arg-type]
        reach=None,  # type: ignore[arg-type]
        label_names=dict(NAMES),
        class_ids=tuple(NAMES),
        language=basis.space(),
        version=1,
        steps=1,
    )
    return state, points


@pytest.fixture
def engine(teacher) -> QueryEngine:
    engine = QueryEngine(teacher)
    engine.set_points(*column_of_points(teacher, [3] * 40 + [9] * 40))
    return engine


@dataclass(frozen=True, eq=False)
class Overtaken(Question):
    """A question during which somebody else asks another one."""

    last: LastQuestion | None = None

    def ask(self, engine: QueryEngine) -> QueryResult:
        assert self.last is not None
        self.last.ask(Question("floor"))
        return super().ask(engine)


def test_an_answer_that_comes_late_does_not_replace_that_to_a_newer_question(engine):
    told: list[QueryResult] = []
    last = LastQuestion(without_parts(engine), told.append)
    last.keep(Overtaken("chair", last=last))
    assert not last.again()
    assert [result.text for result in told] == ["floor"]
    assert last.again() and [result.text for result in told] == ["floor", "floor"]


def test_a_question_is_kept_until_it_is_found_that_it_cannot_be_asked(teacher):
    told: list[QueryResult] = []
    engine = QueryEngine(teacher)
    last = LastQuestion(without_parts(engine), told.append)
    assert not last.again()
    last.keep(Question("chair", options=Options(max_hits=1)))
    engine.set_points(*column_of_points(teacher, [3] * 40 + [9] * 40))
    assert last.again() and last.again() and [result.text for result in told] == ["chair"] * 2
    last.keep(Question("  "))
    with pytest.raises(ValueError, match="words in it"):
        last.again()
    assert not last.again() and len(told) == 2
    with pytest.raises(ValueError, match="threshold"):
        last.ask(Question("chair", options=Options(threshold=3.0)))
    assert not last.again()


def test_requests_leave_to_the_settings_what_they_do_not_say():
    question = question_of(Query.Request(text="chair"))
    assert question.text == "chair" and question.image is None
    assert question.options == Options() == Options((), None, None)
    request = Query.Request(text="chair", negatives=["sofa"], threshold=0.25, max_hits=3)
    assert question_of(request).options == Options(("sofa",), 0.25, 3)
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    image = Image(height=2, width=4, encoding="bgr8", step=12, data=pixels.tobytes())
    assert np.array_equal(question_of(Query.Request(image=image)).image, pixels[..., ::-1])
    with pytest.raises(ValueError, match="got neither"):
        question_of(Query.Request())


def test_segments_and_points_are_those_of_one_map(teacher, monkeypatch):
    """The map is exchanged each time that names are looked up: nobody waits until it rests."""
    engine, looked_up, asked = QueryEngine(teacher), [], ["floor", "chair"]
    state, points = column_of_points(teacher, [3] * 40 + [9] * 40)
    engine.set_points(state, points)
    embed = engine.interpreter.embed

    def exchanging(names: list[str]):
        if names == asked:  # not the classes of the new map
            looked_up.append(names)
            assert len(looked_up) < 10
            smaller = points.select(points.label == (3, 9)[len(looked_up) % 2])
            engine.set_points(replace(state, version=1 + len(looked_up)), smaller)
        return embed(names)

    monkeypatch.setattr(engine.interpreter, "embed", exchanging)
    response = fill_segments(Segment.Response(), asked, *engine.segment(asked), True)
    assert response.snapshot_version == 1 and list(response.counts) == [40, 40]
    assert len(looked_up) == 1 and engine.state.version == 2


def test_points_of_no_name_are_left_out_of_segments(teacher):
    state, points = column_of_points(teacher, [3, 3, 9, 9, 9])
    which = np.array([1, -1, 0, 1, -1])
    names = ["floor", "chair", "bed"]
    response = fill_segments(Segment.Response(), names, state, points, which, True)
    assert response.success and response.message == "3 of 5 points are one of 3 names"
    assert list(response.counts) == [1, 2, 0]
    cloud = conversions.cloud_arrays(response.segments)
    assert cloud["label"].tolist() == [1, 0, 1]
    assert np.allclose(cloud["z"], [0.0, 0.06, 0.09]) and (cloud["normal_x"] == 1).all()
    assert np.allclose(cloud["intensity"], [0.0, 0.5, 0.75])
    colors = conversions.unpacked_colors(cloud["rgb"])
    assert np.array_equal(colors, label_colors(np.array([1, 0, 1])))
    nothing = fill_segments(Segment.Response(), names, state, points, np.full(5, -1), True)
    assert nothing.success and list(nothing.counts) == [0, 0, 0] and nothing.segments.width == 0


class Services:
    """In a node's place: what is created is the callback that rclpy would call."""

    services = ()

    def create_service(self, kind, name, callback):
        return callback

    def get_logger(self):
        return get_logger("services")


class Server(GuardedNode, Services):
    pass


def test_an_error_of_the_caller_is_a_response_and_no_other_is():
    def answer(request, response):
        response.success = True
        raise ValueError(f"expected a name, got {request.names}")

    def fail(request, response):
        raise RuntimeError("a fault of ours")

    server, request = Server(), Segment.Request(names=["?"])
    response = server.create_service(Segment, "segment", answer)(request, Segment.Response())
    assert not response.success and response.message == "expected a name, got ['?']"
    assert server.refused == {"request to segment": 1}
    with pytest.raises(RuntimeError, match="of ours"):
        server.create_service(Segment, "segment", fail)(request, Segment.Response())


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "got neither"),
        (["mug", "--image", "crop.png"], "got both"),
        (["--segment"], "got neither"),
        (["chair", "--out", "a.ply"], "with --segment"),
        (["chair", "--segment", "--out", "a.pcd"], "expected a file .ply, got 'a.pcd'"),
        (["chair", "--segment", "--negative", "sofa", "--max-hits", "2"], "--negative, --max-hits"),
        (["--image", "crop.png", "--segment"], "--image"),
    ],
)
def test_the_command_refuses_what_does_not_fit_together(arguments, why, capsys):
    assert main(["query", *arguments]) == 1
    assert why in capsys.readouterr().err


def test_label_text_says_what_it_does_not_understand(caplog):
    teacher = LabelTextTeacher()
    interpreter = Interpreter(teacher)
    for text in ("Stuhl", "Kühlschrank", "椅子", "стул", "quelque chose pour s'asseoir"):
        assert "understands English" in interpreter.interpret(text, []).doubt, text
    for text in ("chair", "somewhere to sit", "teapot", "loveseat", "diningtable", "TV"):
        assert interpreter.interpret(text, []).doubt == "", text
    assert len(caplog.records) == 1 and "understands English" in caplog.text
    assert interpreter.interpret("Stuhl", ["Stuhl"]).doubt == ""  # the map's own word
