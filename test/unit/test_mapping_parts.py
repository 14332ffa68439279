"""Keyframes, class rows, the language basis and the lock, each by itself."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from semantic_field.field.map_state import LanguageSpace
from semantic_field.field.rays.keyframe_arrays import KeyframeCameras, KeyframeImages
from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED, draw_rays
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, look_at, make_transform, transform_points
from semantic_field.mapping.checkpoint import KeyframePacker
from semantic_field.mapping.keyframes.depth_packing import pack_depth
from semantic_field.mapping.keyframes.store import BYTES_PER_PIXEL, KeyframeStore
from semantic_field.mapping.labels.classes import ClassTable
from semantic_field.mapping.language.basis import LanguageBasis
from semantic_field.mapping.turns import Turns

CAMERA = Camera.from_field_of_view(40, 30, 1.0)


def frame_at(x: float, depth_m: float = 2.0, camera: Camera = CAMERA, color: int = 100) -> Frame:
    size = (camera.height, camera.width)
    pose = make_transform(np.eye(3), [x, 0, 0])
    depth = np.full(size, depth_m, np.float32)
    return Frame(int(x * 1000), np.full((*size, 3), color, np.uint8), depth, camera, pose)


def store_of(slots: int) -> KeyframeStore:
    store = KeyframeStore(40, 30, 1, (0.1, 10.0))
    assert store.capacity == (1 << 20) // (40 * 30 * BYTES_PER_PIXEL)
    for image in (*store.images, *store.cameras):
        assert len(image) == store.capacity
    store.images = KeyframeImages(*(i[:slots] for i in store.images))
    store.cameras = KeyframeCameras(*(c[:slots] for c in store.cameras))
    store.visits, store.stamps_ns = store.visits[:slots], store.stamps_ns[:slots]
    store.slots_changed()
    return store


def test_full_store_gives_up_the_most_redundant_view() -> None:
    store = store_of(4)
    for x in (0.0, 5.0, 5.1, 9.0):
        store.add(frame_at(x), None)
    store.add(frame_at(20.0), None)
    kept = sorted(store.cameras.poses[:, 0, 3].astype(float).round(2).tolist())
    assert kept in ([0.0, 5.0, 9.0, 20.0], [0.0, 5.1, 9.0, 20.0])
    assert (store.count, store.replaced) == (4, 1)


def test_long_stream_stays_within_its_budget_and_covers_everything() -> None:
    """Rounds through a corridor of 40 m with a budget for 109 views: none of it is forgotten."""
    store = KeyframeStore(40, 30, 1, (0.1, 10.0))
    reserved = [array.nbytes for array in store.images]
    assert sum(reserved) <= 1 << 20
    random = np.random.default_rng(0)
    for step in range(3000):
        frame = frame_at(abs((step * 0.11) % 80 - 40) + random.normal(0, 0.02))
        if store.is_new_view(frame.T_world_camera, 0.05, 0.1):
            store.add(frame, None)
    assert [array.nbytes for array in store.images] == reserved
    assert store.count == store.capacity == 109 and store.replaced > 500
    assert store.memory_bytes() <= 1 << 20
    places = np.sort(store.cameras.poses[:, 0, 3])
    assert places[0] < 0.5 and places[-1] > 39.5
    assert np.diff(places).max() < 1.5  # 0.32 where all views were evenly spread


def test_neighbours_are_kept_up_to_date() -> None:
    store = KeyframeStore(40, 30, 1, (0.1, 10.0))
    random = np.random.default_rng(1)
    for step in range(300):
        store.add(frame_at(float(random.uniform(0, 9))), None)
        if step % 7 == 0 and store.count > 2:
            store.remove(int(random.integers(store.count)))
        n = store.count
        places = store.cameras.poses[:n, 0, 3].astype(float)
        apart = np.abs(places[:, None] - places[None])
        np.fill_diagonal(apart, np.inf)
        np.testing.assert_allclose(store.views.nearest[:n], apart.min(1), atol=1e-3)


def test_only_changed_keyframes_are_packed_again() -> None:
    store, packer = store_of(3), KeyframePacker()
    for x in (0.0, 5.0, 5.1):
        store.add(frame_at(x), np.full((30, 40), int(x), np.int16))

    def pack_all() -> int:
        packed = 0
        while (missing := packer.next_missing(store)) is not None:
            packer.pack(missing)
            packed += 1
        return packed

    assert pack_all() == 3
    store.add(frame_at(9.0), None)  # takes the place of one of the two neighbours
    assert pack_all() == 1
    store.remove(0)
    assert pack_all() == 0
    arrays = packer.arrays(store)
    assert len(arrays["keyframes.color.ends"]) == store.count == 2
    assert packer.next_missing(None) is None


def test_new_views() -> None:
    store = store_of(4)
    assert store.is_new_view(np.eye(4), 0.1, 0.1)
    store.add(frame_at(0.0), None)
    assert not store.is_new_view(make_transform(np.eye(3), [0.05, 0, 0]), 0.1, 0.1)
    assert store.is_new_view(make_transform(np.eye(3), [0.15, 0, 0]), 0.1, 0.1)
    turned = np.array([[0, 0, 1.0], [0, 1, 0], [-1, 0, 0]])
    assert store.is_new_view(make_transform(turned, [0, 0, 0]), 0.1, 0.1)


def test_holes_take_the_nearest_depth_and_are_marked() -> None:
    depth = np.array([[1.0, 0.0, 0.0, 3.0, 99.0]], np.float32)
    packed = pack_depth(depth, (0.1, 10.0))
    one, three = round(1 / DEPTH_UNIT_M), round(3 / DEPTH_UNIT_M)
    assert packed.tolist() == [
        [one, one | GUESSED, three | GUESSED, three, three | GUESSED],
    ]
    assert not pack_depth(np.zeros((2, 2), np.float32), (0.1, 10.0)).any()


def test_larger_frames_are_made_to_fit() -> None:
    store = store_of(2)
    large = Camera.from_field_of_view(80, 60, 1.0)
    slot = store.add(frame_at(0.0, camera=large), np.full((60, 80), 3, np.int16))
    assert store.cameras.sizes[slot].tolist() == [40, 30]
    assert (store.images.labels[slot] == 3).all()
    points, along, guessed = store.surface(slot, 2, 0.5)
    np.testing.assert_allclose(points[:, 2], 2.0, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(along, axis=1), 1.0, atol=1e-5)
    assert not guessed.any()


def test_surface_of_a_keyframe_is_its_depth_image_in_the_map() -> None:
    random = np.random.default_rng(0)
    depth = random.uniform(1.0, 3.0, (30, 40)).astype(np.float32)
    depth[4, 6], depth[10, 11] = 0.0, 50.0
    pose = look_at([0.4, -0.3, 1.0], [2.0, 1.0, 0.2], up=[0, 0, 1])
    store = store_of(1)
    store.add(Frame(0, np.zeros((30, 40, 3), np.uint8), depth, CAMERA, pose), None)
    points, along, guessed = store.surface(0, 2, spacing_m=0.3)
    assert len(points) == 15 * 20
    usable = (depth >= 0.1) & (depth <= 10.0)
    expected = transform_points(pose, CAMERA.backproject(depth)[:-1:2, :-1:2].reshape(-1, 3))
    read = usable[:-1:2, :-1:2].reshape(-1)
    np.testing.assert_allclose(points[read], expected[read], atol=3 * DEPTH_UNIT_M)
    np.testing.assert_array_equal(guessed, ~read)
    rays = points - pose[:3, 3]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    np.testing.assert_allclose(along, rays, atol=1e-5)
    coarse_pixels, _, _ = store.surface(0, 2, spacing_m=0.02)  # 5 cm apart at 2 m: finer steps
    assert len(coarse_pixels) > 4 * 30 * 40


def test_pixels_without_depth_are_no_surface() -> None:
    store = store_of(1)
    store.add(frame_at(0.0, depth_m=20.0), None)  # beyond the range: nothing to guess from
    points, along, guessed = store.surface(0, 2, 0.5)
    assert points.shape == along.shape == (0, 3) and guessed.shape == (0,)


def test_rays_of_a_keyframe() -> None:
    store = store_of(2)
    store.add(frame_at(1.0, depth_m=2.0, color=51), np.full((30, 40), 4, np.int16))
    occupied = VoxelGrid(0.1)
    occupied.insert(np.array([[1.0, 0.0, 1.05]], np.float32))
    slots = np.zeros(500, np.int64)
    rays = draw_rays(
        store.images, store.cameras, slots, occupied, (5, 3), 0.1, 0.2, 0.25, seed=1, threads=2
    )
    assert (rays.near_z.diff(dim=1) > 0).all()
    on_axis = (rays.near_z - 2.0) * rays.stretch[:, None]
    assert on_axis.abs().max() <= 0.1001
    near = rays.points[: 500 * 5].reshape(500, 5, 3)
    np.testing.assert_allclose(near[..., 2], rays.near_z, atol=1e-5)
    u, v = rays.pixel % 40, rays.pixel // 40
    x = 1.0 + (u - CAMERA.cx) / CAMERA.fx * rays.near_z[:, 0]
    np.testing.assert_allclose(near[:, 0, 0], x, atol=1e-4)
    np.testing.assert_allclose(
        near[:, 0, 1], (v - CAMERA.cy) / CAMERA.fy * rays.near_z[:, 0], atol=1e-4
    )
    free = rays.points[500 * 5 :].reshape(500, 3, 3)[..., 2]
    assert free.min() >= 0.2 and free.max() < 2.0
    assert len(np.unique(rays.pixel)) > 300
    np.testing.assert_allclose(rays.color, 0.2)
    assert set(rays.label.tolist()) == {4} and set(rays.trust.tolist()) == {1.0}


def test_free_samples_go_where_surfaces_were_seen() -> None:
    camera = Camera(1e4, 1e4, 19.5, 14.5, 40, 30)  # all rays nearly along the axis
    store = store_of(1)
    store.add(frame_at(0.0, depth_m=3.0, camera=camera), None)
    occupied = VoxelGrid(0.1)
    grid = np.stack(np.meshgrid([-0.05, 0.05], [-0.05, 0.05], [1.05]), -1).reshape(-1, 3)
    occupied.insert(grid.astype(np.float32))
    rays = draw_rays(
        store.images, store.cameras, np.zeros(800, np.int64), occupied, (2, 4), 0.06, 0.1, 0.1, 5
    )
    free = rays.points[800 * 2 :, 2].reshape(800, 4)
    inside = ((free > 0.999) & (free < 1.101)).all(1)
    assert 0.8 < inside.float().mean() < 0.93  # one ray in eight looks everywhere


def test_a_share_of_the_rays_is_drawn_beside_jumps_of_the_depth() -> None:
    store = store_of(2)
    frame = frame_at(0.0, depth_m=3.0)
    frame.depth[:, 20:] = 2.0  # jumps between columns 19 and 20
    store.add(frame, None)
    store.add(frame_at(1.0), None)  # a flat wall has no contours
    columns = store.contours.pixels[0, : store.contours.counts[0]] % 40
    assert set(columns.tolist()) == set(range(17, 23))
    assert store.contours.counts[:2].tolist() == [180, 0]
    slots = np.repeat([0, 1], 2000)
    rays = draw_rays(
        store.images, store.cameras, slots, VoxelGrid(0.1), (2, 1), 0.1, 0.2, 0.1, seed=3,
        contours=store.contours, contour_share=0.5,
    )  # fmt: skip
    beside = np.isin(rays.pixel % 40, range(17, 23)).reshape(2, 2000).mean(1)
    np.testing.assert_allclose(beside, [0.5 + 0.5 * 0.15, 0.15], atol=0.04)


def test_class_rows_are_never_reordered() -> None:
    table = ClassTable()
    table.set_names({0: "void", 9: "chair", 4: "table"})
    assert table.ids == [4, 9]
    assert table.rows(np.array([[9, 0, -1, 4, 30]])).tolist() == [[1, -1, -1, 0, 2]]
    table.set_names({1: "bed"})
    assert table.ids == [4, 9, 30, 1]
    assert table.row_names() == ["table", "chair", "class 30", "bed"]


class AxisTeacher:
    """Embeds a text of digits "0.6 0.8" as that vector, padded to 5 numbers."""

    dim, fingerprint = 5, "axis-1"

    def knows(self, text: str) -> bool:
        return True

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        out = torch.zeros(len(texts), 5)
        for row, text in zip(out, texts, strict=True):
            values = torch.tensor([float(v) for v in text.split()])
            row[: len(values)] = values
        return torch.nn.functional.normalize(out, dim=-1)


def test_a_name_that_the_teacher_does_not_know_means_nothing_and_is_told_once(caplog):
    class Picky(AxisTeacher):
        def knows(self, text):
            return "1" in text

    basis = LanguageBasis(Picky(), 4)
    for _ in range(2):
        latents = basis.latents_of(["1 0", "class 3", ""])
    assert latents[0].norm() == pytest.approx(1.0) and not latents[1:].any() and basis.rank == 1
    assert [record.args for record in caplog.records] == [("class 3",)]


def test_basis_grows_without_turning() -> None:
    basis = LanguageBasis(AxisTeacher(), latent_dim=3)
    first = basis.latents_of(["1", "0.6 0.8"])
    torch.testing.assert_close(first, torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0]]))
    assert basis.rank == 2
    more = basis.latents_of(["1", "0.6 0.8", "0.8 0.6", "0 0 1", "0 0 0 1"])
    torch.testing.assert_close(more[:2], first)
    assert basis.rank == 3  # full: the last name is represented by its projection
    torch.testing.assert_close(more[4], torch.zeros(3))
    torch.testing.assert_close(basis.basis.T @ basis.basis, torch.eye(3))


def test_where_dense_features_are_learnt_names_leave_them_columns() -> None:
    names = ["1", "0 1", "0 0 1", "0 0 0 1"]
    basis = LanguageBasis(AxisTeacher(), 4, text_share=0.75)
    latents = basis.latents_of(names)
    assert basis.rank == 3 and not latents[3].any()
    basis.include_dense(torch.eye(5)[3:], most=8)  # no more names may come: the last one is theirs
    assert basis.rank == 4 and basis.basis[3:, 3].norm() == pytest.approx(1.0)
    early = LanguageBasis(AxisTeacher(), 4, text_share=0.75)
    early.include_dense(torch.eye(5), most=8)
    assert early.rank == 4 and LanguageBasis(AxisTeacher(), 4).latents_of(names)[3].any()


def test_the_columns_for_images_stay_reserved_after_a_resume():
    names = ["1", "0 1", "0 0 1", "0 0 0 1"]
    first = LanguageBasis(AxisTeacher(), 4, text_share=0.75)
    first.latents_of(names[:2])
    again = LanguageBasis(AxisTeacher(), 4, text_share=0.75)
    again.restore(first.space())
    again.latents_of(names)
    assert again.rank == 3  # the fourth one is for what images have beside texts
    older = LanguageBasis(AxisTeacher(), 4, text_share=0.75)
    older.restore(replace(first.space(), text_rank=None))
    older.latents_of(names)
    assert older.rank == 3


def test_similarity_never_decodes_but_is_exact() -> None:
    torch.manual_seed(0)
    columns = torch.linalg.qr(torch.randn(12, 4)).Q
    basis = torch.cat([columns, torch.zeros(12, 2)], dim=1)
    space = LanguageSpace(basis, 0.1 * torch.randn(12), 4, "x")
    latent, text = torch.randn(20, 6), torch.randn(3, 12)
    decoded = latent @ basis.T + space.mean
    expected = torch.nn.functional.cosine_similarity(decoded[:, None], text[None], dim=-1)
    torch.testing.assert_close(space.similarity(latent, text), expected, atol=1e-5, rtol=1e-4)


def test_basis_refuses_another_teacher() -> None:
    basis = LanguageBasis(AxisTeacher(), latent_dim=3)
    space = basis.space()
    other = LanguageSpace(space.basis, space.mean, space.rank, "another")
    with pytest.raises(ValueError, match=r"teacher\.kind"):
        basis.restore(other)


def test_visitors_get_their_turn() -> None:
    turns, stop, rounds, waited = Turns(), threading.Event(), [], []

    def loop() -> None:
        while not stop.is_set():
            with turns.turn():
                rounds.append(1)

    worker = threading.Thread(target=loop)
    worker.start()
    try:
        for _ in range(50):
            asked = len(rounds)
            with turns.visit():
                waited.append(len(rounds) - asked)
                time.sleep(0.003)  # long enough for many rounds
                assert len(rounds) == asked + waited[-1]
    finally:
        stop.set()
        worker.join()
    assert rounds and np.quantile(waited, 0.8) <= 2  # the turn under way, and hardly another
