"""What the map has to beat: nearest frame, projections, and the field on another encoding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semantic_field.config import Config
from semantic_field.data.sources import open_source
from semantic_field.evaluation.baselines.frequency_field import FrequencyMapper
from semantic_field.evaluation.baselines.label_baselines import (
    BaselineScores,
    depth_projection,
    labelled_frames,
    nearest_frame,
    projection,
)
from semantic_field.evaluation.protocols.protocol import Protocol, load_protocol, protocol_files
from semantic_field.evaluation.protocols.splits import every_nth
from semantic_field.evaluation.protocols.supervision import SupervisedFrames, Supervision
from semantic_field.evaluation.scores.class_set import ClassSet
from semantic_field.field.views.rendering import render_view
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform
from semantic_field.settings import updated

CAMERA = Camera(10.0, 10.0, 9.5, 4.5, 20, 10)
CLASSES = ClassSet({3: "wall", 8: "box"})
ROOM = "room:seed=2,frames=13,width=48,height=36"


class Kept:
    """A recording whose frames are rendered once."""

    def __init__(self) -> None:
        source = open_source(ROOM)
        self.name, self.label_names, self.stamps = source.name, source.label_names, source.stamps
        self._frames = [source[i] for i in range(len(source))]

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Frame:
        return self._frames[index]


def frame(x: float, labels: np.ndarray | None = None, depth: float = 2.0) -> Frame:
    image = np.zeros((10, 20, 3), np.uint8)
    T = make_transform(np.eye(3), [x, 0, 0])
    return Frame(0, image, np.full((10, 20), depth, np.float32), CAMERA, T, labels)


def halves() -> np.ndarray:
    labels = np.full((10, 20), 3, np.int32)
    labels[:, 10:] = 8
    return labels


def test_nearest_frame_gives_its_image_as_it_is() -> None:
    views = labelled_frames([frame(0.0, halves()), frame(1.0, 0 * halves() + 3), frame(5)], CLASSES)
    assert len(views) == 2
    found = nearest_frame(views, frame(0.4))
    assert (found[:, :10] == 0).all() and (found[:, 10:] == 1).all()


@pytest.mark.parametrize("predict", [projection, depth_projection])
def test_projection_moves_labels_by_the_disparity(predict) -> None:
    views = labelled_frames([frame(0.0, halves())], CLASSES)
    found = predict(views, frame(0.6), 2)  # 0.6 m * 10 px / 2 m = 3 pixels to the left
    assert (found[:, :7] == 0).all() and (found[:, 7:17] == 1).all()
    assert (found[:, 17:] == -1).all()  # seen by nobody


@pytest.mark.parametrize("predict", [projection, depth_projection])
def test_projection_votes_and_respects_what_is_in_front(predict) -> None:
    wall, box = 0 * halves() + 3, 0 * halves() + 8
    views = labelled_frames([frame(0.0, box), frame(0.0, wall), frame(0.0, wall)], CLASSES)
    assert (predict(views, frame(0.0), 2) == 0).all()
    views += labelled_frames([frame(0.0, box, depth=1.0)] * 3, CLASSES)
    nearer = predict(views, frame(0.0, depth=1.0), 2)
    assert (nearer == 1).all()


def test_scores_tell_holes_and_what_the_map_does_there() -> None:
    views = labelled_frames([frame(0.0, halves())], CLASSES)
    scores = BaselineScores(views, CLASSES, Protocol("x"), ("projection",))
    truth = frame(0.6, 0 * halves() + 8)
    rendered = np.full((10, 20), 3, np.int32)
    rendered[:5] = 8
    scores.add(truth, rendered)
    result = scores.result()["projection"]
    assert result["holes"] == pytest.approx(3 / 20)
    assert result["map_accuracy_in_holes"] == pytest.approx(0.5)
    assert result["total_accuracy"] == pytest.approx(0.5)


def test_supervision_leaves_what_the_task_says() -> None:
    source = Kept()
    split = every_nth(len(source))

    def labelled(task: Supervision) -> list[int]:
        frames = SupervisedFrames(source, split, task)
        given = [i for i in range(len(frames)) if frames[i].labels is not None]
        assert given == sorted(frames.labelled)
        assert all(frames[i].instances is None for i in range(2))
        return given

    n = len(split.train)
    assert labelled(Supervision()) == list(range(n))
    assert labelled(Supervision("frames", count=3)) == [0, 4, 8]
    assert labelled(Supervision("frames", frames=(2, 5))) == [1, 4]
    assert len(labelled(Supervision("frames", count=3, choice="coverage"))) == 3
    assert len(labelled(Supervision("sparse", share=0.9))) == n - int(n * 0.9)
    clicks = SupervisedFrames(source, split, Supervision("clicks"))
    image, truth = clicks[3].labels, source[split.train[3]].labels
    assert (image >= 0).sum() == len(np.unique(truth[truth >= 0]))
    np.testing.assert_array_equal(image, clicks[3].labels)  # the same clicks every time
    noisy = SupervisedFrames(
        source, split, Supervision("region_noise", share=0.5, classes=("chair",), even=True)
    )
    assert any((noisy[i].labels != source[split.train[i]].labels).any() for i in range(len(noisy)))
    with pytest.raises(ValueError, match="instances of"):
        SupervisedFrames(source, split, Supervision("region_noise", classes=("dragon",)))
    with pytest.raises(ValueError, match="mapped ones"):
        SupervisedFrames(source, split, Supervision("frames", frames=(0,)))
    with pytest.raises(ValueError, match="kind"):
        Supervision("guesses")


def test_every_label_protocol_says_its_task() -> None:
    protocols = [load_protocol(f.stem) for f in protocol_files() if f.stem.startswith("labels_")]
    assert len(protocols) == 16
    assert len({p.supervision.describe() for p in protocols}) == 16
    assert len({p.hash for p in protocols}) == 16
    assert all(p.baselines and p.headline == "semantic_nerf_valid" for p in protocols)
    # protocols from before tasks existed keep their hash
    assert load_protocol("main_job").hash == "5e4cbfe5efd4"


@pytest.fixture
def one_thread():
    """Torch's pool spins while it waits: of no use for a network this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_field_on_sines_learns_and_is_rendered(one_thread) -> None:
    source = open_source("room:seed=2,frames=4,width=32,height=24")
    values = {"mapping.rays_per_step": 64, "mapping.near_samples": 3, "mapping.free_samples": 2}
    values |= {"field.truncation_m": 0.06}
    mapper = FrequencyMapper(updated(Config(), values))
    mapper.set_label_names(source.label_names)
    for i in range(4):
        mapper.add_frame(source[i])
    totals = []
    for _ in range(50):
        mapper.train_steps(1)
        totals.append(sum(mapper.status().losses.values()))
    assert np.mean(totals[-10:]) < 0.8 * np.mean(totals[:10])
    state = mapper.snapshot()
    points = torch.rand(5, 3)
    _, gradient = state.field.distance_and_gradient(points)
    steps = 2e-4 * torch.eye(3)
    slopes = [(state.field.distance(points + h) - state.field.distance(points - h)) for h in steps]
    slope = torch.stack(slopes, 1) / 4e-4  # of the highest octave and of ReLUs: not quite smooth
    assert torch.nn.functional.cosine_similarity(gradient, slope).min() > 0.98
    torch.testing.assert_close(gradient.norm(dim=1), slope.norm(dim=1), rtol=0.1, atol=0.02)
    view = render_view(state, source[0].camera, source[0].T_world_camera)
    assert view.label.shape == (24, 32)
