"""True objects, the map's own objects as masks, and how answers are judged."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from semantic_field.config import QueryConfig
from semantic_field.evaluation.live import ReceivedFrames
from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.scores.held_out_views import HeldOutFrames, ViewScores, fit
from semantic_field.evaluation.scores.queries import ABSENT, answer, questions_for
from semantic_field.evaluation.scores.scoring import held_out
from semantic_field.evaluation.truth.known_answers import Question
from semantic_field.evaluation.truth.object_masks import (
    ObjectMasks,
    objects_from_instances,
    thing_classes,
)
from semantic_field.evaluation.truth.true_objects import ReferenceObject
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform

NAMES = {1: "wall", 2: "chair"}
# Looks along +x of the world, 2 m in front of a wall at x = 2; z is up.
CAMERA = Camera.from_field_of_view(64, 48, 1.0)
T_WORLD_CAMERA = make_transform([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [0, 0, 1])


def frame() -> Frame:
    """A wall with two chairs before it: left (object 4) and right (object 9), 1.5 m away."""
    labels = np.full((48, 64), 1, np.int32)
    instances = np.full((48, 64), -1, np.int32)
    depth = np.full((48, 64), 2.0, np.float32)
    for columns, number in ((slice(6, 22), 4), (slice(42, 58), 9)):
        labels[20:40, columns], instances[20:40, columns] = 2, number
        depth[20:40, columns] = 1.5
    color = np.full((48, 64, 3), 90, np.uint8)
    return Frame(7, color, depth, CAMERA, T_WORLD_CAMERA, labels, instances)


def surface_of(true: Frame) -> SurfacePoints:
    points = true.camera.backproject(true.depth).reshape(-1, 3)
    xyz = (points @ T_WORLD_CAMERA[:3, :3].T + T_WORLD_CAMERA[:3, 3]).astype(np.float32)
    n = len(xyz)
    assert true.labels is not None
    return SurfacePoints(
        xyz,
        np.zeros((n, 3), np.float32),
        np.zeros((n, 3), np.uint8),
        np.zeros((n, 4), np.float16),
        true.labels.ravel(),
        np.ones(n, np.float32),
    )


def view_of(true: Frame) -> RenderedView:
    assert true.labels is not None
    confidence = np.ones(true.depth.shape, np.float32)
    normal = np.zeros(true.color.shape, np.float32)
    return RenderedView(true.color, true.depth, normal, true.labels, confidence)


def test_boxes_of_instances() -> None:
    chairs = objects_from_instances([frame()] * 4, NAMES)
    assert [item.name for item in chairs] == ["chair", "chair"]
    left, right = chairs
    assert left.centre[1] > 0.2 > -0.2 > right.centre[1]  # y is to the left
    assert left.centre[0] == pytest.approx(1.5, abs=0.01)
    width = 15 / CAMERA.fx * 1.5
    assert left.high[1] - left.low[1] == pytest.approx(width, abs=0.06)
    plain = Frame(0, frame().color, frame().depth, CAMERA, T_WORLD_CAMERA, frame().labels)
    assert objects_from_instances([plain], NAMES) == []


def test_things_are_classes_with_instances() -> None:
    assert thing_classes([frame()]) == {2}


def test_the_maps_objects_are_separate_masks() -> None:
    true = frame()
    masks = ObjectMasks(surface_of(true), frozenset({2}))
    numbers = masks(view_of(true), CAMERA, T_WORLD_CAMERA)
    assert true.instances is not None
    assert ((numbers >= 0) == (true.instances >= 0)).mean() > 0.98
    left, right = (np.unique(numbers[true.instances == i]) for i in (4, 9))
    left, right = left[left >= 0], right[right >= 0]
    assert len(left) == len(right) == 1 and left[0] != right[0]
    nothing = ObjectMasks(surface_of(true), frozenset())
    assert (nothing(view_of(true), CAMERA, T_WORLD_CAMERA) == -1).all()


def test_a_perfect_view_has_perfect_scores() -> None:
    true, protocol = frame(), Protocol(name="test")
    scores = ViewScores(NAMES, protocol)
    record = scores.add(0, true, view_of(true), 0.1)
    assert record.miou == record.accuracy == 1.0 and record.depth_l1_m == 0.0
    result = scores.result()
    assert result["views"]["psnr"] is None  # infinite: no figure to average
    assert all(c["value"] == 1.0 for c in result["semantics"]["conventions"].values())
    assert result["semantics"]["confusion"]["names"] == ["wall", "chair", "none or left out"]


def test_held_out_frames_are_resized_and_limited() -> None:
    frames = HeldOutFrames(ReceivedFrames("live", NAMES, [frame()] * 3), [0, 2], 32)
    assert len(frames) == 2 and frames[1].color.shape == (24, 32, 3)
    assert fit(frame(), 0).camera.width == fit(frame(), 640).camera.width == 64
    protocol = Protocol(name="test")
    assert held_out(range(0, 100, 10), protocol) == list(range(0, 100, 10))
    from dataclasses import replace

    few = replace(protocol, views=replace(protocol.views, limit=3))
    assert held_out(range(0, 101, 10), few) == [0, 50, 100]


CHAIR = ReferenceObject("chair", np.array([1.0, 0.0, 0.0]), np.array([2.0, 1.0, 1.0]))
QUESTION = Question("chair", frozenset({"chair"}))


def engine_that_answers(centre, best_point, score: float = 0.9):
    """What an engine would give: one hit, a unit box at ``centre``, and a most relevant point."""
    hit = SimpleNamespace(
        centre=np.asarray(centre, float),
        T_world_object=make_transform(np.eye(3), centre),
        size=np.ones(3),
        score=score,
    )
    points = SimpleNamespace(xyz=np.array([[9, 9, 9], best_point], np.float32))
    result = SimpleNamespace(
        found=True,
        best_score=score,
        hits=(hit,),
        points=points,
        relevancy=np.array([0.2, 0.8]),
    )
    return SimpleNamespace(query=lambda text: result, config=QueryConfig())


def test_answers_are_judged_by_hand() -> None:
    good = answer(engine_that_answers([1.5, 0.5, 0.5], [1.9, 0.9, 0.9]), QUESTION, [CHAIR])
    assert good.right and good.localised and good.box_iou == pytest.approx(1.0)
    assert good.error_m == pytest.approx(0.0)
    aside = answer(engine_that_answers([2.0, 0.5, 0.5], [2.4, 0.5, 0.5]), QUESTION, [CHAIR])
    assert aside.right and not aside.localised  # half a metre off, the best point outside
    assert aside.box_iou == pytest.approx(0.5 / 1.5)
    far = answer(engine_that_answers([4.0, 0.5, 0.5], [1.5, 0.5, 0.5]), QUESTION, [CHAIR])
    assert not far.right and far.localised and far.box_iou == 0.0
    absent = answer(
        engine_that_answers([0, 0, 0], [0, 0, 0]), Question("bed", frozenset({"bed"})), []
    )
    assert not absent.right and absent.localised is None and absent.box_iou is None


def test_the_best_place_is_where_all_around_is_relevant() -> None:
    """A stray point beside the chair is the most relevant one; around it nothing else is."""
    engine = engine_that_answers([1.5, 0.5, 0.5], [0.0, 0.0, 0.0])
    result = engine.query("chair")
    stray, beside = np.zeros((1, 3)), np.full((9, 3), 0.03)
    chair = np.array([1.5, 0.5, 0.5]) + 0.03 * np.arange(9)[:, None]
    result.points.xyz = np.concatenate([stray, beside, chair]).astype(np.float32)
    result.relevancy = np.repeat([0.9, 0.1, 0.8], [1, 9, 9])
    assert answer(engine, QUESTION, [CHAIR]).localised


def test_questions_ask_for_objects_and_for_what_is_not_there() -> None:
    texts = {q.text for q in questions_for([CHAIR], {1: "chair", 2: "toilet"})}
    assert {"chair", "somewhere to sit", "piano"} <= texts
    assert "toilet" not in texts  # has a label here: it may well be there
    assert len(set(ABSENT)) == len(ABSENT)
    sofa = ReferenceObject("sofa", CHAIR.low, CHAIR.high)
    # a sofa is a fair answer to "a place to sleep", but not what is asked for
    assert "a place to sleep" not in {q.text for q in questions_for([sofa], {})}
