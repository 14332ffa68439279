"""The surface labelled by what all views say of it."""

import threading
import time

import numpy as np
import pytest
import torch

from semantic_field.field.surface.segments import nested_segments
from semantic_field.frames import Frame
from semantic_field.geometry import Camera
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.language import surface_labels
from semantic_field.mapping.language.surface_labels import SurfaceLabels

CAMERA = Camera(40.0, 40.0, 31.5, 23.5, 64, 48)
TEXTS = torch.eye(3)
PATIENCE_S = 60.0
CELL_BYTES = 14 * 4 + 72 + 20  # geometry, views and a latent; numbers, cut, label; chances
LEFT, RIGHT = np.array([[-0.4, 0.0, 2.0]], np.float32), np.array([[0.4, 0.0, 2.0]], np.float32)


def wall_at(column, slot: int) -> np.ndarray:
    """The wall's points (N, 3) at columns of a view, in its middle row."""
    x = (np.atleast_1d(column) - CAMERA.cx) / CAMERA.fx * 2.0 + 0.05 * slot
    return np.stack([x, 0.0 * x, 0.0 * x + 2.0], axis=1).astype(np.float32)


def wall_store(views: int) -> KeyframeStore:
    """A wall at z = 2 m, red on the left of x = 0 and blue on the right, seen from all along it."""
    store = KeyframeStore(64, 48, 16, (0.1, 10.0))
    for number in range(views):
        pose = np.eye(4)
        pose[0, 3] = 0.05 * number
        left = (np.arange(64) - CAMERA.cx) / CAMERA.fx * 2.0 + pose[0, 3] < 0
        color = np.where(left[None, :, None], [200, 30, 30], [30, 30, 200]).astype(np.uint8)
        color = np.broadcast_to(color, (48, 64, 3)).copy()
        store.add(Frame(number, color, np.full((48, 64), 2.0, np.float32), CAMERA, pose), None)
    return store


def said(slot: int, wrong: bool = False, share: float = 1.0):
    """Text 0 on the left half and text 1 on the right; in a view that errs text 2 everywhere."""

    def shown(pixels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        x = (pixels % 64 - CAMERA.cx) / CAMERA.fx * 2.0 + 0.05 * slot
        text = TEXTS[np.full(len(x), 2) if wrong else (x >= 0).astype(int)]
        return share * text, torch.full((len(x),), share)

    return shown


def labels_of(views: int, wrong: tuple[int, ...] = ()):
    store, labels = wall_store(views), SurfaceLabels(1 << 24)
    for slot in range(views):
        labels.add(store, slot, said(slot, slot in wrong))
    return labels


def test_nothing_is_labelled_before_the_first_refresh():
    labels = labels_of(2)
    assert labels.of(LEFT, 3).tolist() == [[0.0] * 3]
    points, chance = labels.draw(5, np.random.default_rng(0), 3)
    assert len(points) == 0 and chance.shape == (0, 3)


def test_views_that_err_are_outvoted_segment_by_segment():
    labels = labels_of(5, wrong=(1, 3))
    labels.refresh(TEXTS)
    places = np.concatenate([LEFT, RIGHT, LEFT + [0, 0, 1.0]]).astype(np.float32)
    chance = labels.of(places, 4)  # the last text is none of those that label
    assert chance[0, 0] > 0.9 and chance[1, 1] > 0.9 and not chance[2].any()
    torch.testing.assert_close(chance[:2].sum(1), torch.ones(2))
    assert not chance[:, 3].any()
    points, drawn = labels.draw(200, np.random.default_rng(0), 4)
    away = np.abs(points[:, 0]) > 0.1
    assert len(points) == 200 and np.abs(points[:, 2] - 2.0).max() < 0.02
    assert (drawn.argmax(1).numpy()[away] == (points[away, 0] > 0)).all()


def test_what_views_hardly_know_hardly_counts():
    store, labels = wall_store(4), SurfaceLabels(1 << 24)
    for slot in range(3):
        labels.add(store, slot, said(slot, wrong=True, share=0.02))
    labels.refresh(TEXTS)
    assert labels.of(LEFT, 3).argmax() == 2
    labels.add(store, 3, said(3))
    labels.refresh(TEXTS)
    assert labels.of(np.concatenate([LEFT, RIGHT]), 3).argmax(1).tolist() == [0, 1]


def test_labelled_frames_are_sampled_as_others_are():
    store, large = KeyframeStore(640, 480, 64, (0.1, 10.0)), Camera(400, 400, 320, 240, 640, 480)
    image, depth = np.zeros((480, 640, 3), np.uint8), np.full((480, 640), 2.0, np.float32)
    looked_at = []

    def shown(pixels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        looked_at.append(pixels)
        return TEXTS[np.zeros(len(pixels), int)], torch.ones(len(pixels))

    for number, rows in enumerate((None, np.ones((480, 640), np.int16))):
        store.add(Frame(number, image, depth, large, np.eye(4)), rows)
        SurfaceLabels(1 << 24).add(store, number, shown)
    assert len(looked_at[0]) == 160 * 120 and np.array_equal(*looked_at)


def test_small_segments_leave_room_for_doubt():
    """A speck of another colour, of which views say something else than of the wall around it."""
    store, labels = KeyframeStore(64, 48, 16, (0.1, 10.0)), SurfaceLabels(1 << 24)
    color, depth = np.full((48, 64, 3), 200, np.uint8), np.full((48, 64), 2.0, np.float32)
    color[20:26, 30:36] = 10
    speck = (color[..., 0] == 10).ravel().astype(int)
    for number in range(6):
        store.add(Frame(number, color, depth, CAMERA, np.eye(4)), None)
        labels.add(store, number, lambda pixels: (TEXTS[speck[pixels]], torch.ones(len(pixels))))
    labels.refresh(TEXTS)
    middle = np.array([[0.05, 0.0, 2.0]], np.float32)
    there, around = labels.of(np.concatenate([middle, LEFT]), 3)
    assert there.argmax() == 1 and 0.5 < there[1] < 0.95
    assert around[0] > 0.98


def test_other_texts_label_the_same_surface():
    labels = labels_of(3)
    labels.refresh(TEXTS)
    labels.clear()
    assert not labels.of(LEFT, 3).any()
    labels.refresh(TEXTS[[1, 0]])
    assert labels.of(np.concatenate([LEFT, RIGHT]), 2).argmax(1).tolist() == [1, 0]
    labels.refresh(TEXTS[:1])  # of one text alone everything is that, or nothing
    assert labels.of(LEFT, 1).tolist() == [[1.0]]


@pytest.fixture
def cuts(monkeypatch) -> list[int]:
    """Of how many cells the surface was, each time that it was cut."""
    sizes = []

    def noted(surface, *rest):
        sizes.append(len(surface))
        return nested_segments(surface, *rest)

    monkeypatch.setattr(surface_labels, "nested_segments", noted)
    return sizes


def until_cut(labels: SurfaceLabels) -> None:
    end = time.monotonic() + PATIENCE_S
    while not labels.ready:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_surface_that_grew_a_little_keeps_its_segments(cuts):
    store, labels = wall_store(12), SurfaceLabels(1 << 24)
    for slot in (0, 1, 2):
        labels.add(store, slot, said(slot))
    labels.refresh(TEXTS)
    for slot in (0, 1, 2):  # the same views once more: no new cells, and other things are said
        labels.add(store, slot, said(slot, wrong=True, share=9.0))
    labels.refresh(TEXTS)
    assert len(cuts) == 1 and labels.of(LEFT, 3).argmax() == 2
    edge = wall_at(CAMERA.width - 2, slot=11)
    assert not labels.of(edge, 3).any()
    for slot in range(3, 12):
        labels.add(store, slot, said(slot))
    labels.refresh(TEXTS)
    assert len(cuts) == 2 and cuts[1] > cuts[0]
    assert labels.of(edge, 3).argmax() == 2  # as the rest of its segment


def test_a_live_map_does_not_wait_for_its_surface_to_be_cut(monkeypatch):
    labels, go_on, cut = labels_of(3), threading.Event(), []

    def held_up(*arguments):
        assert go_on.wait(PATIENCE_S)
        cut.append(arguments)
        return nested_segments(*arguments)

    monkeypatch.setattr(surface_labels, "nested_segments", held_up)
    for _ in range(2):  # it is cut once
        labels.refresh(TEXTS, wait=False)
        assert cut == [] and not labels.ready and not labels.of(LEFT, 3).any()
    go_on.set()
    until_cut(labels)
    assert not labels.of(LEFT, 3).any()
    labels.refresh(TEXTS, wait=False)
    assert labels.of(np.concatenate([LEFT, RIGHT]), 3).argmax(1).tolist() == [0, 1]
    assert not labels.ready and len(cut) == 1  # and nothing is to be cut


def test_cells_that_had_to_go_while_the_surface_is_cut_count_as_unseen(cuts):
    store, labels = wall_store(12), SurfaceLabels(round(3200 * (CELL_BYTES - 20) / 0.9))
    labels.add(store, 0, said(0))
    labels.refresh(TEXTS)
    edge = wall_at(1, slot=0)
    assert labels.of(edge, 3).argmax() == 0
    for slot in range(4, 12):  # what the first view alone has seen gives way
        labels.add(store, slot, said(slot))
    labels.refresh(TEXTS, wait=False)  # by the cut before
    assert labels.of(np.concatenate([edge, RIGHT]), 3).argmax(1).tolist() == [0, 1]
    until_cut(labels)
    labels.refresh(TEXTS, wait=False)
    assert not labels.of(edge, 3).any() and labels.of(RIGHT, 3).argmax() == 1
    assert cuts[1:] == [len(labels)]


def test_where_teachers_said_nothing_there_is_no_label():
    store, labels = wall_store(1), SurfaceLabels(1 << 24)
    labels.add(store, 0, lambda pixels: (torch.zeros(len(pixels), 3), torch.zeros(len(pixels))))
    labels.refresh(TEXTS)
    assert not labels.of(LEFT, 3).any()


def kept_in(thing) -> dict[int, int]:
    """The bytes of all arrays that a thing holds, each once."""
    if isinstance(thing, np.ndarray | torch.Tensor):
        return {id(thing): thing.nbytes}
    if isinstance(thing, list | tuple):
        return {key: size for part in thing for key, size in kept_in(part).items()}
    return kept_in(list(vars(thing).values())) if hasattr(thing, "__dict__") else {}


def test_all_that_is_kept_is_within_its_memory_and_counted():
    waiting = labels_of(2)  # to be joined with the next refresh
    assert waiting.memory_bytes() == sum(kept_in(waiting).values()) > 0
    store, labels = wall_store(30), SurfaceLabels(300_000)
    for slot in range(30):
        labels.add(store, slot, said(slot))
        if slot % 7 == 0:
            labels.refresh(TEXTS)
        assert labels.memory_bytes() == sum(kept_in(labels).values()) <= 300_000
    assert len(labels) > 0.8 * 300_000 / CELL_BYTES  # and of some use


def test_what_was_seen_least_is_left_out_where_memory_ends():
    store, labels = wall_store(12), SurfaceLabels(round(3250.5 * CELL_BYTES / 0.9))
    for slot in (0, 0, 0, 11):
        labels.add(store, slot, said(slot))
    labels.refresh(TEXTS)
    first = labels_of(1)
    first.refresh(TEXTS)
    seen, _ = first.draw(5000, np.random.default_rng(0), 3)
    assert len(first) < len(labels) == 3250 and labels.of(seen, 3).any(1).all()
    assert len(labels.draw(50, np.random.default_rng(0), 3)[0]) == 50
