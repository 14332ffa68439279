"""What people say about the map: which cells are meant, which label counts, how it is undone."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from semantic_field.config import Config
from semantic_field.field.annotations import Annotation, AnnotationSet
from semantic_field.field.map_file import dump_map, load_map
from semantic_field.field.rays.rays import Rays
from semantic_field.field.rays.sampling import draw_rays
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.surface.segments import region_of, segment_surface
from semantic_field.field.views.rendering import render_view
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform
from semantic_field.mapping import Mapper
from semantic_field.mapping.corrections.claims import claim, surface_within
from semantic_field.mapping.corrections.pointing import Box, Labels, Pixel, Point
from semantic_field.mapping.corrections.ray_overrides import Corrections
from semantic_field.mapping.keyframes.pixels_and_points import seen_at
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.labels.classes import FIRST_OWN_ID, ClassTable
from semantic_field.mapping.training.device_step import DeviceTrainer
from semantic_field.settings import updated

CAMERA = Camera.from_field_of_view(64, 48, 1.2)
SETTINGS = {
    "field.truncation_m": 0.035,
    "field.grid.log2_table_size": 12,
    "field.grid.levels": 4,
    "field.grid.finest_cell_m": 0.08,
    "field.latent_dim": 16,
    "mapping.rays_per_step": 256,
    "mapping.memory_budget_mb": 16,
    "mapping.annotation_cell_m": 0.06,
    "mapping.annotation_rays": 40_000.0,
}


def small_config(**more: object) -> Config:
    return updated(Config(), SETTINGS | more)


def wall(x: float = 0.0) -> Frame:
    """A wall at z = 1.5 m, seen from ``x``: left half red (7), right half blue (3)."""
    left = (np.arange(64) - CAMERA.cx) / CAMERA.fx * 1.5 + x < 0
    color = np.where(left[None, :, None], [200, 30, 30], [30, 30, 200]).astype(np.uint8)
    return Frame(
        stamp_ns=int((1 + x) * 1e9),
        color=np.broadcast_to(color, (48, 64, 3)).copy(),
        depth=np.full((48, 64), 1.5, np.float32),
        camera=CAMERA,
        T_world_camera=make_transform(np.eye(3), [x, 0, 0]),
        labels=np.broadcast_to(np.where(left, 7, 3), (48, 64)).astype(np.int32),
    )


# --- the set of annotations -----------------------------------------------------------------------


def annotation(number: int, cells: list, class_ids: list, name: str = "mug") -> Annotation:
    ids = np.array(class_ids, np.int32)
    return Annotation(number, "point", name, 5, len(cells), np.array(cells, np.int32), ids)


A, B, C = [0, 0, 0], [1, 0, 0], [-5, 2, 7]


def two() -> AnnotationSet:
    first = AnnotationSet().extended(annotation(1, [A, B], [7, 7]))
    return first.extended(annotation(2, [B, C], [3, 3], "bowl"))


def said(annotations: AnnotationSet) -> dict[tuple, int]:
    cells, class_ids = annotations.claims()
    return {tuple(c): int(i) for c, i in zip(cells.tolist(), class_ids, strict=True)}


def test_the_newest_annotation_counts() -> None:
    assert said(two()) == {(0, 0, 0): 7, (1, 0, 0): 3, (-5, 2, 7): 3}


def test_contradictions_are_found() -> None:
    first = AnnotationSet().extended(annotation(1, [A, B], [7, 7]))
    cells = np.array([B, C], np.int32)
    (conflict,) = first.conflicts(cells, np.array([3, 3], np.int32))
    assert (conflict.id, conflict.name, conflict.overlap) == (1, "mug", 0.5)
    assert first.conflicts(cells, np.array([7, 3], np.int32)) == ()  # the same is no contradiction


def test_what_was_taken_back_is_released_where_nobody_else_spoke() -> None:
    rest = two().without(2)
    assert said(rest) == {(0, 0, 0): 7, (1, 0, 0): 7}
    assert rest.released.tolist() == [C]
    empty = rest.without(1)
    assert empty.entries == () and bool(empty)  # what is released is still to be unlearnt
    again = empty.extended(annotation(3, [C], [4]))
    assert sorted(again.released.tolist()) == [A, B]
    with pytest.raises(ValueError, match=r"one of \[3\], got 1"):
        again.get(1)


def test_what_people_said_overrules_labels() -> None:
    points = np.array([A, B, C, [9, 9, 9]], np.float32) * 0.02 + 0.01
    label = np.array([5, 5, -1, 5], np.int32)
    assert two().overrule(points, label).tolist() == [7, 3, 3, 5]
    assert two().without(2).overrule(points, label).tolist() == [7, 7, -1, 5]
    assert AnnotationSet().overrule(points, label).tolist() == label.tolist()


def test_annotations_survive_the_map_file() -> None:
    mapper = Mapper(small_config())
    mapper.add_frame(wall())
    mapper.train_steps(1)
    for given in (AnnotationSet(), two(), two().without(1)):
        again = load_map(dump_map(replace(mapper.snapshot(), annotations=given))).annotations
        assert said(again) == said(given)
        assert again.released.tolist() == given.released.tolist()
        assert again.next_id == given.next_id and again.cell_m == given.cell_m
        assert [e.name for e in again.entries] == [e.name for e in given.entries]


# --- names ----------------------------------------------------------------------------------------


def test_new_names_get_ids_that_no_stream_has() -> None:
    table = ClassTable()
    table.set_names({0: "void", 5: "chair"})
    assert table.id_of(" Chair ") == 5
    mug = table.id_of("red  mug")
    assert mug == FIRST_OWN_ID and table.names[mug] == "red mug"
    assert table.id_of("Red Mug") == mug and table.id_of("bowl") == mug + 1
    table.set_names({9: "red mug"})  # the stream learns it later: the same row
    assert table.row(9) == table.row(mug) and len(table) == 3
    assert table.rows(np.array([[9, 5, 0]], np.int32)).tolist() == [[table.row(mug), 0, -1]]
    for name in ("", "  ", "void"):
        with pytest.raises(ValueError, match="name of a class"):
            table.id_of(name)


def test_nothing_has_a_row_without_a_name() -> None:
    table = ClassTable()
    table.set_names({5: "chair"})
    row = table.none_row()
    assert (table.ids[row], table.row_names()[row]) == (-1, "")


# --- regions --------------------------------------------------------------------------------------


def sheet(origin, u, v, size: tuple[float, float], normal, label: int, color=100) -> dict:
    """Points 2 cm apart on a rectangle."""
    a, b = (np.arange(0.01, side, 0.02) for side in size)
    grid = np.stack(np.meshgrid(a, b), -1).reshape(-1, 2)
    xyz = np.array(origin) + grid @ np.array([u, v], float)
    return {
        "xyz": xyz.astype(np.float32),
        "normals": np.broadcast_to(np.array(normal, np.float32), xyz.shape),
        "color": np.full(xyz.shape, color, np.uint8),
        "label": np.full(len(xyz), label, np.int32),
    }


X, Y, Z = np.eye(3)


def box_on_floor(labels: tuple[int, int]) -> SurfacePoints:
    """A floor of 2 x 2 m with a box of 0.4 m edges in the middle, of one colour."""
    floor, box = labels
    down = sheet([-1, -1, 0], X, Y, (2, 2), Z, floor)
    covered = (np.abs(down["xyz"][:, :2]) < 0.2).all(1)
    sheets = [
        {name: array[~covered] for name, array in down.items()},
        sheet([-0.2, -0.2, 0.4], X, Y, (0.4, 0.4), Z, box),
        *(sheet([s * 0.2, -0.2, 0], Y, Z, (0.4, 0.4), s * X, box) for s in (-1, 1)),
        *(sheet([-0.2, s * 0.2, 0], X, Z, (0.4, 0.4), s * Y, box) for s in (-1, 1)),
    ]
    parts = {name: np.concatenate([part[name] for part in sheets]) for name in sheets[0]}
    n = len(parts["xyz"])
    return SurfacePoints(
        **parts, latent=np.zeros((n, 1), np.float16), confidence=np.ones(n, np.float32)
    )


@pytest.mark.parametrize("labels", [(-1, -1), (3, 3), (3, 7)])
def test_a_click_on_a_box_means_the_box_and_one_on_the_floor_the_floor(labels: tuple) -> None:
    points = box_on_floor(labels)
    box = (np.abs(points.xyz[:, :2]) < 0.21).all(1)
    top = np.linalg.norm(points.xyz - [0.1, 0, 0.4], axis=1).argmin()
    region = region_of(points, int(top), 0.02)
    assert region[box].mean() > 0.9 and region[~box].mean() < 0.01
    if labels == (3, 3):
        return  # what the map calls the same, and what is smaller, goes with the floor
    aside = np.linalg.norm(points.xyz - [0.7, 0.7, 0], axis=1).argmin()
    region = region_of(points, int(aside), 0.02)
    assert region[box].mean() < 0.05 and region[~box].mean() > 0.9


def test_every_point_is_in_one_segment() -> None:
    points = box_on_floor((-1, -1))
    segments, first, second = segment_surface(points, 0.02)
    assert (segments[segments] == segments).all() and (first < second).all()
    assert len(np.unique(first * len(points) + second)) == len(first)


def test_cells_go_to_the_nearest_surface() -> None:
    """Two sheets 4 cm apart: cells between them are shared out, none beyond the other."""
    mine = sheet([0, 0, 0.01], X, Y, (0.2, 0.2), Z, 0)["xyz"]
    other = sheet([0, 0, 0.05], X, Y, (0.2, 0.2), Z, 0)["xyz"]
    classes = np.repeat([0, -1], [len(mine), len(other)])
    found = claim(np.concatenate([mine, other]), classes, 0.02)
    assert found.points == len(mine) and (found.classes == 0).all()
    assert {tuple(c) for c in np.floor(mine / 0.02).astype(int).tolist()} <= set(
        map(tuple, found.cells.tolist())
    )
    assert found.cells[:, 2].min() == -1 and found.cells[:, 2].max() <= 1


# --- rays -----------------------------------------------------------------------------------------


def store_with(labels: np.ndarray | None) -> KeyframeStore:
    store = KeyframeStore(64, 48, 4, (0.1, 10.0))
    rows = None if labels is None else labels.astype(np.int16)
    for x in (0.0, 0.3):
        store.add(wall(x), rows)
    return store


def rays_of(store: KeyframeStore, pixels: list[int], slot: int = 0) -> Rays:
    slots = np.full(len(pixels), slot)
    given = np.array(pixels, np.int64)
    images, cameras = store.images, store.cameras
    return draw_rays(
        images, cameras, slots, VoxelGrid(0.04), (4, 2), 0.06, 0.1, 0.1, 0, 1, pixels=given
    )


MIDDLE = 24 * 64 + 32


def cells_at_middle() -> np.ndarray:
    """The cells of 2 cm around where the middle pixel of slot 0 ends, 1.5 m away."""
    steps = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3), -1).reshape(-1, 3)
    return (np.floor(np.array([0.0, 0.0, 1.5]) / 0.02) + steps).astype(np.int32)


def corrections_of(annotations: AnnotationSet) -> tuple[Corrections, ClassTable]:
    table = ClassTable()
    table.set_names({3: "blue wall", 7: "red wall"})
    corrections = Corrections(small_config().mapping)
    table.row(9)
    corrections.follow(annotations, table)
    return corrections, table


def test_rays_take_the_label_of_the_cell_in_which_they_end() -> None:
    cells = cells_at_middle()
    ids = np.full(len(cells), 9, np.int32)
    annotations = AnnotationSet().extended(Annotation(1, "point", "mug", 0, 1, cells, ids))
    store = store_with(np.zeros((48, 64)))
    rays = rays_of(store, [MIDDLE, 0])
    corrections, table = corrections_of(annotations)
    corrections.apply(rays, store)
    assert rays.label.tolist() == [table.row(9), 0]
    assert rays.label_weight.tolist() == [4.0, 1.0]
    rays = rays_of(store, [MIDDLE, 0])  # taken back: what the stream says
    corrections.follow(annotations.without(1), table)
    corrections.apply(rays, store)
    assert rays.label.tolist() == [0, 0] and rays.label_weight.tolist() == [1.0, 1.0]


def test_where_the_stream_says_nothing() -> None:
    """Void pixels stay void, but are nothing in images without labels and where it was released."""
    cells = cells_at_middle()
    ids = np.full(len(cells), 9, np.int32)
    annotations = AnnotationSet().extended(Annotation(1, "point", "mug", 0, 1, cells, ids))
    some_void = np.zeros((48, 64))
    some_void[:, :40] = -1
    for labels, left, expected_left in (
        (some_void, annotations, "void"),
        (None, annotations, "none"),
        (some_void, annotations.without(1), "void"),
    ):
        store = store_with(labels)
        corrections, table = corrections_of(left)
        rays = rays_of(store, [MIDDLE, 0])
        corrections.apply(rays, store)
        meaning = {-1: "void", table.none_row(): "none", table.row(9): "mug"}
        middle = "mug" if left.entries else "none"
        assert [meaning[i] for i in rays.label.tolist()] == [middle, expected_left]
    corrections, _ = corrections_of(AnnotationSet())
    rays = rays_of(store_with(None), [MIDDLE])
    corrections.apply(rays, store_with(None))
    assert rays.label.tolist() == [-1]  # without annotations nothing is different


def test_fresh_annotations_are_looked_at() -> None:
    cells, store = cells_at_middle(), store_with(np.zeros((48, 64)))
    ids = np.full(len(cells), 9, np.int32)
    annotations = AnnotationSet().extended(Annotation(1, "point", "mug", 0, 1, cells, ids))
    corrections, _ = corrections_of(annotations)
    corrections.focus(cells, rays=0)
    random, slots = np.random.default_rng(0), np.zeros(400, np.int64)
    pixels = np.full(400, -1)
    corrections.redirect(slots, pixels, store, 40_000, random)
    assert (pixels == -1).all()  # fresh no more
    corrections.redirect(slots, pixels, store, 39_999, random)
    assert (pixels[:200] == -1).all() and (pixels[200:] >= 0).all()
    u = pixels % 64 + np.where(slots == 1, 0.3 * CAMERA.fx / 1.5, 0)
    on_it, beside = slice(200, 300), slice(300, 400)
    assert np.abs(u[on_it] - 32).max() < 3 and np.abs(pixels[on_it] // 64 - 24).max() < 3
    assert set(slots[on_it].tolist()) == {0, 1}
    assert np.abs(u[beside] - 32).max() > 4


def test_what_is_hidden_is_not_seen() -> None:
    store = store_with(None)
    seen = np.array([[0, 0, 1.5], [0, 0, 2.5], [0, 0, -1.5], [9, 0, 1.5]], np.float32)
    slots, pixels = seen_at(store, seen)
    assert slots.tolist() == [0, 1] and pixels[0] in (MIDDLE - 65, MIDDLE - 64, MIDDLE - 1, MIDDLE)


# --- the mapper -----------------------------------------------------------------------------------


def mapped(labels: bool = True, **more: object) -> Mapper:
    mapper = Mapper(small_config(**more))
    if labels:
        mapper.set_label_names({3: "blue wall", 7: "red wall"})
    for x in (-0.2, 0.0, 0.2):
        frame = wall(x)
        mapper.add_frame(frame if labels else replace(frame, labels=None))
    mapper.train_steps(150)
    return mapper


def names_seen(mapper: Mapper, frame: Frame) -> tuple[dict[str, float], dict[str, float]]:
    """Shares of the names in the left and in the right half of a view: what was learnt."""
    label = render_view(mapper.snapshot(), CAMERA, frame.T_world_camera).label[6:-6]
    names = mapper.label_names() | {-1: "nothing"}
    halves = label[:, 4:28].reshape(-1), label[:, 36:60].reshape(-1)
    return tuple(
        {names[int(i)]: float((half == i).mean()) for i in np.unique(half)} for half in halves
    )


RED, BLUE = np.array([-0.4, 0.0, 1.5]), np.array([0.4, 0.0, 1.5])


@pytest.mark.parametrize("step", [None, DeviceTrainer], ids=["usual step", "a GPU's step"])
def test_a_click_names_one_half_and_is_taken_back(step, tmp_path, monkeypatch) -> None:
    if step is not None:  # without a GPU it works on the processor, in the same way
        monkeypatch.setattr("semantic_field.mapping.live_map.make_trainer", step)
    mapper, frame = mapped(), wall()
    answer = mapper.annotate("door", Point(RED))
    assert (answer.annotation.id, answer.annotation.name, answer.conflicts) == (1, "door", ())
    assert names_seen(mapper, frame)[0].get("door", 0) < 0.1
    at_once = mapper.render(CAMERA, frame.T_world_camera).label[6:-6]
    doors = at_once == answer.annotation.class_ids[0]
    assert doors[:, 4:28].mean() > 0.9 and doors[:, 36:60].mean() < 0.1  # before it is learnt
    mapper.train_steps(150)
    left, right = names_seen(mapper, frame)
    assert left.get("door", 0) > 0.9 and right.get("blue wall", 0) > 0.9
    mapper.save(tmp_path / "map")

    again = Mapper(small_config())
    again.load(tmp_path / "map")
    assert names_seen(again, frame)[0].get("door", 0) > 0.9
    second = again.annotate("gate", Pixel(12, 24, frame.stamp_ns))
    assert [(c.id, c.name) for c in second.conflicts] == [(1, "door")]
    assert second.conflicts[0].overlap > 0.9
    again.forget(2)
    again.forget()
    assert again.annotations().entries == ()
    again.train_steps(150)
    left, right = names_seen(again, frame)
    assert left.get("red wall", 0) > 0.9 and right.get("blue wall", 0) > 0.9
    with pytest.raises(ValueError, match="id of an annotation"):
        again.forget()


def test_the_next_click_knows_what_was_said_before_it_is_learnt() -> None:
    mapper = mapped()
    answer = mapper.annotate("door", Point(RED))
    around = surface_within(mapper.snapshot(), RED - 0.2, RED + 0.2, 0.06)
    assert (around.label == answer.annotation.class_ids[0]).mean() > 0.9
    again = mapper.annotate("gate", Point(RED))
    assert [c.id for c in again.conflicts] == [1] and again.conflicts[0].overlap > 0.9


def test_boxes_and_label_images() -> None:
    mapper, frame = mapped(), wall()
    mapper.annotate("door", Box(make_transform(np.eye(3), BLUE), np.array([0.79, 1.2, 0.3])))
    image = np.full((48, 64), -1, np.int32)
    image[:, :32] = 4
    image[:, 32:] = 5
    answer = mapper.annotate("", Labels(image, {4: "curtain", 5: "void"}, frame.stamp_ns))
    assert answer.annotation.name == "curtain"
    mapper.train_steps(350)
    left, right = names_seen(mapper, frame)
    assert left.get("curtain", 0) > 0.9 and right.get("door", 0) > 0.7


def test_the_first_name_of_a_map_without_labels() -> None:
    # With cells of 6 cm the click claims both halves: without labels, so few points do not part.
    mapper, frame = mapped(labels=False, **{"mapping.annotation_cell_m": 0.04}), wall()
    assert names_seen(mapper, frame)[0] == {"nothing": 1.0}
    mapper.annotate("door", Point(RED))
    mapper.train_steps(200)
    left, right = names_seen(mapper, frame)
    assert left.get("door", 0) > 0.9 and right.get("nothing", 0) > 0.9
    mapper.forget()
    mapper.train_steps(200)
    assert names_seen(mapper, frame)[0].get("nothing", 0) > 0.9


def test_a_correction_is_learnt_in_a_pause_and_a_reset_forgets_it() -> None:
    mapper = mapped()
    mapper.pause()
    mapper.start()
    try:
        before = mapper.status().steps
        mapper.annotate("door", Point(RED))
        fresh = mapper.live_map.corrections
        while fresh.are_fresh(mapper.live_map.trainer.rays):
            time.sleep(0.01)
        assert mapper.status().steps > before + 100 and mapper.status().state == "paused"
    finally:
        mapper.stop()
    assert names_seen(mapper, wall())[0].get("door", 0) > 0.9
    mapper.reset()
    assert not mapper.annotations() and "door" in mapper.label_names().values()
    with pytest.raises(ValueError, match="no frame yet"):
        mapper.annotate("door", Point(RED))


def test_targets_that_mean_nothing() -> None:
    mapper = mapped()
    for target, expected in (
        (Point(RED - 3), "surface of the map"),
        (Pixel(70, 3), "64 x 48"),
        (Pixel(3, 3, stamp_ns=10**12), "stamp of a frame"),
        (Box(make_transform(np.eye(3), RED - 3), np.ones(3)), "surface in it"),
        (Labels(np.full((48, 64), 2, np.int32), {4: "mug"}), "label image with classes"),
    ):
        with pytest.raises(ValueError, match=expected):
            mapper.annotate("mug", target)
    assert not mapper.annotations() and "mug" not in mapper.label_names().values()
