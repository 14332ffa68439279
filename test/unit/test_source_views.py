"""Views made of keyframes: which see a point, which are chosen, and how they are blended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from semantic_field.field.rays.keyframe_arrays import KeyframeCameras, KeyframeImages
from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED, MASKED
from semantic_field.field.views.agreement import exposures_between, trust_by_distance
from semantic_field.field.views.asking import LABEL, ask_all
from semantic_field.field.views.blended_view import blended, filled
from semantic_field.field.views.facing import facing
from semantic_field.field.views.rendering import RenderedView
from semantic_field.field.views.seeing import lenses_of
from semantic_field.field.views.silhouettes import discontinuities
from semantic_field.field.views.source_views import SourceViews, Target
from semantic_field.geometry import Camera, invert_transform, look_at, make_transform

CAMERA = Camera(60.0, 60.0, 39.5, 29.5, 80, 60)
WALL_M, BOX_M = 3.0, 2.0  # z of a wall and of a box before it
BOX = (-0.4, 0.4)  # the box's extent in x and in y
IDS = np.array([10, 20, 30], np.int32)
Pattern = Callable[[NDArray, NDArray], NDArray]


def at(x: float, y: float = 0.0, z: float = 0.0) -> NDArray[np.float64]:
    return make_transform(np.eye(3), [x, y, z])


def pattern(x: NDArray, y: NDArray) -> NDArray[np.float32]:
    """A smooth colour (..., 3) of each point of the scene, without symmetry."""
    return np.stack(
        [120 + 60 * np.sin(2 * x + y), 100 + 30 * x, 90 + 40 * y * np.cos(x)], -1
    ).astype(np.float32)


def scene(
    T: NDArray[np.float64], box: bool = True, camera: Camera = CAMERA
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Colour, depth, label row and normal images of a wall (row 0) and a box before it (row 1).

    Axes are OpenCV's: the camera looks along z.
    """
    rays = camera.rays().reshape(-1, 3) @ T[:3, :3].T
    origin = T[:3, 3]
    hit = origin + (WALL_M - origin[2]) / rays[:, 2:] * rays
    row = np.zeros(len(rays), np.int16)
    if box:
        front = origin + (BOX_M - origin[2]) / rays[:, 2:] * rays
        on = ((front[:, :2] > BOX[0]) & (front[:, :2] < BOX[1])).all(1)
        hit[on], row[on] = front[on], 1
    color = np.clip(pattern(hit[:, 0], hit[:, 1]) + 20 * row[:, None], 0, 255)
    depth = ((hit - origin) @ T[:3, 2]).astype(np.float32)
    normal = np.tile(np.array([0, 0, -1], np.float32), (len(rays), 1))
    shape = camera.height, camera.width
    return (
        np.rint(color).astype(np.uint8).reshape(*shape, 3),
        depth.reshape(shape),
        row.reshape(shape),
        normal.reshape(*shape, 3),
    )


def sources(poses: list[NDArray[np.float64]], box: bool = True) -> SourceViews:
    """Keyframes that photograph the scene at some poses."""
    images = [scene(T, box) for T in poses]
    n = CAMERA.width * CAMERA.height
    return SourceViews(
        images=KeyframeImages(
            np.stack([color.reshape(n, 3) for color, *_ in images]),
            np.stack([np.rint(d.reshape(n) / DEPTH_UNIT_M) for _, d, *_ in images]).astype("u2"),
            np.stack([row.reshape(n) for _, _, row, _ in images]),
        ),
        cameras=KeyframeCameras(
            np.tile(CAMERA.intrinsics.astype(np.float32), (len(poses), 1)),
            np.stack(poses).astype(np.float32),
            np.tile([CAMERA.width, CAMERA.height], (len(poses), 1)),
        ),
        exposures=np.tile([1.0, 0.0], (len(poses), 3, 1)),
        stamps_ns=np.arange(len(poses)),
        class_ids=IDS,
    )


def field_view(T: NDArray[np.float64], box: bool = True) -> tuple[RenderedView, Target]:
    """What a field with the right surface, but grey and called 30, shows at a pose."""
    _, depth, _, normal = scene(T, box)
    view = RenderedView(
        color=np.full((*depth.shape, 3), 128, np.uint8),
        depth=depth,
        normal=normal,
        label=np.full(depth.shape, 30, np.int32),
        confidence=np.ones_like(depth),
    )
    return view, Target(CAMERA, T, depth, normal)


def ask(
    views: SourceViews, T: NDArray, points: NDArray, doubted: float = 0.0
) -> tuple[NDArray, NDArray, NDArray]:
    """Weights of colour and label, and weights of looking through, of points (N, 3)."""
    n, K = len(points), len(views)
    points = ((points - T[:3, 3]) @ T[:3, :3]).astype(np.float32).T.copy()
    normal = np.tile((T[:3, :3].T @ [0, 0, -1.0])[:, None], n).astype(np.float32)
    found, answers = np.empty((K, 6, n), np.float32), np.empty((4, K, n), np.float32)
    ask_all(
        *points, normal, lenses_of(views.cameras, T), *views.images[1:], np.float32(CAMERA.fx),
        np.float32(doubted), found, *answers,
    )  # fmt: skip
    return answers[0], answers[1], answers[2]


# seeing


def test_a_point_projects_as_the_cameras_say() -> None:
    T = look_at([0.5, 0.2, -0.3], [0, 0, 3], up=(0, -1, 0))
    points = np.array([[0.3, -0.2, 3.0], [-0.5, 0.4, 2.5]])
    views = sources([at(0.1), T])
    lenses = lenses_of(views.cameras, at(0.7))
    for k, pose in enumerate((at(0.1), T)):
        seen = (points - pose[:3, 3]) @ pose[:3, :3]
        pixel, z = CAMERA.project(seen)
        found = np.column_stack([points - [0.7, 0, 0], np.ones(2)]) @ lenses.matrix[k].T
        np.testing.assert_allclose(found[:, 2], z, rtol=1e-5)
        np.testing.assert_allclose(found[:, :2] / found[:, 2:], pixel, rtol=1e-4)


@pytest.mark.parametrize(
    ("what", "sees"),
    [
        ("wall beside the box", True),
        ("wall behind the box", False),
        ("air before the wall", False),
        ("outside the image", False),
        ("behind the camera", False),
        ("masked", False),
        ("depth filled in", True),
        ("nearer reading within the noise", True),
    ],
)
def test_what_a_keyframe_sees(what: str, sees: bool) -> None:
    views = sources([at(0.0)])
    point = {
        "wall behind the box": [0.3, 0.0, WALL_M],
        "air before the wall": [1.2, 0.0, 2.4],
        "outside the image": [4.0, 0.0, WALL_M],
        "behind the camera": [0.0, 0.0, -1.0],
    }.get(what, [1.2, 0.0, WALL_M])
    if what == "masked":
        views.images.labels[:] = MASKED
    if what == "depth filled in":
        views.images.depths[:] |= GUESSED
    if what == "nearer reading within the noise":
        views.images.depths[:] = np.rint((WALL_M - 0.03) / DEPTH_UNIT_M)
    color, label, past = ask(views, at(0.05), np.array([point]))
    assert (color[0, 0] > 0) == (label[0, 0] > 0) == sees
    assert (past[0, 0] > 0) == (what == "air before the wall")


def test_readings_that_differ_somewhat_paint_but_do_not_judge() -> None:
    """At 3 m the tolerance is 1 cm + 1.5 % = 5.5 cm: readings 8 cm off are doubted, 12 cm not."""
    points = np.array([[1.2, 0.0, WALL_M]])
    views = sources([at(0.0)])
    plain, plain_label, _ = ask(views, at(0.0), points)
    for off_m, weight, is_past in ((0.08, 0.1, False), (-0.08, 0.1, False), (0.12, 0.0, True)):
        views.images.depths[:] = np.rint((WALL_M + off_m) / DEPTH_UNIT_M)
        color, label, past = ask(views, at(0.0), points, doubted=0.1)
        assert color[0, 0] == pytest.approx(weight * plain[0, 0])
        assert label[0, 0] == pytest.approx(weight * plain_label[0, 0])
        assert (past[0, 0] > 0) == is_past
        color, label, past = ask(views, at(0.0), points)
        assert color[0, 0] == label[0, 0] == 0 and (past[0, 0] > 0) == (off_m > 0)


def test_pixels_without_reading_weigh_less_beside_something_nearer() -> None:
    """The filled-in depth is that of the nearest reading: 6 tolerances at 3 m are 33 cm."""
    points = np.array([[1.2, 0.0, WALL_M]])
    views = sources([at(0.0)])
    _, plain, _ = ask(views, at(0.0), points)
    for guess_m, weight in ((WALL_M, 0.5), (WALL_M - 0.3, 0.5), (BOX_M, 0.1), (WALL_M + 1, 0.5)):
        views.images.depths[:] = np.uint16(np.rint(guess_m / DEPTH_UNIT_M)) | GUESSED
        assert ask(views, at(0.0), points)[1][0, 0] == pytest.approx(weight * plain[0, 0])
    views.images.depths[:] = 0  # no reading in the whole image
    assert ask(views, at(0.0), points)[1][0, 0] == pytest.approx(0.5 * plain[0, 0])


def test_a_surface_seen_from_behind_is_not_seen() -> None:
    behind = look_at([1.2, 0.0, 2 * WALL_M], [1.2, 0, WALL_M], up=(0, -1, 0))
    views = sources([at(0.0)])
    views.cameras.poses[0] = behind
    assert ask(views, at(0.0), np.array([[1.2, 0.0, WALL_M]]))[1][0, 0] == 0


def test_near_directions_and_image_centres_weigh_more() -> None:
    views = sources([at(0.0), at(0.1), at(0.6)], box=False)
    color, label, _ = ask(views, at(0.0), np.array([[0.0, 0.0, WALL_M]]))
    assert color[0, 0] > color[1, 0] > color[2, 0] > 0
    assert label[2, 0] / label[0, 0] > color[2, 0] / color[0, 0]  # labels bear more angle
    edge = (CAMERA.width - 1 - CAMERA.cx) / CAMERA.fx * WALL_M
    assert ask(views, at(0.0), np.array([[edge, 0.0, WALL_M]]))[0][0, 0] < 0.3 * color[0, 0]


def test_exports_weigh_an_images_border_as_views_do() -> None:
    views = sources([at(0.0)], box=False)
    columns = np.array([CAMERA.width - 4, CAMERA.width - 1])
    points = CAMERA.lift(columns, np.full(2, 30), np.full(2, WALL_M)).astype(np.float32)
    normals = np.tile(np.array([0, 0, -1], np.float32), (2, 1))
    found = np.empty((6, 2), np.float32)
    facing(points, normals, np.float32(0.01), lenses_of(views.cameras, np.eye(4)), 0, found)
    inside, at_border = found[LABEL]
    assert 0.2 * inside < at_border < 0.3 * inside  # half a pixel of the two that are a full weight


# choosing


def test_the_choice_is_the_best_by_brute_force() -> None:
    poses = [at(x) for x in (-2.4, -1.2, -1.1, 0.0, 0.1, 1.2, 2.4)]
    views, (_, target) = sources(poses, box=False), field_view(at(0.05), box=False)
    chosen = views.choose(target, 2)
    points, _ = target.points(9, 12)
    world = points.T + [0.05, 0, 0]
    color, label, _ = ask(views, at(0.05), world)
    near = 0.1 / (0.1 + np.abs([T[0, 3] - 0.05 for T in poses]))
    cover = (color + 0.1 * label) * near[:, None]
    cover /= np.maximum(cover.max(0), 1e-12)

    def value(slots: tuple[int, ...]) -> float:
        total = cover[list(slots)].sum(0)
        return float((1 / 0.5 - 1 / (total + 0.5)).sum())

    best = max(combinations(range(len(poses)), 2), key=value)
    assert value(tuple(chosen)) >= 0.99 * value(best)
    assert set(chosen) <= {3, 4}


def test_every_part_of_a_view_is_covered() -> None:
    """Ten keyframes of the middle do not displace the only one that shows the left."""
    poses = [at(0.01 * i) for i in range(10)] + [at(-1.5)]
    views = sources(poses, box=False)
    _, target = field_view(at(-0.7), box=False)
    assert 10 in views.choose(target, 3)


def test_keyframes_that_see_nothing_are_not_chosen() -> None:
    away = look_at([0, 0, 0], [0, 0, -3], up=(0, -1, 0))
    views = sources([at(0.0)], box=False)
    _, target = field_view(at(0.0), box=False)
    views.cameras.poses[0] = away
    assert len(views.choose(target)) == 0
    assert len(sources([at(0.0)]).choose(field_view(at(0.0))[1])) == 1


def test_recent_and_evenly_exposed_keyframes_come_first() -> None:
    views = sources([at(0.0), at(0.0)], box=False)
    _, target = field_view(at(0.0), box=False)
    old = replace(views, stamps_ns=np.array([0, 3_600_000_000_000]))
    assert old.choose(target, 1).tolist() == [1]
    views.exposures[0, :, 0] = 2.5
    assert views.choose(target, 1).tolist() == [1]


def test_labelled_keyframes_are_added_where_few_are_labelled() -> None:
    poses = [at(0.05 * i) for i in range(8)] + [at(-0.5), at(0.8)]
    views, (_, target) = sources(poses, box=False), field_view(at(0.1), box=False)
    assert len(views.choose(target, 3)) == 3  # all are labelled
    views.images.labels[:8] = -1
    chosen = views.choose(target, 3)
    assert len(chosen) == 5 and set(chosen[3:]) == {8, 9}
    views.images.labels[:] = -1
    assert len(views.choose(target, 3)) == 3


# blending


def test_a_view_off_the_path_shows_what_photographs_show() -> None:
    T = at(0.13, 0.05)
    views = sources([at(0.0), at(0.3), at(0.1, 0.2), at(0.2, -0.1)])
    view, target = field_view(T)
    got = blended(view, target, views, threads=2)
    color, depth, row, _ = scene(T)
    inner = np.s_[4:-4, 4:-4]
    edges = np.zeros(depth.size, bool)
    edges[discontinuities(depth)] = True
    plain = ~edges.reshape(depth.shape)[inner]
    error = np.abs(got.color.astype(int) - color)[inner].max(-1)
    assert np.quantile(error[plain], 0.99) <= 4
    assert (got.label == IDS[row])[inner][plain].all()
    assert np.abs(got.depth - depth)[inner][plain].max() < 2 * DEPTH_UNIT_M
    assert got.confidence[inner][plain].min() > 0.7


def test_threads_do_not_change_a_view() -> None:
    view, target = field_view(at(0.1))
    views = sources([at(0.0), at(0.3)])
    one, two = (blended(view, target, views, threads) for threads in (1, 2))
    assert np.array_equal(one.color, two.color) and np.array_equal(one.depth, two.depth)


def test_readings_correct_the_depth_of_the_field() -> None:
    view, target = field_view(at(0.1), box=False)
    off = replace(target, depth=target.depth + np.float32(0.02))
    got = blended(replace(view, depth=off.depth), off, sources([at(0.0), at(0.2)], False), 1)
    assert np.abs(got.depth - target.depth)[10:-10, 10:-10].mean() < 0.006


@pytest.mark.parametrize("pixels", [2, -2])
def test_silhouettes_are_put_where_keyframes_see_them(pixels: int) -> None:
    """The field's box is too thick or too thin by two pixels on each side."""
    T = at(0.05)
    view, target = field_view(T)
    _, depth, row, _ = scene(T)
    box = row == 1
    columns, rows = np.flatnonzero(box.any(0)), np.flatnonzero(box.any(1))
    wrong = np.zeros_like(box)
    span = [slice(i[0] - pixels, i[-1] + 1 + pixels) for i in (rows, columns)]
    wrong[tuple(span)] = True
    fat = np.where(wrong, BOX_M, WALL_M).astype(np.float32)
    got = blended(
        replace(view, depth=fat),
        replace(target, depth=fat),
        sources([at(0.0), at(0.1), at(0.0, 0.1), at(0.1, -0.1)]),
        1,
    )
    before = np.abs(fat - depth) > 0.05
    after = np.abs(got.depth - depth) > 0.05
    assert after.sum() < 0.25 * before.sum()
    assert (got.label != IDS[row]).sum() < 0.25 * before.sum()


def test_where_no_keyframe_sees_the_field_answers() -> None:
    view, target = field_view(at(0.0), box=False)
    views = sources([at(2.6)], box=False)  # sees the right half only
    got = blended(view, target, views, 1)
    assert (got.color[:, :20] == 128).all() and (got.label[:, :20] == 30).all()
    assert (got.label[10:-10, 60:-5] == 10).all()
    step = np.abs(np.diff(got.color[30].astype(int), axis=0)).max()
    truth = np.abs(scene(at(0.0), False)[0][30].astype(int) - 128).max()
    assert step < 0.5 * truth  # blended in without an edge


def test_the_confidence_is_the_fields_where_no_keyframe_sees() -> None:
    view, target = field_view(at(0.0), box=False)
    confidence = np.full_like(view.confidence, 0.25)
    confidence[:, :10] = 0  # a surface that was only filled in
    got = blended(replace(view, confidence=confidence), target, sources([at(2.6)], False), 1)
    assert not got.confidence[:, :10].any() and (got.confidence[:, 10:20] == 0.25).all()
    assert got.confidence[20:40, 65:75].min() > 0.3


def test_what_shows_nothing_is_filled_with_colour_only() -> None:
    view, target = field_view(at(0.0), box=False)
    nothing = target.depth.copy()
    nothing[20:30, 30:40] = 0
    label = np.where(nothing > 0, view.label, -1).astype(np.int32)
    confidence = (nothing > 0).astype(np.float32)
    hole = replace(view, depth=nothing, label=label, confidence=confidence)
    views = sources([at(0.0)], box=False)
    views.images.depths[:] |= GUESSED  # nobody has read a depth there either
    got = blended(hole, replace(target, depth=nothing), views, 1)
    inner = np.s_[24:26, 34:36]
    assert not got.depth[inner].any() and not got.confidence[inner].any()
    assert (got.label[inner] == -1).all() and (got.color[inner] > 0).any()


def test_void_labels_do_not_vote() -> None:
    view, target = field_view(at(0.0), box=False)
    views = sources([at(0.0), at(0.05), at(-0.05)], box=False)
    views.images.labels[:2] = -1
    got = blended(view, target, views, 1)
    assert (got.label[10:-10, 10:-10] == 10).all()
    views.images.labels[:] = -1
    assert (blended(view, target, views, 1).label == 30).all()


def test_the_majority_of_labels_wins_and_doubt_lowers_confidence() -> None:
    view, target = field_view(at(0.0), box=False)
    views = sources([at(0.0), at(0.04), at(-0.04)], box=False)
    sure = blended(view, target, views, 1)
    views.images.labels[0] = 1
    got = blended(view, target, views, 1)
    inner = np.s_[10:-10, 10:-10]
    assert (got.label[inner] == 10).all()
    assert got.confidence[inner].max() < sure.confidence[inner].min() - 0.1


def test_learnt_exposures_are_undone_or_made_those_of_the_nearest_keyframe() -> None:
    views = sources([at(0.0), at(0.6)], box=False)
    views.images.colors[1] = np.rint(0.5 * views.images.colors[1])
    views.exposures[1, :, 0] = 0.5
    view, target = field_view(at(0.6), box=False)
    truth = scene(at(0.6), False)[0].astype(float)
    inner = np.s_[10:-10, 10:-10]
    for in_map, expected in ((True, truth), (False, 0.5 * truth)):
        wanted = replace(target, in_map_exposure=in_map)
        got = blended(view, wanted, views, 1).color
        assert np.abs(got - expected)[inner].mean() < 3


# agreement


def test_exposures_that_differ_are_made_equal() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(30, 180, (1, 400, 3))
    gain, bias = np.array([1.0, 1.3, 0.8])[:, None, None], np.array([0, 10.0, -6])[:, None, None]
    colors = (gain * truth + bias).astype(np.float32)
    seen = np.ones((3, 400), bool)
    found = exposures_between(colors, seen, np.array([0.01, 1.0, 1.0]))
    made = found[:, None, :, 0] * colors + found[:, None, :, 1]
    assert np.abs(colors[1] - colors[0]).mean() > 25
    assert np.abs(made[1:] - made[0]).mean() < 5
    assert np.abs(made[0] - truth).mean() < 3  # the near one's exposure is kept


def test_photographs_that_agree_keep_their_exposure() -> None:
    colors = np.random.default_rng(0).uniform(0, 255, (1, 300, 3)).repeat(4, 0).astype(np.float32)
    found = exposures_between(colors, np.ones((4, 300), bool), np.array([0.1, 0.5, 1, 2]))
    np.testing.assert_allclose(found[..., 0], 1, atol=1e-5)
    np.testing.assert_allclose(found[..., 1], 0, atol=1e-3)
    nothing = exposures_between(colors, np.zeros((4, 300), bool), np.arange(4.0))
    np.testing.assert_allclose(nothing[..., 0], 1, atol=1e-5)


def test_far_views_are_trusted_less_only_where_photographs_disagree_with_distance() -> None:
    rng, x = np.random.default_rng(0), np.array([0.0, 0.1, 0.4, 0.8])
    apart = np.abs(x[:, None] - x[None])
    base = rng.uniform(60, 200, (1, 500, 3))
    seen = np.ones((4, 500), bool)
    drift = base + 30 * x[:, None, None] * rng.normal(size=(1, 500, 3))
    trust = trust_by_distance(drift.astype(np.float32), seen, apart, x)
    assert trust[0] == 1 and (np.diff(trust) < 0).all() and trust[3] < 0.3
    even = base + rng.normal(0, 5, (4, 500, 3))
    assert trust_by_distance(even.astype(np.float32), seen, apart, x).min() > 0.8


def test_unknown_pixels_are_filled_from_the_nearest() -> None:
    image = np.arange(24).reshape(4, 6)
    known = np.zeros((4, 6), bool)
    known[0, 0] = known[3, 5] = True
    got = filled(image, known)
    rows, columns = np.mgrid[:4, :6]
    near = np.hypot(rows, columns) < np.hypot(rows - 3, columns - 5)
    far = np.hypot(rows, columns) > np.hypot(rows - 3, columns - 5)
    assert (got[near] == 0).all() and (got[far] == 23).all()
    assert filled(image, np.ones_like(known)) is image
    assert filled(image, np.zeros_like(known)) is image


def test_a_moved_camera_sees_the_scene_shifted_by_its_disparity() -> None:
    """The scene of these tests is itself right: a guard against mirrored axes."""
    color, depth, _, _ = scene(at(0.5), box=False)
    shift = round(0.5 * CAMERA.fx / WALL_M)
    np.testing.assert_array_equal(color[:, :-shift], scene(at(0.0), box=False)[0][:, shift:])
    assert np.allclose(invert_transform(at(0.5)) @ at(0.5), np.eye(4)) and (depth == WALL_M).all()
