"""One renderer: whoever renders an annotated map gets the same view, on every device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from semantic_field.config import Config
from semantic_field.evaluation.scores.scoring import render
from semantic_field.field.annotations import AnnotationSet
from semantic_field.field.views.device_rendering import DeviceMap
from semantic_field.field.views.device_sources import DeviceTarget
from semantic_field.field.views.rendering import RenderedView, render_view
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform
from semantic_field.mapping import Mapper
from semantic_field.mapping.corrections.pointing import Box
from semantic_field.mapping.keyframe_views import KeyframeViews
from semantic_field.mapping.keyframes.device_copy import DeviceKeyframes
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.renderer import Renderer
from semantic_field.mapping.robustness.interpolation import Moments
from semantic_field.settings import updated

HAS_GPU = torch.cuda.is_available()
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not HAS_GPU, reason="no GPU"))]
CAMERA = Camera.from_field_of_view(64, 48, 1.2)
SMALL = {
    "field.truncation_m": 0.035,
    "field.grid.log2_table_size": 12,
    "field.grid.levels": 4,
    "field.grid.finest_cell_m": 0.08,
    "field.latent_dim": 16,
    "mapping.rays_per_step": 256,
    "mapping.memory_budget_mb": 16,
    "mapping.annotation_cell_m": 0.04,
    "mapping.adapt_exposure": "on",
}
UTM = np.array([458_000.0, 5_429_000.0, 100.0])
INNER = np.s_[6:-6, 6:-6]


def wall(x: float, gain: float = 1.0) -> Frame:
    """A wall 1.5 m before a camera in UTM, of one class and colour."""
    return Frame(
        stamp_ns=int((1 + x) * 1e9),
        color=np.full((48, 64, 3), 160 * gain, np.uint8),
        depth=np.full((48, 64), 1.5, np.float32),
        camera=CAMERA,
        T_world_camera=make_transform(np.eye(3), UTM + [x, 0, 0]),
        labels=np.full((48, 64), 7, np.int32),
    )


@pytest.fixture(params=DEVICES)
def device(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def mapper() -> Mapper:
    """A map of a wall, whose left half has just been called a door."""
    mapper = Mapper(updated(Config(), SMALL))
    mapper.set_label_names({7: "wall"})
    for x in (-0.2, 0.0, 0.2):
        assert mapper.add_frame(wall(x, 0.5 if x > 0 else 1.0))
    mapper.train_steps(150)
    left = make_transform(np.eye(3), UTM + [-0.5, 0.0, 1.5])
    mapper.annotate("door", Box(left, np.array([1.0, 3.0, 0.3])))
    return mapper


def door(mapper: Mapper) -> int:
    return int(mapper.annotations().entries[0].class_ids[0])


def test_all_ways_to_a_view_agree(mapper: Mapper) -> None:
    frame, state = wall(0.0), mapper.snapshot()
    where = frame.camera, frame.T_world_camera
    on_device = DeviceMap.of(state, "cpu")  # as on a GPU: another tracer, torch throughout
    views = {
        "mapper": mapper.render(*where),
        "service": mapper.render(*where, with_latent=True),
        "moment": mapper.render_moment(*where, frame.stamp_ns),
        "evaluation": render(mapper.renderer(), frame)[0],
        "field": mapper.renderer().field_only().render(*where),
        "device": Renderer(on_device.render, state.annotations, state.origin).render(*where),
    }
    expected = views["mapper"]
    doors = expected.label[INNER] == door(mapper)
    assert doors[:, :24].mean() > 0.95 and doors[:, 28:].mean() < 0.05
    alone = render_view(state, *where)
    assert (alone.label[INNER] == 7).all()  # the field has not learnt it
    for name, view in views.items():
        assert (view.label == expected.label)[INNER].mean() > 0.99, name
        assert np.abs(view.depth - expected.depth)[INNER].max() < 0.01, name
        assert (view.depth > 0)[INNER].all(), name
    assert views["service"].latent is not None and views["mapper"].latent is None


def test_what_shows_nothing_has_no_name(mapper: Mapper) -> None:
    away = make_transform(np.eye(3), UTM + [0, 0, 3.0])  # behind the wall, looking away
    view = mapper.render(CAMERA, away)
    assert not view.depth.any() and (view.label == -1).all()


def test_a_moment_has_its_exposure(mapper: Mapper) -> None:
    pose = wall(0.0).T_world_camera
    bright, dark = (mapper.render_moment(CAMERA, pose, wall(x).stamp_ns) for x in (-0.2, 0.2))
    assert dark.color[INNER].mean() < 0.7 * bright.color[INNER].mean()
    later = mapper.render_moment(CAMERA, pose, wall(0.0).stamp_ns + 60_000_000_000)
    assert np.array_equal(later.color, mapper.render(CAMERA, pose).color)  # nothing is known of it


def test_a_renderer_stays_what_it_was(mapper: Mapper) -> None:
    frame, renderer = wall(0.0), mapper.renderer().field_only()
    where = frame.camera, frame.T_world_camera
    before = renderer.render(*where, stamp_ns=frame.stamp_ns)
    store = mapper.live_map.keyframes
    assert store is not None
    kept = store.learnt["exposure"].copy()
    store.learnt["exposure"][:] = 0.0
    view = renderer.render(*where, stamp_ns=frame.stamp_ns)
    store.learnt["exposure"][:] = kept
    assert np.array_equal(view.color, before.color)


def test_any_first_stage_is_annotated_and_exposed(mapper: Mapper) -> None:
    """A view need not come from the field: what is shown of another source is treated alike."""
    frame, state, renderer = wall(0.0), mapper.snapshot(), mapper.renderer()

    def photograph(camera: Camera, T_map_camera: np.ndarray, with_latent: bool) -> RenderedView:
        assert np.allclose(T_map_camera[:3, 3], 0)
        view = render_view(state.in_own_frame(), camera, T_map_camera, with_latent)
        return replace(view, color=frame.color)

    other = Renderer(photograph, state.annotations, state.origin)
    view = other.render(frame.camera, frame.T_world_camera)
    assert np.array_equal(view.color, frame.color)
    own = renderer.render(frame.camera, frame.T_world_camera)
    assert np.array_equal(view.label, own.label) and (view.label == door(mapper)).any()


class Copies:
    """Keyframes of a store as training on a device keeps them; counts how often they are used."""

    def __init__(self, store: KeyframeStore, device: str = "cpu") -> None:
        self.copy, self.uses = DeviceKeyframes(store, device), 0
        self.copy.follow(store)

    def __call__(self, store: KeyframeStore) -> DeviceKeyframes | None:
        self.uses += 1
        return None if self.copy.is_behind(store) else self.copy


def test_images_on_a_device_are_shown_as_on_the_processor(mapper: Mapper, device: str) -> None:
    state, store = mapper.snapshot(), mapper.live_map.keyframes
    assert store is not None
    copies = Copies(store, device)
    keyframes = KeyframeViews(lambda: store, lambda: list(state.class_ids), copy=copies)
    expected = Renderer.of(state, sources=keyframes)
    device_map = DeviceMap.of(state, device)
    where = state.annotations, state.origin
    found = Renderer.on_device(device_map, *where, sources=keyframes)
    uploaded = Renderer.on_device(
        device_map, *where, sources=KeyframeViews(lambda: store, lambda: list(state.class_ids))
    )
    pose = make_transform(np.eye(3), UTM + [0.1, 0.05, 0.1])
    plain, view = expected.render(CAMERA, pose), found.render(CAMERA, pose, with_latent=True)
    assert copies.uses == 1 and view.latent is not None
    same = uploaded.render(CAMERA, pose)
    for name in ("color", "depth", "label", "confidence"):
        one, other = getattr(view, name), getattr(plain, name)
        assert one.dtype == other.dtype and one.shape == other.shape, name
        assert (getattr(same, name) == one).mean() > 0.999, name
    assert (np.abs(view.depth - plain.depth)[INNER] < 2e-3).mean() > 0.99
    assert (view.label == plain.label)[INNER].mean() > 0.99
    assert (np.abs(view.color.astype(int) - plain.color)[INNER] <= 2).mean() > 0.98
    alone = found.field_only().render(CAMERA, pose)
    assert np.array_equal(alone.color, device_map.render(CAMERA, pose_in_map(pose)).color)
    assert copies.uses == 1


def pose_in_map(T_world_camera: np.ndarray) -> np.ndarray:
    return make_transform(T_world_camera[:3, :3], T_world_camera[:3, 3] - UTM)


def test_the_devices_own_images_are_shown_only_while_they_are_complete(mapper: Mapper) -> None:
    state, store = mapper.snapshot(), mapper.live_map.keyframes
    assert store is not None
    copies = Copies(store)
    keyframes = KeyframeViews(lambda: store, lambda: list(state.class_ids), copy=copies)
    renderer = Renderer.on_device(
        DeviceMap.of(state, "cpu"), state.annotations, state.origin, sources=keyframes
    )
    where = CAMERA, wall(0.0).T_world_camera
    before, kept = renderer.render(*where), store.images.colors.copy()
    store.images.colors[:] = 0  # what has no new serial is not looked at
    assert np.array_equal(renderer.render(*where).color, before.color)
    serials = store.serials.copy()
    store.serials[0] += 1_000_000
    assert renderer.render(*where).color[INNER].max() < 40
    store.images.colors[:], store.serials[:] = kept, serials
    oldest = int(store.stamps_ns[: store.count].min())
    past = keyframes.until(oldest).on_device(
        DeviceTarget(
            CAMERA,
            pose_in_map(where[1]),
            torch.from_numpy(before.depth),
            torch.from_numpy(before.normal),
        )
    )
    assert past is not None and past.stamps_ns.tolist() == [oldest]
    away = make_transform(np.eye(3), UTM + [0, 0, 3.0])
    assert not renderer.render(CAMERA, away).depth.any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_state_is_rendered_on_a_gpu(mapper: Mapper) -> None:
    frame, state = wall(0.0), mapper.snapshot()
    view = Renderer.of(state, "cuda").render(frame.camera, frame.T_world_camera)
    expected = mapper.render(frame.camera, frame.T_world_camera)
    assert (view.label == expected.label)[INNER].mean() > 0.99
    assert np.abs(view.depth - expected.depth)[INNER].max() < 0.01


def test_a_view_of_no_moment_is_moved_as_the_keyframes_around_it_were() -> None:
    """Keyframes at 0 and 2 m, moved by 1 and 3 cm along y, the second turned about y as well."""
    given = np.stack([make_transform(np.eye(3), [x, 0.0, 0.0]) for x in (0.0, 2.0)])
    learnt = {"given_pose": given, "pose": np.zeros((2, 6))}
    moments = Moments(2, np.array([0, 1]), learnt)
    far = make_transform(np.eye(3), [9.0, 0.0, 0.0])
    assert moments.pose_nearby(far) is far  # nothing is corrected
    learnt["pose"][:, 4] = 0.01, 0.03
    learnt["pose"][1, 1] = 0.02
    at_first, between, away = (
        moments.pose_nearby(make_transform(np.eye(3), [x, 0.0, 0.0])) for x in (0.0, 1.0, 4.0)
    )
    np.testing.assert_allclose(at_first[:3, 3], [0, 0.01, 0], atol=1e-5)
    np.testing.assert_allclose(between[:3, 3], [1, 0.5 * 0.02, 0], atol=1e-9)  # 1 m: half of it
    assert np.arctan2(between[0, 2], between[0, 0]) == pytest.approx(0.5 * 0.01)
    share = 1 / 3  # of a correction 2 m away; the first keyframe, twice as far, has one part in 8
    first, second = 4.05**-3, 2.05**-3
    expected = share * (0.01 * first + 0.03 * second) / (first + second)
    np.testing.assert_allclose(away[:3, 3], [4, expected, 0], atol=1e-9)


def test_a_renderer_asks_for_the_moved_pose() -> None:
    asked: list[np.ndarray] = []

    def note(camera: Camera, T_map_camera: np.ndarray, with_latent: bool) -> RenderedView:
        asked.append(T_map_camera)
        nothing = np.zeros((camera.height, camera.width), np.float32)
        return RenderedView(
            color=np.zeros((*nothing.shape, 3), np.uint8),
            depth=nothing,
            normal=np.zeros((*nothing.shape, 3), np.float32),
            label=np.full(nothing.shape, -1, np.int32),
            confidence=nothing,
        )

    learnt = {
        "given_pose": np.eye(4)[None],
        "pose": np.array([[0, 0, 0, 0, 0.02, 0.0]]),
        "exposure": np.tile([1.0, 0.0], (1, 3, 1)),
    }
    moments = Moments(1, np.array([0]), learnt)
    renderer = Renderer(note, AnnotationSet(), UTM, moments)
    pose = make_transform(np.eye(3), UTM)
    renderer.render(CAMERA, pose)
    renderer.render(CAMERA, pose, stamp_ns=0)
    for moved in asked:
        np.testing.assert_allclose(moved[:3, 3], [0, 0.02, 0], atol=1e-12)
