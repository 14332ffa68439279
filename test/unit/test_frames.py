"""What a frame accepts and what it makes of invalid depth."""

import numpy as np
import pytest

from semantic_field.frames import Frame, split_void
from semantic_field.geometry import Camera

CAMERA = Camera(20.0, 20.0, 3.5, 2.5, 8, 6)


def make_frame(**changes) -> Frame:
    values = {
        "stamp_ns": 1,
        "color": np.zeros((6, 8, 3), np.uint8),
        "depth": np.ones((6, 8), np.float32),
        "camera": CAMERA,
        "T_world_camera": np.eye(4),
    }
    return Frame(**(values | changes))


def test_invalid_depth_becomes_zero():
    depth = np.ones((6, 8), np.float32)
    depth[0, :4] = [np.nan, np.inf, -np.inf, -1.0]
    frame = make_frame(depth=depth)
    np.testing.assert_array_equal(frame.depth[0], [0, 0, 0, 0, 1, 1, 1, 1])
    assert np.isnan(depth[0, 0])  # the caller's array is left as it was


@pytest.mark.parametrize(
    "changes",
    [
        {"color": np.zeros((6, 8), np.uint8)},
        {"color": np.zeros((6, 8, 3), np.float32)},
        {"depth": np.ones((5, 8), np.float32)},
        {"labels": np.zeros((6, 7), np.int32)},
        {"T_world_camera": np.zeros((4, 4))},
    ],
)
def test_what_does_not_fit_is_refused(changes):
    with pytest.raises(ValueError, match="expected"):
        make_frame(**changes)


def test_resized_takes_nearest_labels_and_depth():
    labels = np.zeros((6, 8), np.int32)
    labels[:, 4:] = 7
    depth = np.where(labels == 7, 3.0, 1.0).astype(np.float32)
    small = make_frame(labels=labels, depth=depth, camera_id=2).resized(4, 3)
    assert small.labels is not None
    np.testing.assert_array_equal(small.labels[0], [0, 0, 7, 7])
    assert set(np.unique(small.depth)) == {1.0, 3.0}
    assert (small.camera.width, small.camera.height) == (4, 3)
    assert small.color.shape == (3, 4, 3) and small.camera_id == 2


def test_only_wider_frames_are_made_smaller():
    frame = make_frame()
    assert frame.no_wider_than(8) is frame
    narrow = frame.no_wider_than(3).camera
    assert (narrow.width, narrow.height) == (3, 2)  # 6 * 3 / 8 = 2.25
    assert frame.no_wider_than(1).camera.height == 1


def test_void_names_are_told_from_classes():
    names, void = split_void({0: "void", 1: "chair", 2: "Unlabelled ", 3: "background"})
    assert names == {1: "chair", 3: "background"}
    assert void == {0, 2}
