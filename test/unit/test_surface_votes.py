"""Votes of keyframes for the labels of the surface, against a plain count and hand-worked cases."""

from __future__ import annotations

import logging
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from semantic_field.config import Config, QueryConfig
from semantic_field.field.annotations import Annotation, AnnotationSet
from semantic_field.field.cells import numbers_of
from semantic_field.field.map_file import dump_map, load_map
from semantic_field.field.map_state import MapState
from semantic_field.field.surface.extraction import extract_surface
from semantic_field.field.surface.mesh import extract_mesh
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.surface.vote_table import CLASSES, UNITS, VoteTable
from semantic_field.field.surface.voted_labels import PRIOR, VotedLabels
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform
from semantic_field.mapping.corrections.claims import surface_within
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.labels.classes import ClassTable
from semantic_field.mapping.labels.surface_votes import (
    AT_BORDER,
    AT_EDGE,
    BYTES_PER_VOXEL,
    CELL_M,
    CLEAR_M,
    HALF_SEEN,
    STEP_SHARE,
    SurfaceVotes,
)
from semantic_field.mapping.live_map import LiveMap
from semantic_field.mapping.snapshots import Snapshots
from semantic_field.query.hits import find_hits
from semantic_field.settings import updated

CAMERA = Camera.from_field_of_view(32, 24, 1.0)
SHAPE = (CAMERA.height, CAMERA.width)
ENOUGH = 1 << 24


def scene(x: float, seed: int, stamp_ns: int = 0) -> tuple[Frame, np.ndarray]:
    """A frame of a wall with a box before it, and label rows with borders and unlabelled pixels."""
    random = np.random.default_rng(seed)
    depth = np.full(SHAPE, 1.0, np.float32) + random.uniform(0, 0.01, SHAPE).astype(np.float32)
    depth[8:16, 10:20] -= np.float32(0.3)
    depth[20, 5:9] = 0.0
    rows = np.zeros(SHAPE, np.int16)
    rows[:, 16:], rows[8:16, 10:20], rows[0, :4] = 1, 2, -1
    color = np.zeros((*SHAPE, 3), np.uint8)
    T_world_camera = np.asarray(make_transform(np.eye(3), [x, 0, 0]), np.float64)
    return Frame(stamp_ns, color, depth, CAMERA, T_world_camera), rows


def store_of(*places: float) -> KeyframeStore:
    store = KeyframeStore(*SHAPE[::-1], budget_mb=1, depth_range_m=(0.1, 9.0))
    for number, x in enumerate(places):
        store.add(*scene(x, number))
    return store


def counted(store: KeyframeStore) -> SurfaceVotes:
    votes = SurfaceVotes(ENOUGH)
    votes.count(store)
    return votes


def as_numbers(table: VoteTable) -> dict[tuple[int, int], int]:
    """Units by voxel key and row."""
    return {
        (int(table.keys[v]), int(table.rows[v, c])): int(table.votes[v, c])
        for v in range(len(table))
        for c in range(CLASSES)
        if table.votes[v, c]
    }


def weight_of(depth: np.ndarray, rows: np.ndarray, v: int, u: int) -> float:
    """The weight of a pixel's vote as described, pixel by pixel."""
    factor, slopes = 1.0, []
    for dv, du in ((0, 1), (1, 0)):
        rises = []
        for side in (-1, 1):
            i, j = v + side * dv, u + side * du
            if 0 <= i < SHAPE[0] and 0 <= j < SHAPE[1]:
                rises.append(abs(depth[i, j] - depth[v, u]) / depth[v, u])
                factor = min(factor, AT_BORDER) if rows[i, j] != rows[v, u] else factor
                factor = min(factor, AT_EDGE) if rises[-1] > STEP_SHARE else factor
        slopes.append(CAMERA.fx * min(rises))
    cosine = 1.0 / np.sqrt(1.0 + slopes[0] ** 2 + slopes[1] ** 2)
    return factor * cosine / (1.0 + (depth[v, u] / CLEAR_M) ** 2)


def brute_force(store: KeyframeStore) -> dict[tuple[int, int], float]:
    found: dict[tuple[int, int], float] = defaultdict(float)
    for slot in range(store.count):
        stored = store.images.depths[slot].reshape(SHAPE)
        rows = store.images.labels[slot].reshape(SHAPE)
        depth = (stored & 0x7FFF) * 0.0005
        own: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        for v in range(SHAPE[0]):
            for u in range(SHAPE[1]):
                if rows[v, u] < 0 or stored[v, u] >= 0x8000:
                    continue
                local = [(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, 1.0, 1.0]
                local[:3] = [depth[v, u] * value for value in local[:3]]
                point = store.cameras.poses[slot].astype(float) @ local
                key = int(numbers_of(np.floor(point[None, :3] / CELL_M).astype(int))[0])
                own[key][int(rows[v, u])] += weight_of(depth, rows, v, u)
        for key, by_row in own.items():
            for row, weight in by_row.items():
                found[key, row] += UNITS * weight / (sum(by_row.values()) + HALF_SEEN)
    return found


def test_votes_are_those_of_a_plain_count() -> None:
    store = store_of(0.0, 0.05, 0.4)
    found, expected = as_numbers(counted(store).table), brute_force(store)
    assert len(found) > 500
    for key, units in expected.items():
        assert abs(found.get(key, 0) - units) <= 2.0, key  # rounded once by each keyframe
    assert found.keys() <= expected.keys()


def test_a_new_keyframe_touches_only_what_it_sees() -> None:
    store = store_of(0.0)
    votes = counted(store)
    before, version = as_numbers(votes.table), votes.version
    votes.count(store)
    assert votes.version == version
    store.add(*scene(5.0, 1))  # sees another part of the wall
    votes.count(store)
    after = as_numbers(votes.table)
    assert votes.version > version and len(after) > len(before)
    assert {key: after[key] for key in before} == before


def test_what_is_removed_masked_or_relabelled_takes_its_votes_back() -> None:
    store = store_of(0.0, 0.05, 0.1, 0.4)
    votes = counted(store)
    gone = np.zeros(store.pixels, bool)
    gone[: store.pixels // 2] = True
    changes = (
        lambda: store.remove(1),
        lambda: store.mask(0, gone),
        lambda: store.relabel(np.array([2, 1, 0], np.int16)),
        lambda: store.set_labels(1, np.arange(60), np.full(60, 1, np.int16)),
    )
    for change in changes:
        before = as_numbers(votes.table)
        change()
        votes.count(store)
        assert as_numbers(votes.table) == as_numbers(counted(store).table) != before


def test_replaced_keyframes_and_moved_poses_are_counted_anew() -> None:
    store = store_of(0.0, 0.3)
    votes = counted(store)
    store.cameras.poses[0, 0, 3] += np.float32(0.02)
    votes.count(store)
    assert as_numbers(votes.table) == as_numbers(counted(store).table)
    for number in range(store.capacity + 3):
        store.add(*scene(0.01 * number, number))
    assert store.replaced > 0
    votes.count(store)
    assert as_numbers(votes.table) == as_numbers(counted(store).table)


def test_memory_is_bounded_and_counted() -> None:
    store, most = store_of(0.0, 5.0, 10.0), 300
    votes = SurfaceVotes(most * BYTES_PER_VOXEL)
    votes.count(store)
    assert len(votes.table) <= max(most, 1 << 12)
    unbounded = counted(store)
    assert unbounded.memory_bytes() >= len(unbounded.table) * BYTES_PER_VOXEL // 2


def points_at(xyz: list[list[float]], label: list[int], dim: int = 2) -> SurfacePoints:
    n = len(xyz)
    return SurfacePoints(
        xyz=np.array(xyz, np.float32).reshape(n, 3),
        normals=np.zeros((n, 3), np.float32),
        color=np.zeros((n, 3), np.uint8),
        latent=np.full((n, dim), 9.0, np.float16),
        label=np.array(label, np.int32),
        confidence=np.ones(n, np.float32),
    )


def voted_for(*cells: tuple[tuple[int, int, int], dict[int, float]]) -> VotedLabels:
    """Votes by voxel and row; the latents of rows 0 to 2 are (0, 1), (1, 1) and (2, 1)."""
    rows = np.zeros((len(cells), CLASSES), np.int16)
    votes = np.zeros((len(cells), CLASSES), np.uint16)
    for number, (_, by_row) in enumerate(cells):
        for place, (row, amount) in enumerate(by_row.items()):
            rows[number, place], votes[number, place] = row, round(UNITS * amount)
    keys = numbers_of(np.array([cell for cell, _ in cells]))
    table = VoteTable.of(CELL_M, keys, rows, votes)
    return VotedLabels(table, np.array([[0, 1], [1, 1], [2, 1]], np.float16))


IDS = (40, 50, 60)
CENTRES = [[0.01, 0.01, 0.01], [0.21, 0.01, 0.01], [0.41, 0.01, 0.01], [0.61, 0.01, 0.01]]


def test_votes_decide_and_the_field_where_there_are_few_or_they_contradict() -> None:
    votes = voted_for(
        ((0, 0, 0), {1: 2.0}),
        ((10, 0, 0), {1: 0.5 * PRIOR}),
        ((20, 0, 0), {1: 2.2, 2: 2.0}),
    )
    of_field = points_at(CENTRES, [40, 40, 60, 40])
    found = votes.labelled(of_field, IDS, AnnotationSet(), threads=1)
    assert found.label.tolist() == [50, 40, 60, 40]
    assert found.latent.tolist() == [[1, 1], [0, 1], [2, 1], [9, 9]]  # the last has no votes
    np.testing.assert_allclose(found.seen, [2.0, 0.5 * PRIOR, 4.2, 0.0], atol=1e-2)


def test_votes_are_interpolated_between_voxels() -> None:
    votes = voted_for(((0, 0, 0), {1: 2.0}), ((1, 0, 0), {2: 2.0}))
    near = [[0.014, 0.01, 0.01], [0.026, 0.01, 0.01]]
    found = votes.labelled(points_at(near, [-1, -1]), IDS, AnnotationSet(), threads=1)
    assert found.label.tolist() == [50, 60]
    np.testing.assert_allclose(found.seen, 2.0, atol=1e-2)


def test_people_overrule_the_votes() -> None:
    votes = voted_for(((0, 0, 0), {1: 9.0}), ((10, 0, 0), {1: 9.0}))
    cells = np.array([[0, 0, 0]], np.int32)
    said = Annotation(1, "point", "cup", 0, 1, cells, np.array([60], np.int32))
    annotations = AnnotationSet(cell_m=0.02).extended(said)
    found = votes.labelled(points_at(CENTRES[:2], [40, 40]), IDS, annotations, threads=1)
    assert found.label.tolist() == [60, 50]
    assert found.latent.tolist() == [[2, 1], [1, 1]]
    free = annotations.without(1)
    again = votes.labelled(points_at(CENTRES[:2], [40, 40]), IDS, free, threads=1)
    assert again.label.tolist() == [50, 50]


def test_latents_stay_those_of_the_field_where_no_class_latents_are_known() -> None:
    votes = replace(voted_for(((0, 0, 0), {1: 2.0})), latents=np.zeros((0, 0), np.float16))
    found = votes.labelled(points_at(CENTRES[:1], [40]), IDS, AnnotationSet(), threads=1)
    assert found.label.tolist() == [50] and found.latent.tolist() == [[9, 9]]
    without_classes = votes.labelled(points_at(CENTRES[:1], [-1]), (), AnnotationSet(), threads=1)
    assert without_classes.label.tolist() == [-1]


CONFIG = updated(
    Config(),
    {
        "field.grid.log2_table_size": 12,
        "field.grid.levels": 4,
        "field.grid.finest_cell_m": 0.08,
        "field.latent_dim": 16,
        "mapping.rays_per_step": 64,
        "mapping.memory_budget_mb": 32,
    },
)
NAMES = {7: "wall", 8: "lamp", 9: "cup"}


def live_map(config: Config = CONFIG, **settings) -> LiveMap:
    made = LiveMap(config, names=NAMES, **settings)
    for x in (0.0, 0.3):
        frame, rows = scene(x, 0)
        labels = np.where(rows < 0, -1, rows + 7).astype(np.int32)
        assert made.take(replace(frame, labels=labels))
    return made


def test_a_state_carries_the_votes_and_shares_them_until_they_change() -> None:
    made = live_map()
    made.step()
    first, second = made.state(), made.state()
    assert first.votes is not None and first.votes is second.votes
    assert as_numbers(first.votes.table) == as_numbers(made.votes.table)
    assert made.memory_bytes() > made.votes.memory_bytes() > 0
    before = as_numbers(first.votes.table)
    assert made.keyframes is not None
    made.keyframes.remove(0)
    third = made.state()
    assert third.votes is not None and as_numbers(third.votes.table) != before
    assert as_numbers(first.votes.table) == before  # a snapshot never changes


def test_a_renderer_does_not_wait_for_votes_and_shares_its_copy_with_the_snapshot() -> None:
    made = live_map()
    made.step()
    snapshots, counted = Snapshots("map", nullcontext), made.votes.version
    snapshots.renderer(made, np.zeros(3))
    assert made.votes.version == counted and snapshots.version == 1  # one keyframe still waits
    state = snapshots.state(made, np.zeros(3))
    assert state.votes is not None and made.votes.version > counted and state.version == 1
    assert snapshots.state(made, np.zeros(3)) is state
    snapshots.renderer(made, np.zeros(3))
    assert snapshots.state(made, np.zeros(3)) is state
    made.step()
    snapshots.renderer(made, np.zeros(3))
    later = snapshots.state(made, np.zeros(3))
    assert later is not state and later.votes is state.votes and snapshots.version == 2


def test_surfaces_meshes_and_what_a_person_clicks_take_the_votes() -> None:
    made = live_map()
    for _ in range(150):
        made.step()
    state = made.state()
    assert state.votes is not None and state.class_ids == (7, 8, 9)
    votes = state.votes.table.copy()
    votes.rows[:], votes.votes[:] = 2, (0, 0, 60000)  # all for "cup"
    voted = replace(state, votes=replace(state.votes, table=votes))
    fields = extract_surface(replace(state, votes=None), 0.04)
    found, mesh = extract_surface(voted, 0.04), extract_mesh(voted).vertices
    assert len(found) == len(fields) > 100 and set(fields.label.tolist()) >= {7, 8}
    np.testing.assert_array_equal(found.xyz, fields.xyz)  # the cache keeps the field's labels
    near = surface_within(voted, found.xyz.min(0), found.xyz.max(0), 0.04)
    for points in (found, mesh, near):
        well_seen = points.seen > 5  # else the prior of the field decides
        assert well_seen.sum() > 50 and (points.label[well_seen] == 9).all()
    again = extract_surface(replace(state, votes=None), 0.04)
    np.testing.assert_array_equal(again.label, fields.label)


def test_a_map_without_label_images_has_no_votes() -> None:
    made = LiveMap(CONFIG)
    assert made.take(scene(0.0, 0)[0])
    assert made.state().votes is None


def test_another_class_table_renumbers_the_votes_of_keyframes_and_of_files() -> None:
    made = live_map()
    state = made.state("map", 1)
    for again in (made, LiveMap(CONFIG, names=NAMES, stored=load_map(dump_map(state)))):
        before = again.classes
        again.replace_classes(ClassTable.of_texts(["cup", "wall"], NAMES), again.vocabulary)
        found = again.state().votes
        assert found is not None and before.ids != again.classes.ids
        known = {(key, before.ids[row]) for key, row in as_numbers(made_table(state))}
        ids = again.classes.ids
        left = {(key, ids[row]) for key, row in as_numbers(found.table)}
        assert left == {(key, class_id) for key, class_id in known if class_id != 8}


def made_table(state: MapState) -> VoteTable:
    assert state.votes is not None
    return state.votes.table


def test_votes_survive_the_file_and_go_on_with_new_keyframes(caplog) -> None:
    made = live_map()
    state = made.state("map", 1)
    assert state.votes is not None
    with caplog.at_level(logging.WARNING):
        read = load_map(dump_map(state))
    assert not caplog.records and read.votes is not None
    expected, found = as_numbers(state.votes.table), as_numbers(read.votes.table)
    strongest = {key: units for key, units in expected.items() if key in found}
    assert len(strongest) > 0.99 * len(expected)
    for key, units in strongest.items():
        assert abs(found[key] - units) <= 0.05 * units + 1
    following = LiveMap(CONFIG, names=NAMES, stored=read)  # without keyframes
    assert as_numbers(following.votes.table) == found
    frame, rows = scene(5.0, 3)
    assert following.take(replace(frame, labels=np.where(rows < 0, -1, rows + 7).astype(np.int32)))
    again = following.state().votes
    assert again is not None and len(as_numbers(again.table)) > len(found)


def test_a_map_of_an_earlier_release_says_that_it_has_no_votes(caplog, monkeypatch) -> None:
    state = replace(live_map().state("map", 1), votes=None)
    monkeypatch.setattr("semantic_field.field.map_file.FORMAT_VERSION", 7)
    data = dump_map(state)
    with caplog.at_level(logging.WARNING):
        assert load_map(data).votes is None
    assert "no votes of its images" in caplog.text and "keyframes" in caplog.text


def test_damaged_votes_are_refused() -> None:
    votes = voted_for(((0, 0, 0), {1: 2.0}), ((1, 0, 0), {2: 2.0}))
    packed = votes.packed()
    with pytest.raises(ValueError, match="rows below 2"):
        VotedLabels.unpacked(packed, classes=2)
    with pytest.raises(ValueError, match="different voxels"):
        VotedLabels.unpacked(packed | {"cells": packed["cells"] * 0}, classes=3)


def test_the_box_of_a_hit_leaves_out_what_no_image_confirms() -> None:
    side = np.arange(0, 0.6, 0.03)
    sheet = np.stack(np.meshgrid(side, side, [1.0]), -1).reshape(-1, 3)
    fringe = sheet[sheet[:, 0] < 0.05] - [0.06, 0, 0]
    points = points_at(np.concatenate([sheet, fringe]).tolist(), [5] * (len(sheet) + len(fringe)))
    seen = np.append(np.full(len(sheet), 4.0), np.full(len(fringe), 0.1)).astype(np.float32)
    relevancy = np.ones(len(points), np.float32)
    sizes = [
        max(find_hits(p, relevancy, {5: "rug"}, QueryConfig(), 0.5)[0].size[:2])
        for p in (points, replace(points, seen=seen))
    ]
    assert sizes[0] == pytest.approx(0.63, abs=0.01) and sizes[1] == pytest.approx(0.57, abs=0.01)
