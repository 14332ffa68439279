"""What happens where a GPU has no memory left; the same code runs here on the processor."""

from __future__ import annotations

import math
import time
from itertools import count

import numpy as np
import pytest
import torch

from semantic_field.config import Config
from semantic_field.data.sources import open_source
from semantic_field.field.map_state import LanguageSpace
from semantic_field.field.views import device_blending
from semantic_field.field.views.device_rendering import DeviceMap
from semantic_field.field.views.ray_tracers import WaveTracer
from semantic_field.field.views.rendering import RenderedView
from semantic_field.field.voxels.device_voxels import DeviceVoxels
from semantic_field.kernels import GridGradient
from semantic_field.kernels.device_memory import DeviceMemoryError, Halving, memory_for
from semantic_field.mapping import Mapper
from semantic_field.mapping.keyframe_views import KeyframeViews
from semantic_field.mapping.keyframes.device_copy import DeviceKeyframes
from semantic_field.mapping.renderer import Renderer
from semantic_field.mapping.training import device_step
from semantic_field.mapping.training.device_step import DeviceTrainer
from semantic_field.query import relevancy
from semantic_field.query.interpretation import Interpretation, TextSet
from semantic_field.query.latent_index import LatentIndex
from semantic_field.settings import updated
from semantic_field.teachers.language import Calibration

SMALL = {
    "mapping.device": "cpu", "mapping.rays_per_step": 512, "field.grid.log2_table_size": 12,
    "field.grid.levels": 4, "mapping.max_speed_mps": 0.0, "field.truncation_m": 0.06,
    "field.grid.finest_cell_m": 0.05,
}  # fmt: skip
ROOM = "room:frames=3,width=96,height=72"


@pytest.fixture(autouse=True)
def one_thread():
    """Torch's threads only get into each other's way with so few numbers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- the mechanism -----------------------------------------------------------------------------


def out_of_memory(above: int):
    """Work on a slice that returns its items, and has memory for so many."""

    def work(part: slice) -> list[int]:
        if part.stop - part.start > above:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has.")
        return list(range(part.start, part.stop))

    return work


def test_parts_are_halved_until_they_fit_and_stay_so(caplog) -> None:
    halving = Halving(64, 4, "things", "ask for fewer")
    assert [i for part in halving.parts(out_of_memory(10), 50) for i in part] == list(range(50))
    assert halving.size == 6
    assert [r.getMessage() for r in caplog.records] == [
        f"CUDA out of memory. Tried to allocate 2 GiB: {new} instead of {old} things from now on; "
        "to avoid this, ask for fewer"
        for old, new in [(50, 25), (25, 12), (12, 6)]
    ]
    assert len(halving.parts(out_of_memory(10), 50)) == 9 and len(caplog.records) == 3
    assert halving.parts(out_of_memory(10), 0) == []


def test_what_does_not_fit_at_all_is_named() -> None:
    halving = Halving(64, 4, "things", "ask for fewer")
    said = r"memory on the device for 4 things, got: CUDA out of memory\. Tried .* 2 GiB; ask for f"
    with pytest.raises(DeviceMemoryError, match=said):
        halving.parts(out_of_memory(3), 50)
    assert halving.size == 4
    with pytest.raises(ValueError, match="for a thing, got: out of memory; ask for fewer"):  # noqa: SIM117
        with memory_for("a thing", "ask for fewer"):
            raise torch.OutOfMemoryError


def test_other_errors_are_not_touched() -> None:
    def work(part: slice) -> None:
        raise RuntimeError("an illegal memory access")

    halving = Halving(64, 4, "things", "ask for fewer")
    with pytest.raises(RuntimeError, match="illegal memory access"):
        halving.parts(work, 50)
    assert halving.size == 64


# --- training ----------------------------------------------------------------------------------


@pytest.fixture
def on_device(monkeypatch) -> None:
    """Maps are trained as on a GPU."""
    monkeypatch.setattr("semantic_field.mapping.live_map.make_trainer", DeviceTrainer)


def mapper_of(**more: object) -> Mapper:
    """A mapper with the keyframes of a room."""
    source = open_source(ROOM)
    mapper = Mapper(updated(Config(), {**SMALL, **more}))
    mapper.set_label_names(source.label_names)
    for i in range(len(source)):
        assert mapper.add_frame(source[i])
    return mapper


def parameters(mapper: Mapper) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in mapper.live_map.field.named_parameters()}


def test_training_goes_on_with_half_the_rays(on_device, monkeypatch, short_memory, caplog) -> None:
    smaller = mapper_of(**{"mapping.rays_per_step": 256})
    smaller.train_steps(20)
    mapper = mapper_of(**{"mapping.rays_per_step": 1024})
    short_memory(DeviceVoxels, "load", 2)
    mapper.train_steps(20)
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2 and "256 instead of 512 rays of a training step" in warnings[1]
    for option in ("mapping.rays_per_step", "field.grid.log2_table_size", "memory_budget_mb"):
        assert option in warnings[0]
    for name, expected in parameters(smaller).items():
        assert torch.equal(parameters(mapper)[name], expected), name
    one, other = mapper.live_map.trainer, smaller.live_map.trainer
    assert (one.steps, one.rays) == (other.steps, other.rays) == (20, 20 * 256)
    assert one.learning_rate(3) == other.learning_rate(3)


@pytest.mark.parametrize("more", [{}, {"mapping.adapt_exposure": "on"}], ids=["plain", "host"])
def test_rays_are_counted_as_they_were_drawn(on_device, short_memory, more, caplog) -> None:
    mapper = mapper_of(**more)
    mapper.train_steps(5)
    trainer = mapper.live_map.trainer
    short_memory(type(mapper.live_map.field.kernels), "encode", 1)
    mapper.train_steps(1)
    assert (trainer.steps, trainer.rays, trainer.rays_per_step) == (6, 5 * 512 + 256, 256)
    mapper.train_steps(1)
    mapper.snapshot()
    assert (trainer.steps, trainer.rays) == (7, 5 * 512 + 2 * 256)
    assert len(caplog.records) == 1 and math.isfinite(sum(trainer.losses.values()))


def test_other_rays_are_drawn_where_those_of_a_step_do_not_fit(on_device, short_memory) -> None:
    mapper, drawn = mapper_of(), []
    mapper.train_steps(3)

    def is_short(images, cameras, contours, slots, *_) -> bool:
        drawn.append(slots.tolist())
        return len(slots) > 256

    short_memory(device_step, "draw_rays_on_device", is_short)
    mapper.train_steps(2)
    assert [len(slots) for slots in drawn] == [512, 256, 256]
    assert all(set(slots) == {0, 1, 2} for slots in drawn)


def test_what_a_failed_step_has_left_is_forgotten(on_device, monkeypatch, short_memory) -> None:
    """Memory runs out before any gradient is there, or when there are all of them."""
    found = []
    for after in (False, True):
        with monkeypatch.context():
            mapper = mapper_of()
            mapper.train_steps(3)
            name = "backward_table" if after else "encode"
            short_memory(type(mapper.live_map.field.kernels), name, 1, after)
            mapper.train_steps(3)
            assert mapper.live_map.trainer.rays == 3 * 512 + 3 * 256
            found.append(parameters(mapper))
        monkeypatch.undo()
        monkeypatch.setattr("semantic_field.mapping.live_map.make_trainer", DeviceTrainer)
    for name, expected in found[0].items():
        assert torch.equal(found[1][name], expected), name


def test_a_gradient_is_cleared_as_a_whole() -> None:
    mapper = mapper_of()
    kernels = mapper.live_map.field.kernels
    gradient = GridGradient(kernels.shape)
    points, ones = torch.rand(9, 3), torch.ones(kernels.shape.encoding_dim, 9)
    kernels.backward_table(points, ones, gradient)
    assert gradient.table.any() and gradient.touched.any() and gradient.counts.any()
    gradient.clear()
    assert not (gradient.table.any() or gradient.touched.any() or gradient.counts.any())
    kernels.backward_table(points, ones, gradient)
    assert gradient.counts.sum() == gradient.touched.sum() > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_memory_may_run_out_while_a_step_is_captured(short_memory, caplog) -> None:
    mapper, calls = mapper_of(**{"mapping.device": "cuda"}), count()
    short_memory(DeviceTrainer, "find_gradients", lambda *_: next(calls) == 3, after=True)
    mapper.train_steps(20)
    mapper.snapshot()
    trainer = mapper.live_map.trainer
    assert (trainer.steps, trainer.rays) == (20, 3 * 512 + 17 * 256) and len(caplog.records) == 1
    assert next(calls) < 8, "the smaller step is captured, too"
    assert all(values.isfinite().all() for values in parameters(mapper).values())


def test_training_stops_where_not_even_few_rays_fit(on_device, short_memory) -> None:
    mapper = mapper_of()
    short_memory(type(mapper.live_map.field.kernels), "encode", lambda *_: True)
    mapper.start()
    while not mapper.status().error:
        time.sleep(0.01)
    status = mapper.status()
    mapper.stop()
    assert status.state == "failed" and status.steps == 0 == mapper.live_map.trainer.rays
    assert "256 rays of a training step, got: CUDA out of memory. Tried" in status.error
    assert "field.grid.log2_table_size" in status.error


def test_keyframes_that_do_not_fit_are_named(on_device, short_memory) -> None:
    mapper = mapper_of()
    store = mapper.live_map.keyframes
    assert store is not None
    copied = DeviceKeyframes(store, "cpu", reserve=1)
    short_memory(torch.Tensor, "new_zeros", lambda tensor, size, *_: size > 1)
    with pytest.raises(DeviceMemoryError, match=r"copies of 3 keyframes.*mapping\.memory_budget"):
        copied.follow(store)
    assert copied.room == 1 == len(copied.images.colors)
    with pytest.raises(ValueError, match=r"copies of \d+ keyframes"):
        mapper.train_steps(1)


def test_a_map_that_does_not_fit_is_named(short_memory) -> None:
    short_memory(GridGradient, "__init__", 1)
    with pytest.raises(ValueError, match=r"the map and what trains it.*field\.grid\.log2_table"):
        mapper_of()


# --- views -------------------------------------------------------------------------------------


def test_views_are_rendered_in_parts(short_memory, caplog) -> None:
    mapper = mapper_of()
    mapper.train_steps(30)
    state, frame = mapper.snapshot(), open_source(ROOM)[1]
    where = (frame.camera, frame.T_world_camera)
    expected = DeviceMap.of(state, "cpu").render(*where, with_latent=True)
    assert (expected.depth > 0).mean() > 0.5
    short_memory(WaveTracer, "trace", lambda tracer, origin, rays, *_: len(rays) > 2000)
    on_device = DeviceMap.of(state, "cpu")
    found = on_device.render(*where, with_latent=True)
    for name, values in vars(expected).items():
        if values is not None:
            other = getattr(found, name)
            assert other.shape == values.shape and other.dtype == values.dtype, name
            np.testing.assert_allclose(other, values, rtol=1e-3, atol=1e-3, err_msg=name)
    assert [record.args[1:3] for record in caplog.records] == [(3456, 6912), (1728, 3456)]
    assert "rays of a view" in caplog.text
    again = DeviceMap(on_device.field, state.voxels, state.reach, state.class_ids, on_device)
    again.render(*where)
    assert len(caplog.records) == 2, "the next snapshot knows it already"


def test_a_view_that_does_not_fit_at_all_is_named(short_memory) -> None:
    mapper = mapper_of()
    mapper.train_steps(2)
    state, frame = mapper.snapshot(), open_source(ROOM)[1]
    on_device = DeviceMap.of(state, "cpu")
    short_memory(WaveTracer, "trace", lambda tracer, origin, rays, *_: len(rays) > 1000)
    with pytest.raises(DeviceMemoryError, match=r"for 1024 rays of a view.*smaller images"):
        on_device.render(frame.camera, frame.T_world_camera)
    short_memory(DeviceVoxels, "load", 1)
    with pytest.raises(DeviceMemoryError, match=r"copy of the map for rendering.*log2_table_size"):
        DeviceMap.of(state, "cpu")


def test_images_are_blended_in_parts(short_memory, caplog) -> None:
    mapper = mapper_of()
    mapper.train_steps(30)
    state, frame, store = mapper.snapshot(), open_source(ROOM)[1], mapper.live_map.keyframes
    keyframes = KeyframeViews(lambda: store, lambda: list(state.class_ids))

    def view() -> RenderedView:
        device_map = DeviceMap.of(state, "cpu")
        renderer = Renderer.on_device(device_map, state.annotations, state.origin, None, keyframes)
        return renderer.render(frame.camera, frame.T_world_camera)

    whole = view()
    short_memory(device_blending, "ask", lambda points, *_, **__: points.shape[1] > 3500)
    parts = view()
    assert "pixels of a view to blend" in caplog.text
    for name in ("color", "depth", "label", "confidence"):
        assert (getattr(parts, name) == getattr(whole, name)).mean() > 0.99, name
    short_memory(device_blending, "ask", lambda points, *_, **__: points.shape[1] > 100)
    with pytest.raises(DeviceMemoryError, match=r"pixels of a view to blend.*smaller images"):
        view()


# --- questions ---------------------------------------------------------------------------------

POINTS = 20_000


def index_of_circle() -> LatentIndex:
    angle = np.linspace(0.0, 2.0 * math.pi, POINTS)
    latent = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    space = LanguageSpace(torch.eye(2), torch.zeros(2), 2, "test")
    limits = Calibration(
        torch.zeros(2), distinct=0.6, same=0.8, floor=0.4, margin=0.1, sharpness=20.0
    )
    return LatentIndex(latent, space, limits, dtype=torch.float32, device="cpu")


def question() -> TextSet:
    """A text at 0 degrees with an anchor at 90 and a negative at 180."""
    text, anchor, negative = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[-1.0, 0.0]]])
    fits = torch.tensor([0.9])
    return TextSet(Interpretation("q", text, anchor, fits, torch.zeros(0), 0.9, "a"), negative)


def test_questions_are_answered_in_smaller_chunks(short_memory, caplog) -> None:
    expected = index_of_circle().relevancy([question()])
    assert expected.max() > 0.8 and expected.min() < 0.1
    short_memory(relevancy, "membership", lambda anchors, *_: anchors.shape[1] > 6000)
    index = index_of_circle()
    assert torch.equal(index.relevancy([question()]), expected)
    assert [record.args[1:3] for record in caplog.records] == [(10_000, POINTS), (5000, 10_000)]
    assert torch.equal(index.relevancy([question()]), expected) and len(caplog.records) == 2


def test_questions_are_answered_on_the_processor_where_not_even_chunks_fit(
    short_memory, caplog
) -> None:
    expected = index_of_circle().relevancy([question()])
    index = index_of_circle()
    short_memory(relevancy, "membership", 4)  # with 20 000, 10 000, 5000 and 4096 points
    assert torch.equal(index.relevancy([question()]), expected)
    last = caplog.records[-1].getMessage()
    assert len(caplog.records) == 4 and "answered on the processor from now on" in last
    assert "4096 points of the map" in last
    assert torch.equal(index.relevancy([question()]), expected) and len(caplog.records) == 4


def test_latents_that_do_not_fit_lie_on_the_processor(short_memory, caplog) -> None:
    expected = index_of_circle().relevancy([question()])
    short_memory(torch, "empty", 1)
    index = index_of_circle()
    assert len(index) == POINTS and torch.equal(index.relevancy([question()]), expected)
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "Tried to allocate 20.00 MiB" in caplog.text and "processor" in caplog.text


def test_the_processor_is_the_last_resort(short_memory) -> None:
    index = index_of_circle()
    short_memory(relevancy, "membership", lambda *_: True)
    with pytest.raises(DeviceMemoryError, match="4096 points of the map"):
        index.relevancy([question()])
