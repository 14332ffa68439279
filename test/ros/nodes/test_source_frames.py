"""Which frames the inference node keeps, and that a far world is seen like a near one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from semantic_field.config import InferenceConfig
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform, moved
from semantic_field.nodes.predicting.source_frames import SourceFrames, with_labels
from semantic_field.nodes.predicting.view_maker import ViewMaker

CAMERA = Camera.from_field_of_view(64, 48, 1.0)
SECOND = 1_000_000_000


@pytest.fixture
def kept(inference):
    """A memory with the settings given."""

    def make(**settings) -> tuple[SourceFrames, ViewMaker]:
        config = InferenceConfig(**({"views": 1, "image_width": 64} | settings))
        views = ViewMaker(inference.model(), config)
        return SourceFrames(views, config), views

    return make


def frame(time_s: float, x_m: float = 0.0, label: int | None = None, turn: float = 0.0) -> Frame:
    """A frame of a wall 2 m ahead, seen from ``x_m``, turned about the camera's axis."""
    c, s = np.cos(turn), np.sin(turn)
    pose = make_transform([[c, -s, 0], [s, c, 0], [0, 0, 1]], [x_m, 0, 0])
    size = (48, 64)
    labels = None if label is None else np.full(size, label, np.int32)
    stamp = round(time_s * SECOND)
    color, depth = np.full((*size, 3), 100, np.uint8), np.full(size, 2.0, np.float32)
    return Frame(stamp, color, depth, CAMERA, pose, labels)


def test_frames_from_where_one_was_kept_are_not_kept(kept):
    sources, views = kept(frame_translation_m=0.1, frame_rotation_rad=0.2)
    assert sources.take(frame(1))
    assert not sources.take(frame(2, 0.09)) and sources.take(frame(3, 0.11))
    assert not sources.take(frame(4, 0.05))  # near to both
    assert not sources.take(frame(5, turn=0.19)) and sources.take(frame(6, turn=0.21))
    assert [s // SECOND for s in views.stamps_ns] == [1, 3, 6]


def test_until_there_is_a_view_every_frame_is_kept(kept):
    sources, views = kept(views=3)
    assert [sources.take(frame(t)) for t in (1, 2, 3, 4)] == [True, True, True, False]
    assert views.missing == 0


def test_a_frame_with_labels_knows_more_than_one_without(kept):
    sources, _ = kept()
    assert sources.take(frame(1)) and sources.take(frame(2, label=3))
    assert not sources.take(frame(3, label=3)) and sources.labelled_ns == [2 * SECOND]


def test_while_labels_come_only_frames_that_have_some_are_kept(kept):
    sources, _ = kept(label_patience_s=5.0)
    sources.take(frame(1, label=3))
    assert not sources.take(frame(5.9, x_m=1.0)) and sources.take(frame(6.1, x_m=1.0))
    assert sources.take(frame(6.2, x_m=2.0, label=3)) and not sources.take(frame(7, x_m=3.0))


def test_late_labels_go_to_their_frame_whether_it_was_kept_or_not(kept):
    sources, views = kept(late_frames=2)
    for time_s, x_m in ((1, 0.0), (2, 0.01), (3, 1.0)):
        sources.remember(frame(time_s, x_m))
        sources.take(frame(time_s, x_m))
    labels = np.full((96, 128), 7, np.int32)  # of a larger image
    assert not sources.label(1 * SECOND, labels)  # forgotten: only two are remembered
    assert sources.label(2 * SECOND, labels) and sources.label(3 * SECOND, labels)
    assert sorted(sources.labelled_ns) == [2 * SECOND, 3 * SECOND]
    assert (views.render(CAMERA, np.eye(4), 1 * SECOND).label == 7).mean() > 0.9
    with pytest.raises(ValueError, match=r"aspect of a frame of 64x48 pixels, got 64x64"):
        with_labels(frame(1), np.zeros((64, 64), np.int32))


def test_clearing_forgets_frames_and_that_labels_came(kept):
    sources, views = kept()
    sources.take(frame(50, label=3))
    version = sources.version
    sources.clear()
    assert views.frames == 0 and views.missing == 1 and sources.version > version
    assert sources.take(frame(1)) and sources.take(frame(2, x_m=1.0))


def test_a_view_in_utm_coordinates_is_that_near_zero(kept, room):
    """Half a metre is what float32 has left there."""
    _, frames = room
    views = []
    for offset in (np.zeros(3), np.array([448_262.3, 5_411_932.7, 210.0])):
        _, maker = kept(views=3, image_width=160)
        for source in frames[:5]:
            maker.add(replace(source, T_world_camera=moved(source.T_world_camera, offset)))
        target = frames[2]
        pose = moved(target.T_world_camera, offset)
        views.append(maker.render(target.camera, pose, target.stamp_ns))
    near, far = views
    assert (near.label == far.label).mean() > 0.999 and (near.label >= 0).mean() > 0.3
    assert (np.abs(near.depth - far.depth) < 1e-3).mean() > 0.999
