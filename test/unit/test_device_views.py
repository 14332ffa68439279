"""Keyframes' images on a field's surface in torch against those of the processor, on every device.

The scene: a wall 2 m before the cameras, a box in front of it and a piece without anything, seen
by keyframes with wrong exposures, holes, filled-in depth, masked pixels and void labels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from semantic_field.field.rays.keyframe_arrays import KeyframeCameras, KeyframeImages
from semantic_field.field.rays.sampling import DEPTH_UNIT_M, GUESSED, MASKED
from semantic_field.field.views import device_agreement, device_filling, device_silhouettes
from semantic_field.field.views.agreement import exposures_between, trust_by_distance
from semantic_field.field.views.blended_view import blended, filled
from semantic_field.field.views.device_blending import blended_on_device, pixels_at_once
from semantic_field.field.views.device_pixels import elected
from semantic_field.field.views.device_sources import DeviceSources, DeviceTarget
from semantic_field.field.views.rendering import RenderedView
from semantic_field.field.views.silhouettes import discontinuities
from semantic_field.field.views.source_views import SourceViews, Target
from semantic_field.geometry import Camera, make_transform

GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))
SIZE = (96, 72)
CAMERA = Camera.from_field_of_view(*SIZE, 1.2)
CLASS_IDS = np.array([40, 7, 9], np.int32)  # of the wall, the box and what is void anyway
WALL_M, BOX_M, HALF_M = 2.0, 1.4, 0.25


@pytest.fixture(params=["cpu", GPU])
def device(request) -> torch.device:
    return torch.device(request.param)


def pose(x: float, y: float = 0.0, yaw: float = 0.0, z: float = 0.0) -> np.ndarray:
    c, s = np.cos(yaw), np.sin(yaw)
    return make_transform(np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]), [x, y, z])


def seen(camera: Camera, T_map_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The true depth, points (map) and row of the class of each pixel of a view."""
    rays = camera.rays() @ T_map_camera[:3, :3].T
    origin = T_map_camera[:3, 3]
    depth, row = np.full(rays.shape[:2], np.inf), np.zeros(rays.shape[:2], np.int16)
    for number, plane in ((0, WALL_M), (1, BOX_M)):
        far = (plane - origin[2]) / rays[..., 2]
        points = origin + far[..., None] * rays
        met = (far > 0) & (far < depth)
        if number == 1:
            met &= (np.abs(points[..., :2]) < HALF_M).all(-1)
        else:
            met &= points[..., 0] < 1.1
        depth[met], row[met] = far[met], number
    depth[~np.isfinite(depth)] = 0
    return depth.astype(np.float32), origin + depth[..., None] * rays, row


def colors_at(points: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Smooth colours of the surface, 0..255; other ones on the box."""
    wave = np.stack([np.sin(5 * points[..., 0]), np.cos(4 * points[..., 1]), points[..., 0]], -1)
    return 120 + 55 * wave + 30 * row[..., None]


def sources_of(places: list[np.ndarray], camera: Camera = CAMERA) -> SourceViews:
    """Keyframes at some poses, in slots with more room than their images need."""
    random, n = np.random.default_rng(5), camera.width * camera.height
    K, room = len(places), n + 50
    images = KeyframeImages(
        np.zeros((K, room, 3), np.uint8),
        np.zeros((K, room), np.uint16),
        np.full((K, room), -1, np.int16),
    )
    exposures = np.zeros((K, 3, 2))
    for k, place in enumerate(places):
        depth, points, row = seen(camera, place)
        exposures[k, :, 0], exposures[k, :, 1] = 1 + 0.04 * (k % 3), 0.01 * (k % 2)
        color = exposures[k, 0, 0] * colors_at(points, row) + 255 * exposures[k, 0, 1]
        color = color * (1 + 0.05 * (k % 2)) + random.normal(0, 1, color.shape)
        images.colors[k, :n] = color.clip(0, 255).round().reshape(n, 3)
        noisy = depth * (1 + random.normal(0, 0.003, depth.shape))
        noisy[::7, k % 5 :: 5] *= 1.03  # by more than the tolerance, and less than twice that
        stored = (noisy / DEPTH_UNIT_M).astype(np.uint16).reshape(n)
        stored[random.random(n) < 0.1] = 0
        stored[random.random(n) < 0.1] |= GUESSED
        stored[:: 11 + k] = np.uint16(BOX_M / DEPTH_UNIT_M) | GUESSED  # as beside the box
        rows = row.reshape(n).copy()
        rows[random.random(n) < 0.1] = -1
        rows[random.random(n) < 0.05] = 2
        rows[(depth == 0).reshape(n)] = -1
        rows.reshape(camera.height, camera.width)[30:40, 10 * k : 10 * k + 8] = MASKED
        images.depths[k, :n], images.labels[k, :n] = stored, rows
    return SourceViews(
        images=images,
        cameras=KeyframeCameras(
            np.tile(camera.intrinsics, (K, 1)).astype(np.float32),
            np.stack(places).astype(np.float32),
            np.tile([camera.width, camera.height], (K, 1)),
        ),
        exposures=exposures,
        stamps_ns=np.arange(K) * 20_000_000_000,
        class_ids=CLASS_IDS,
    )


PLACES = [
    pose(-0.3), pose(0.25, 0.1, -0.1), pose(0.0, -0.2, 0.05), pose(0.5, 0.0, -0.25),
    pose(-0.6, 0.05, 0.3), pose(0.1, 0.2, 0.0, -0.4), pose(-0.1, 0.0, 0.02, 0.3),
    pose(0.3, -0.1, -0.1, 0.2), pose(0.0, 0.0, 0.0, -0.6), pose(3.0, 0.0, np.pi),
]  # fmt: skip
AT = pose(0.07, 0.04, -0.04, 0.05)  # off the keyframes' path


def field_view(camera: Camera, T_map_camera: np.ndarray) -> RenderedView:
    """A field's view: blurred colours, a depth that is off, silhouettes moved, wrong labels."""
    depth, points, row = seen(camera, T_map_camera)
    row = np.roll(row, 2, 1)  # the box is two pixels too far to the right
    depth = np.where(depth > 0, np.roll(depth, 2, 1) * 1.004 + 0.001, 0).astype(np.float32)
    normal = np.zeros((*depth.shape, 3), np.float32)
    normal[depth > 0] = (0, 0.05, -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True).clip(1e-9)
    label = np.where(depth > 0, CLASS_IDS[row], -1).astype(np.int32)
    label[:10, :10] = 9
    color = np.where(depth[..., None] > 0, 0.8 * colors_at(points, row), 0)
    latent = np.broadcast_to(row.astype(np.float16)[..., None], (*depth.shape, 2)).copy()
    confidence = (depth > 0).astype(np.float32)
    color = color.clip(0, 255).astype(np.uint8)
    return RenderedView(color, depth, normal.astype(np.float32), label, confidence, latent)


def on(device: torch.device, view: RenderedView) -> dict[str, torch.Tensor]:
    images = {n: image for n, image in vars(view).items() if image is not None}
    return {n: torch.from_numpy(image.copy()).to(device) for n, image in images.items()}


def target_on(device: torch.device, target: Target) -> DeviceTarget:
    depth, normal = (torch.from_numpy(a).to(device) for a in (target.depth, target.normal))
    return DeviceTarget(target.camera, target.T_map_camera, depth, normal)


def at(T_map_camera: np.ndarray, camera: Camera = CAMERA) -> tuple[RenderedView, Target]:
    view = field_view(camera, T_map_camera)
    return view, Target(camera, T_map_camera, view.depth, view.normal)


def both(
    device: torch.device, view: RenderedView, target: Target, sources: SourceViews
) -> tuple[RenderedView, dict[str, np.ndarray]]:
    """The processor's and the device's view."""
    expected = blended(replace(view, **copies(view)), target, sources, 1)
    images, where = on(device, view), target_on(device, target)
    copied = DeviceSources.of(sources, device)
    found = blended_on_device(images, where, copied, pixels_at_once("-"))
    return expected, {name: image.cpu().numpy() for name, image in found.items()}


def copies(view: RenderedView) -> dict[str, np.ndarray]:
    return {n: image.copy() for n, image in vars(view).items() if image is not None}


def check_same(expected: RenderedView, found: dict[str, np.ndarray]) -> None:
    for name, image in copies(expected).items():
        assert found[name].shape == image.shape and found[name].dtype == image.dtype, name
    surface = expected.depth > 0
    assert ((found["depth"] > 0) == surface).mean() > 0.999
    assert (np.abs(found["depth"] - expected.depth) < 1e-4).mean() > 0.998
    apart = np.abs(found["color"].astype(int) - expected.color).max(-1)
    assert (apart > 1)[surface].sum() <= 0.005 * surface.sum()
    assert (found["label"] == expected.label).mean() > 0.999
    assert (np.abs(found["confidence"] - expected.confidence) < 1e-3).mean() > 0.998
    assert (found["latent"] == expected.latent).mean() > 0.999
    assert (np.abs(found["normal"] - expected.normal) < 1e-6).mean() > 0.999


@pytest.mark.parametrize("T_map_camera", [AT, pose(-0.4, -0.1, 0.15, -0.2), PLACES[1]])
@pytest.mark.parametrize("number", [1, 3, 6])
def test_views_are_the_processors(device, T_map_camera: np.ndarray, number: int) -> None:
    view, target = at(T_map_camera)
    expected, found = both(device, view, target, sources_of(PLACES[:number]))
    changed = np.abs(expected.color.astype(int) - view.color).max(-1) > 8
    assert changed[view.depth > 0].mean() > 0.5, "the images are shown"
    assert (expected.label != view.label).any() and (expected.depth != view.depth).any()
    assert (view.depth == 0).any(), "something is to be filled"
    check_same(expected, found)


def test_keyframes_of_other_sizes_and_a_view_of_another_one(device) -> None:
    one, other = sources_of(PLACES[:2]), sources_of(PLACES[2:4], CAMERA.resized(64, 48))
    n = other.images.labels.shape[1]
    for mine, theirs in zip(one.images, other.images, strict=True):
        mine[1, :n] = theirs[1]
    for mine, theirs in zip(one.cameras, other.cameras, strict=True):
        mine[1] = theirs[1]
    view, target = at(AT, CAMERA.resized(120, 90))
    check_same(*both(device, view, target, one))


def test_where_nothing_is_known_the_view_is_the_fields(device) -> None:
    view, target = at(AT)
    sources = sources_of([pose(0, yaw=np.pi), pose(0.2, yaw=np.pi)])  # they look away
    expected, found = both(device, view, target, sources)
    check_same(expected, found)
    assert np.array_equal(found["depth"], view.depth)
    assert np.array_equal(found["label"], view.label)
    empty = replace(view, **{n: np.zeros_like(image) for n, image in copies(view).items()})
    target = replace(target, depth=empty.depth, normal=empty.normal)
    expected, found = both(device, empty, target, sources)
    check_same(expected, found)
    assert not found["color"].any() and not found["confidence"].any()


def test_a_map_without_classes_has_no_labels(device) -> None:
    view, target = at(AT)
    sources = sources_of(PLACES[:3])
    sources.images.labels[sources.images.labels >= 0] = -1
    sources = replace(sources, class_ids=np.zeros(0, np.int32))
    view.label[:] = -1
    expected, found = both(device, view, target, sources)
    check_same(expected, found)
    assert (found["label"] == -1).all()


def test_of_equal_votes_those_for_the_first_win(device) -> None:
    random, (M, N) = np.random.default_rng(2), (6, 400)
    names = random.integers(0, 4, (M, N)).astype(np.int32)
    ballots = random.integers(0, 3, (M, N)).astype(np.float32)
    ballots[0] = 1
    given = (torch.from_numpy(a).to(device) for a in (names, ballots))
    found, most = (answer.cpu().numpy() for answer in elected(*given))
    ties = 0
    for column in range(N):
        count: dict[int, float] = {}  # in the order of the names
        for name, ballot in zip(names[:, column], ballots[:, column], strict=True):
            if ballot:
                count[name] = count.get(name, 0) + ballot
        assert most[column] == max(count.values())
        assert found[column] == max(count, key=lambda name: count[name])
        ties += list(count.values()).count(most[column]) > 1
    assert ties > 50


def test_the_same_labelled_keyframes_are_added(device) -> None:
    sources = sources_of(PLACES)
    unlabelled = np.setdiff1d(np.arange(len(PLACES)), [4, 8])
    sources.images.labels[unlabelled] = np.minimum(sources.images.labels[unlabelled], -1)
    _, target = at(AT)
    expected = sources.choose(target, 3)
    found = DeviceSources.of(sources, device).choose(target_on(device, target), 3)
    assert found.tolist() == expected.tolist()
    assert len(expected) > 3 and {4, 8} & set(expected[3:].tolist())


@pytest.mark.parametrize("T_map_camera", [AT, pose(-0.4, -0.1, 0.15, -0.2), pose(1.0, yaw=-0.3)])
def test_the_same_keyframes_are_chosen(device, T_map_camera: np.ndarray) -> None:
    sources = sources_of(PLACES)
    _, target = at(T_map_camera)
    copied, where = DeviceSources.of(sources, device), target_on(device, target)
    for most in (1, 3, 8):
        expected = sources.choose(target, most)
        found = copied.choose(where, most)
        assert found.dtype == expected.dtype and found.tolist() == expected.tolist()
    assert len(expected) > 3 and 9 not in expected  # which looks away
    behind = np.array([9])
    assert len(sources.taken(behind).choose(target)) == 0
    assert len(copied.taken(behind).choose(where)) == 0
    few = np.array([8, 9, 2, 4])  # slots need not be in order, nor all of them
    chosen = replace(copied, **part_of(sources, few), slots=few).choose(where)
    assert chosen.tolist() == sources.taken(few).choose(target).tolist()
    taken, plain = copied.taken(expected), sources.taken(expected)
    assert np.array_equal(taken.images.labels.cpu().numpy(), plain.images.labels)
    assert np.array_equal(taken.images.depths.cpu().numpy().view(np.uint16), plain.images.depths)


def part_of(sources: SourceViews, slots: np.ndarray) -> dict:
    part = sources.taken(slots)
    return {n: getattr(part, n) for n in ("cameras", "exposures", "stamps_ns", "class_ids")}


def test_exposures_and_trust_are_the_processors(device) -> None:
    sources = sources_of(PLACES[:7])
    _, target = at(AT)
    lenses, exposures = sources.tuned(target)
    found, adjusted = DeviceSources.of(sources, device).tuned(target_on(device, target))
    assert np.ptp(lenses.trust) > 0.01 and np.ptp(exposures[..., 0]) > 0.03
    np.testing.assert_allclose(found.trust.cpu().numpy()[:, 0], lenses.trust, atol=2e-3)
    np.testing.assert_allclose(adjusted[..., 0].cpu().numpy(), exposures[..., 0], atol=1e-4)
    np.testing.assert_allclose(adjusted[..., 1].cpu().numpy(), exposures[..., 1], atol=2e-2)


@pytest.mark.parametrize("points", [5, 40])
def test_agreement_of_random_photographs(device, points: int) -> None:
    """Also where too few points are shared: nothing is known, and all are trusted."""
    random = np.random.default_rng(points)
    visible, distance = random.random((5, points)) < 0.9, np.linspace(0, 1, 5)
    drift = random.normal(0, 12, (5, points, 3)).cumsum(0)  # from one place to the next
    colors = (random.uniform(40, 200, (1, points, 3)) + drift).astype(np.float32)
    colors *= np.linspace(0.8, 1.2, 5, dtype=np.float32)[:, None, None]
    colors[~visible] = 0
    apart = np.abs(distance[:, None] - distance[None])
    arguments = [torch.from_numpy(a).to(device) for a in (colors, visible, apart, distance)]
    expected = exposures_between(colors, visible, distance)
    found = device_agreement.exposures_between(arguments[0], arguments[1], arguments[3])
    np.testing.assert_allclose(found.cpu().numpy(), expected, rtol=1e-4, atol=1e-3)
    trust = device_agreement.trust_by_distance(*arguments).cpu().numpy()
    np.testing.assert_allclose(trust, trust_by_distance(colors, visible, apart, distance), 1e-5)
    assert (trust == 1).all() == (points == 5)


def test_holes_are_filled_from_the_nearest_pixel(device) -> None:
    random = np.random.default_rng(3)
    for share in (0.02, 0.5, 0.98):
        known = random.random((23, 31)) < share
        known[:, 4:9] = False  # columns without anything known
        image = random.integers(0, 255, (23, 31, 3), np.uint8)
        where = torch.from_numpy(known).to(device)
        numbered = torch.arange(known.size, device=device).view(23, 31)
        source: np.ndarray = device_filling.filled(numbered, where).cpu().numpy()
        row, column = np.indices(known.shape)
        assert known.reshape(-1)[source].all() and (source == numbered.cpu().numpy())[known].all()
        taken = np.hypot(source // 31 - row, source % 31 - column)
        v, u = np.nonzero(known)
        brute = np.hypot(row[..., None] - v, column[..., None] - u)
        np.testing.assert_allclose(taken, brute.min(-1), atol=1e-9)
        found = device_filling.filled(torch.from_numpy(image).to(device), where).cpu().numpy()
        assert np.array_equal(found, image.reshape(-1, 3)[source])
        # the processor's is near by, too: its distances are approximate
        down, along = np.divmod(filled(numbered.cpu().numpy(), known), 31)
        assert (np.hypot(down - row, along - column) < 1.03 * taken + 1e-6).all()
    for nothing in (np.zeros((3, 4), bool), np.ones((3, 4), bool)):
        same = torch.arange(12.0).view(3, 4).to(device)
        assert device_filling.filled(same, torch.from_numpy(nothing).to(device)) is same


def test_discontinuities_are_the_processors(device) -> None:
    depth = field_view(CAMERA, AT).depth
    found = device_silhouettes.discontinuities(torch.from_numpy(depth).to(device))
    expected = discontinuities(depth)
    assert 100 < len(expected) < depth.size / 2
    assert np.array_equal(found.cpu().numpy(), expected)
