"""Objects of the map: found by hit and by box, completed, asked for their parts."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import trimesh
from known_room import CHAIRS, NAMES, room, shell
from mirrored_completer import MirroredCompleter

from semantic_field.object_prior.completer import NoPriors
from semantic_field.object_prior.completion import NoPriorError
from semantic_field.object_prior.object_file import write_object
from semantic_field.query.engine import QueryEngine, QueryResult
from semantic_field.query.grasp import grasp_clouds
from semantic_field.query.map_objects import MapObject, gathered
from semantic_field.query.navigation import goal_pose
from semantic_field.query.object_completion import (
    category_for,
    complete_object,
    observed_object,
    sentence,
    support_height,
)
from semantic_field.query.object_picture import draw_object, object_picture
from semantic_field.query.part_answers import PartEngine
from semantic_field.teachers.label_text import LabelTextTeacher

EDGES = np.array([0.45, 0.45, 0.9])  # of a chair


@pytest.fixture(scope="module")
def teacher() -> LabelTextTeacher:
    return LabelTextTeacher()


def half_seen(teacher, names=NAMES, version=1, shift=(0.0, 0.0, 0.0)):
    """The room with only the near half (low y) of the first chair observed; at an origin."""
    state, points = room(teacher, names, version)
    far = (np.abs(points.xyz[:, :2] - CHAIRS[0, :2]) < 0.3).all(1) & (points.label == 3)
    points = points.select(~(far & (points.xyz[:, 1] > CHAIRS[0, 1] - 0.1)))
    origin = np.array(shift)
    return replace(state, origin=origin), replace(points, origin=origin)


@pytest.fixture
def engine(teacher) -> QueryEngine:
    engine = QueryEngine(teacher)
    engine.set_points(*half_seen(teacher))
    return engine


def near(result: QueryResult, place: np.ndarray) -> int:
    """The id of the hit nearest to a place."""
    return min(result.hits, key=lambda hit: np.linalg.norm(hit.centre - place)).id


# --- objects ------------------------------------------------------------------------------------


def test_a_hits_object_has_its_points_and_its_surroundings(engine):
    result = engine.query("chair")
    hit = result.hits[0]
    thing = engine.object_of_hit(hit.id)
    assert thing.label == "chair" and thing.hit_id == hit.id
    assert set(thing.indices) == set(hit.indices)
    assert len(thing.around) and not set(thing.around) & set(thing.indices)
    away = np.abs(thing.points.world[thing.around] - hit.centre) - 0.5 * EDGES
    assert away.max() < 0.15 + 0.1 and set(thing.points.label[thing.around]) == {9}


def test_an_unknown_hit_is_told_with_the_remedy(engine):
    with pytest.raises(ValueError, match=r"got 77: ask where .* known is none yet"):
        engine.object_of_hit(77)
    ids = sorted(hit.id for hit in engine.query("chair").hits)
    with pytest.raises(ValueError, match=f"known is one of {ids[0]}, {ids[1]}"):
        engine.object_of_hit(77)


def test_in_a_later_map_the_object_is_found_again_if_it_is_there(engine, teacher):
    hits = engine.query("chair").hits
    state, points = half_seen(teacher, version=2)
    moved = points.xyz + np.float32([0.005, 0, 0])
    order = np.random.default_rng(1).permutation(len(points))
    engine.set_points(state, replace(points, xyz=moved).select(order))
    for hit in hits:
        thing = engine.object_of_hit(hit.id)
        assert len(thing.indices) >= 0.9 * hit.point_count
        assert set(thing.points.label[thing.indices]) == {3}
    gone = points.select(points.label != 3)
    engine.set_points(replace(state, version=3), gone)
    with pytest.raises(ValueError, match=f"hit {hits[0].id} where it was, got 0 of its"):
        engine.object_of_hit(hits[0].id)


def test_an_empty_map_and_a_restarted_mapper_are_told(engine, teacher):
    hit = engine.query("chair").hits[0]
    state, points = half_seen(teacher, version=2)
    engine.set_points(state, points.select(points.label > 100))
    with pytest.raises(ValueError, match="an empty one: it was reset"):
        engine.object_of_hit(hit.id)
    engine.set_points(replace(state, version=1), points)  # counts from the beginning
    with pytest.raises(ValueError, match="known is none yet"):
        engine.object_of_hit(hit.id)


def test_a_box_holds_the_chair_and_not_the_floor_below_it(engine):
    box = np.eye(4)
    box[:3, 3] = CHAIRS[1]
    thing = engine.object_in_box(box, EDGES + 0.1)
    assert thing.label == "chair" and set(thing.points.label[thing.indices]) == {3}
    own = (thing.points.label == 3) & (np.abs(thing.points.xyz - CHAIRS[1]) < 0.5).all(1)
    assert np.array_equal(thing.indices, np.flatnonzero(own))
    turned = box.copy()
    turned[:2, :2] = [[0, -1], [1, 0]]
    again = engine.object_in_box(turned, EDGES + 0.1)
    assert np.array_equal(again.indices, thing.indices)
    box[:3, 3] = [1, 1, 5]
    with pytest.raises(ValueError, match=r"got 0 points of the map in it.*full edge lengths"):
        engine.object_in_box(box, EDGES)


def test_pieces_of_one_thing_are_gathered_and_others_are_left(teacher):
    """Of the first chair only two edges of the seat and a strip of the back were seen."""
    state, points = room(teacher)
    offset = points.xyz - CHAIRS[0].astype(np.float32)
    first = (np.abs(offset) < 0.5).all(1) & (points.label == 3)
    back = (offset[:, 1] > 0.2) & (offset[:, 2] > 0.2)
    edge = (offset[:, 1] < -0.2) & (np.abs(offset[:, 2]) < 0.1)
    points = points.select(~first | back | edge)
    engine = QueryEngine(teacher)
    engine.set_points(state, points)
    of_first = np.flatnonzero((points.label == 3) & (np.abs(points.xyz - CHAIRS[0]) < 0.5).all(1))
    hits = engine.query("chair").hits
    pieces = [hit for hit in hits if np.abs(hit.centre - CHAIRS[0]).max() < 0.5]
    assert len(hits) == 3 and len(pieces) == 2
    for hit in pieces:
        thing = gathered(engine.object_of_hit(hit.id), engine.config.voxel_m)
        assert np.array_equal(np.sort(thing.indices), of_first)
        assert set(thing.indices[: hit.point_count]) == set(hit.indices)  # its own come first
        assert not set(thing.around) & set(thing.indices)
    (whole,) = (hit for hit in hits if hit.id not in {piece.id for piece in pieces})
    thing = gathered(engine.object_of_hit(whole.id), engine.config.voxel_m)
    assert len(thing.indices) == whole.point_count  # the other chair is not part of it


# --- completion ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (4.5e5, -2.0e6, 30.0)])
def test_the_whole_keeps_what_was_observed_also_far_from_zero(teacher, shift):
    engine = QueryEngine(teacher)
    engine.set_points(*half_seen(teacher, shift=shift))
    place = CHAIRS[0] + shift - [0, 0.16, 0]
    thing = engine.object_of_hit(near(engine.query("chair"), place))
    whole = complete_object(thing, MirroredCompleter()).completion
    count = len(thing.indices)
    assert whole.observed[:count].all() and not whole.observed[count:].any()
    assert np.array_equal(whole.points[:count], thing.points.world[thing.indices])
    assert np.array_equal(whole.colors[:count], thing.points.color[thing.indices])
    assert len(whole.points) > count
    inside = np.abs(whole.points - place) <= 0.5 * EDGES + 0.1
    assert inside.all() and np.allclose(whole.T_world_object[:2, 3], place[:2], atol=0.03)
    assert all(np.abs(box.T_world_part[:3, 3] - place).max() < 0.5 for box in whole.boxes)


def test_the_observation_is_in_coordinates_of_the_map(teacher):
    engine = QueryEngine(teacher)
    engine.set_points(*half_seen(teacher, shift=(1e6, 0, 0)))
    thing = engine.object_of_hit(engine.query("chair").hits[0].id)
    observed = observed_object(thing, (), "-y")
    assert np.abs(observed.points).max() < 10 and observed.points.dtype == np.float64
    assert observed.up.tolist() == [0, -1, 0] and observed.views == ()


def test_what_it_stands_on_is_the_surface_below_it(engine, teacher):
    up = np.array([0.0, 0, 1])
    chair, table = (engine.object_of_hit(engine.query(n).hits[0].id) for n in ("chair", "table"))
    assert support_height(chair, up) == pytest.approx(0.0, abs=1e-6)
    assert observed_object(chair, ()).ground_m == support_height(chair, up)
    assert support_height(table, up) == pytest.approx(0.0, abs=1e-6)  # its own top is no support
    state, points = half_seen(teacher, version=2)
    mug = shell([2.0, 3.0, 0.80], [0.09, 0.09, 0.1]).astype(np.float32)  # on the table
    onto = points.select(np.zeros(len(mug), np.int64))
    onto = replace(onto, xyz=mug, label=np.full(len(mug), 12, np.int32))
    both = points.joined(onto)
    thing = MapObject("mug", state, both, np.arange(len(points), len(both)), np.zeros(0, np.int64))
    assert support_height(thing, up) == pytest.approx(0.75, abs=0.001)
    floating = replace(thing, points=both.select(both.label == 12), indices=np.arange(len(mug)))
    assert support_height(floating, up) is None


def test_what_it_is_comes_from_the_request_or_the_label():
    known = {"chair": (), "table": ()}
    assert category_for("diningtable", "", known) == "table"
    assert category_for("sofa", "chair", known) == "chair"  # a person knows better
    assert category_for("", "", known) is None
    for label, category, words in (
        ("sofa", "", "no prior for 'sofa': there are priors for chair, table; if it is one"),
        ("chair", "unicorn", r"no prior for 'unicorn': there are priors for chair, table$"),
    ):
        with pytest.raises(NoPriorError, match=words):
            category_for(label, category, known)
    with pytest.raises(NoPriorError, match=r"set completion\.priors"):
        category_for("chair", "", NoPriors().part_names)


def test_a_thing_of_no_category_is_not_completed(engine):
    completer = MirroredCompleter()
    floor = engine.object_of_hit(engine.query("floor").hits[0].id)
    with pytest.raises(NoPriorError, match="no prior for 'floor'"):
        complete_object(floor, completer)
    assert not completer.asked


def test_the_sentence_says_what_is_predicted(engine):
    thing = engine.object_of_hit(engine.query("chair").hits[0].id)
    done = complete_object(thing, MirroredCompleter())
    text = sentence(done)
    assert text.startswith(
        f"hit {thing.hit_id} (chair) as a whole: chair, confidence 0.80; 3 parts"
    )
    assert "from its points alone" in text and "predicted for" not in text
    boxes = tuple(replace(box, observed=0.2) for box in done.completion.boxes)
    guessed = replace(done, completion=replace(done.completion, boxes=boxes), view_count=3)
    assert "predicted for the most part: leg, seat, backrest; from 3 images" in sentence(guessed)


# --- parts --------------------------------------------------------------------------------------


def parts_of(engine: QueryEngine, completer=None) -> PartEngine:
    completer = completer or MirroredCompleter()

    def complete(thing, category):
        return complete_object(thing, completer, category=category).completion

    return PartEngine(engine, completer.part_names, complete)


def test_a_part_is_a_hit_with_its_own_box(engine):
    whole = engine.query("chair").hits[0]
    result = parts_of(engine).query("the backrest of the chair")
    (hit,) = result.hits
    assert result.found and result.text == "the backrest of the chair"
    assert (hit.part, hit.label, hit.id) == ("backrest", "backrest", whole.id)
    assert hit.score == pytest.approx(0.8 * whole.score) == result.best_score
    low = 0.55 * 0.9  # where backrests begin
    assert hit.centre[2] == pytest.approx(0.5 * (low + 0.9), abs=0.03)
    assert hit.size[2] == pytest.approx(0.9 - low, abs=0.04)
    heights = result.points.xyz[hit.indices, 2]
    assert len(hit.indices) > 50 and heights.min() >= low - 0.01
    assert set(hit.indices) <= set(whole.indices)
    assert f"of hit {whole.id}, the best of 2" in result.message and "backrest" in result.message
    assert len(result.relevancy) == len(result.points)


def test_a_part_that_nobody_saw_has_a_box_and_says_so(teacher):
    names = {3: "mug", 7: "diningtable", 9: "floor"}
    engine = QueryEngine(teacher)
    engine.set_points(*half_seen(teacher, names))
    result = parts_of(engine).query("mug handle")
    (hit,) = result.hits
    assert hit.predicted == 1.0 and not len(hit.indices) and hit.point_count == 8
    assert "predicted handle of hit" in result.message
    clouds = grasp_clouds(hit, result.points)
    assert not len(clouds.object) and len(clouds.scene)
    goal = goal_pose(hit, result.points, engine.config)
    assert goal is not None and np.linalg.norm(goal[:2, 3] - hit.centre[:2]) >= 0.5


def test_other_texts_are_answered_as_ever_and_all_in_one_pass(engine):
    completer = MirroredCompleter()
    parts = parts_of(engine, completer)
    texts = ["chair", "the seat of the chair", "a place to sleep", "the handle of the chair"]
    results = parts.query_all(texts)
    assert [result.text for result in results] == texts
    assert [result.found for result in results[:3]] == [True, True, False]
    assert [hit.id for hit in results[0].hits] == [hit.id for hit in engine.query("chair").hits]
    assert results[1].hits[0].part == "seat" and len(completer.asked) == 1
    assert [parts.asks_for_part(text) for text in texts] == [False, True, False, False]


def test_parts_of_what_is_not_there_or_has_none_are_not_found(engine, teacher):
    parts = parts_of(engine)
    absent = parts.query("the handle of the mug")
    assert not absent.found and "'mug' is not in the map" in absent.message
    flat = room(teacher)[1]
    flat = flat.select((flat.label != 3) | (flat.xyz[:, 2] < 0.25))  # chairs 25 cm high
    engine.set_points(room(teacher, version=2)[0], flat)
    refused = parts.query("the legs of the chair")
    assert not refused.found and "no known parts: no prior for what is 0.2" in refused.message


def test_limits_hold_for_parts_too(engine):
    with pytest.raises(ValueError, match="at least 1 hit"):
        parts_of(engine).query("the seat of the chair", max_hits=0)
    with pytest.raises(ValueError, match="threshold"):
        parts_of(engine).query("the seat of the chair", threshold=1.5)


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shift", "kind"), [((0, 0, 0), "float"), ((4.5e5, -2e6, 30.0), "double")])
def test_a_file_holds_the_parts_and_what_was_seen(teacher, tmp_path, shift, kind):
    engine = QueryEngine(teacher)
    engine.set_points(*half_seen(teacher, shift=shift))
    thing = engine.object_of_hit(near(engine.query("chair"), CHAIRS[0] + shift))
    whole = complete_object(thing, MirroredCompleter()).completion
    write_object(tmp_path / "chair.ply", whole)
    head, _, body = (tmp_path / "chair.ply").read_bytes().partition(b"end_header\n")
    lines = head.decode().splitlines()
    assert [line for line in lines if "part" in line] == [
        "comment part 0 leg",
        "comment part 1 seat",
        "comment part 2 backrest",
        "property int part",
    ]
    assert f"element vertex {len(whole.points)}" in lines and f"property {kind} x" in lines
    assert lines[-1] == "property uchar observed"
    place = "<f8" if kind == "double" else "<f4"
    columns = [(n, place) for n in "xyz"] + [(n, "<f4") for n in ("nx", "ny", "nz")]
    columns += [(n, "u1") for n in ("red", "green", "blue")] + [("part", "<i4"), ("seen", "u1")]
    rows = np.frombuffer(body, np.dtype(columns))
    assert np.allclose(np.stack([rows[n] for n in "xyz"], 1), whole.points, atol=1e-6)
    assert np.array_equal(rows["part"], whole.parts) and rows["red"][0] == 128
    assert np.array_equal(rows["seen"].astype(bool), whole.observed)
    loaded = trimesh.load(tmp_path / "chair.ply")
    assert len(loaded.vertices) == len(whole.points)


def test_a_file_of_another_kind_is_refused(engine, tmp_path):
    thing = engine.object_of_hit(engine.query("chair").hits[0].id)
    whole = complete_object(thing, MirroredCompleter()).completion
    with pytest.raises(ValueError, match=r"a file \.ply, got 'chair\.obj'"):
        write_object(tmp_path / "chair.obj", whole)


# --- pictures -----------------------------------------------------------------------------------


def test_the_picture_shows_what_was_seen_and_what_was_added(engine, tmp_path):
    thing = engine.object_of_hit(near(engine.query("chair"), CHAIRS[0]))
    whole = complete_object(thing, MirroredCompleter()).completion
    side = np.array([0.0, -1, 0])
    normals = np.where(whole.observed[:, None], side, -side)  # the near half faces low y
    whole = replace(whole, normals=normals)
    picture = object_picture(whole, 100)
    assert picture.shape == (200, 300, 3)
    tiles = picture.reshape(2, 100, 3, 100, 3).swapaxes(1, 2)
    drawn = (tiles != 255).any(-1).sum((2, 3))  # rows: sides; columns: observed, whole, parts
    assert (drawn[:, 0] > 300).all() and (drawn[:, 1] >= drawn[:, 0]).all()
    hues = {tuple(color) for color in tiles[0, 2].reshape(-1, 3)}
    assert len(hues) > 3 and len({tuple(c) for c in tiles[0, 0].reshape(-1, 3) if c[0] == c[1]}) > 1
    draw_object(tmp_path / "chair.png", whole, 60)
    assert cv2.imread(str(tmp_path / "chair.png")).shape == (120, 180, 3)
    with pytest.raises(OSError, match="could not be written"):
        draw_object(tmp_path / "nowhere" / "chair.png", whole, 60)
