"""Language from images: targets, labels, self-enhancement, and a small room end to end."""

import gc
import json
import sys
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from semantic_field.config import Config, FieldConfig, GridConfig, LanguageConfig
from semantic_field.data.sources import open_source
from semantic_field.evaluation.ablation import AblationRun, ablation_table, true_regions
from semantic_field.evaluation.protocols.protocol import load_protocol, make_protocol
from semantic_field.field.model import SemanticField
from semantic_field.frames import Frame
from semantic_field.geometry import Camera
from semantic_field.mapping import Mapper
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.language.basis import LanguageBasis
from semantic_field.mapping.language.image_language import ImageLanguage
from semantic_field.mapping.language.keyframe_features import DenseTargets
from semantic_field.mapping.language.self_enhancement import Schedule, poses_near, poses_on_circle
from semantic_field.mapping.language.view_labels import ViewLabels
from semantic_field.mapping.robustness.pose_refinement import WARM_UP_STEPS
from semantic_field.settings import updated
from semantic_field.teachers.household import COMMON_THINGS
from semantic_field.teachers.image_teachers import ImageTargets
from semantic_field.teachers.regions import Regions
from semantic_field.teachers.simulated import SimulatedTeacher, Strength

NAMES = ("floor", "wall", "ceiling", "door", "window", "curtain", "rug", "sofa", "armchair")
NAMES += ("chair", "dining table", "coffee table", "bookshelf", "books", "tv stand", "tv", "lamp")
NAMES += ("potted plant", "refrigerator", "kitchen counter", "kitchen cabinet", "microwave")
STEPS = 200
NAMES += ("trash bin", "mug", "bowl", "vase", "cushion", "picture", "clock")
SMALL = {
    "field.grid.log2_table_size": 14,
    "field.grid.finest_cell_m": 0.04,
    "field.latent_dim": 40,
    "mapping.rays_per_step": 512,
    "mapping.memory_budget_mb": 64,
    "language.source": "images",
    "language.novel_views": 2,
    "language.novel_rays": 64,
    "language.novel_width": 80,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Text features of the room's names and of as many others, all alike as CLIP's are."""
    folder = tmp_path_factory.mktemp("features")
    random = np.random.default_rng(0)
    names = [*NAMES, "couch", "bicycle", *(f"other {i}" for i in range(30))]
    features = random.standard_normal((len(names), 48)) + 1.5
    np.save(folder / "features.npy", features.astype(np.float32))
    (folder / "entries.json").write_text(json.dumps(names))
    return folder


@pytest.fixture(scope="module")
def frames():
    source = open_source("room:frames=14")
    return [source[i].resized(160, 120) for i in range(0, 14, 2)], source.label_names


def test_the_simulated_teacher_repeats_itself_and_errs_as_told(folder, frames):
    (frame, *_), names = frames
    mild = Strength(0.5, 0.05, 0.7, 0.15, 0.3, 1.0)
    teacher = SimulatedTeacher(str(folder), strength=mild)
    first = teacher.embed_image(frame.color, frame.labels, names)
    assert first.shape == (3, 15, 20, 48)
    torch.testing.assert_close(first.norm(dim=-1), torch.ones(3, 15, 20))
    again = SimulatedTeacher(str(folder), strength=mild).embed_image(
        frame.color, frame.labels, names
    )
    assert torch.equal(first, again)
    other = SimulatedTeacher(str(folder), seed=1)
    assert not torch.equal(first, other.embed_image(frame.color, frame.labels, names))
    assert other.fingerprint != teacher.fingerprint

    texts = teacher.embed_text(list(names.values()))

    def right(strength: Strength) -> float:
        dense = SimulatedTeacher(str(folder), strength=strength)
        said = (dense.embed_image(frame.color, frame.labels, names)[0] @ texts.T).argmax(-1)
        rows = np.array(list(names))[said.numpy()]
        return float((rows == frame.labels[4::8, 4::8]).mean())

    exact = right(Strength(0.0, 0.1, 0.0, 0.0, 0.0, 1.0))
    confused = right(Strength(1.0, 0.1, 0.9, 0.0, 0.0, 1.0))
    noisy = right(Strength(0.0, 0.1, 0.0, 0.0, 3.0, 1.0))
    assert exact > 0.7 and confused < 0.3 and noisy < exact - 0.2


def test_the_simulated_teacher_needs_labels(folder):
    with pytest.raises(ValueError, match="simulated teacher, got none"):
        SimulatedTeacher(str(folder)).embed_image(np.zeros((16, 16, 3), np.uint8))


def test_schedule_is_due_at_t_and_every_n():
    schedule = Schedule(10, 5)
    assert [step for step in range(31) if schedule.due(step)] == [10, 15, 20, 25, 30]
    late = Schedule(10, 5)  # begun at a later step, as after loading a map
    assert late.due(23) and not late.due(24) and late.due(25)


def test_new_poses_are_near_real_ones():
    real = np.tile(np.eye(4), (5, 1, 1))
    real[:, 0, 3] = np.arange(5) * 10.0
    new = poses_near(real, 40, np.random.default_rng(0))
    apart = np.linalg.norm(new[:, None, :3, 3] - real[None, :, :3, 3], axis=-1).min(1)
    assert apart.max() <= 0.25 and apart.min() < 0.2
    turned = new[:, :3, :3]
    np.testing.assert_allclose(turned @ turned.transpose(0, 2, 1) - np.eye(3), 0.0, atol=1e-9)
    assert (new[:, 2, 2] > np.cos(0.6)).all()


def test_released_poses_spin_in_place():
    real = np.tile(np.eye(4), (4, 1, 1))
    real[:, :3, 3] = [[2, 0, 1], [-2, 0, 1], [0, 2, 1], [0, -2, 1]]
    poses = poses_on_circle(real, 8, np.array([0.0, 0.0, 1.0]))
    offset = poses[:, :3, 3] - [0, 0, 1]
    np.testing.assert_allclose(np.hypot(offset[:, 0], offset[:, 1]), 0.01, rtol=1e-6)
    np.testing.assert_allclose(offset[:, 2], -0.002, rtol=1e-6)
    forward = -offset / np.linalg.norm(offset, axis=1, keepdims=True)
    np.testing.assert_allclose(poses[:, :3, 2], forward, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(poses[:, :3, :3]), 1.0)


def test_earlier_columns_of_the_basis_stay_and_dense_features_are_spanned(folder):
    teacher = SimulatedTeacher(str(folder))
    basis = LanguageBasis(teacher, 32)
    basis.latents_of(list(NAMES[:6]))
    before = basis.basis[:, : basis.rank].clone()
    random = torch.Generator().manual_seed(0)
    hidden = torch.randn(300, 5, generator=random) @ torch.randn(5, 48, generator=random)
    basis.include_dense(torch.nn.functional.normalize(hidden, dim=-1), most=10)
    used = basis.basis[:, : basis.rank]
    assert torch.equal(used[:, :6], before) and basis.rank == 11
    torch.testing.assert_close(used.T @ used, torch.eye(11), atol=1e-5, rtol=0)
    torch.testing.assert_close(hidden @ used @ used.T, hidden, atol=1e-3, rtol=0)
    basis.include_dense(torch.randn(300, 48, generator=random), most=100)
    assert basis.rank == 28  # an eighth is left for names that come later
    with_more = basis.latents_of(["other 3"])
    assert basis.rank == 29 and with_more[0].norm() == pytest.approx(1.0, abs=1e-5)


def test_more_texts_than_columns_are_all_told_apart(folder, frames):
    teacher = SimulatedTeacher(str(folder))
    texts = [*NAMES, *(f"other {i}" for i in range(30))][: 6 * 9]
    mapper = Mapper(updated(Config(), SMALL | {"field.latent_dim": 16}), teacher)
    mapper.set_vocabulary(texts)
    frame = replace(frames[0][0], labels=None, instances=None)
    mapper.add_frame(frame)
    embedding = teacher.embed_text(texts).view(1, 6, 9, -1)
    assert mapper.add_image_targets(frame.stamp_ns, ImageTargets(embedding))
    language = mapper.live_map.trainer.language
    assert language is not None and language.targets is not None
    latents = language.targets.cell_latents(0).flatten(0, 2)
    said = language.targets.rows[0].reshape(120, 160)[10::20, 8::18][:, :9]
    assert said.ravel().tolist() == list(range(54))
    head = mapper.live_map.trainer.field.label_scores(latents)
    assert head.argmax(-1).tolist() == list(range(54))


def two_view_store():
    camera = Camera(20.0, 20.0, 15.5, 7.5, 32, 16)
    store = KeyframeStore(32, 16, 16, (0.1, 10.0))
    for x in (0.0, 1.0):
        pose = np.eye(4)
        pose[0, 3] = x
        depth = np.full((16, 32), 2.0, np.float32)
        store.add(Frame(int(x), np.zeros((16, 32, 3), np.uint8), depth, camera, pose), None)
    return store


def test_targets_are_looked_up_where_the_teacher_saw_them():
    store = two_view_store()
    embedding = torch.arange(2 * 2 * 4 * 3).float().reshape(2, 2, 4, 3)  # S, h, w, E = D
    targets = DenseTargets(store, ImageTargets(embedding), 3, 32)
    targets.put(1, embedding, ImageTargets(embedding), 3)
    rows = np.arange(16 * 32, dtype=np.int16).reshape(16, 32)
    targets.set_labels(1, rows, np.full((16, 32), 0.2, np.float32))
    pixel = np.array([0, 9 * 32 + 31, 5])  # cells (0, 0) and (1, 3); the third view has none
    slots = np.array([1, 1, 0])
    latents, there = targets.look_up(slots, pixel)
    found, weight = targets.look_up_labels(slots, pixel)
    torch.testing.assert_close(latents[1], embedding[:, 1, 3])
    assert found.tolist() == [0, 9 * 32 + 31, -1] and there.tolist() == [1.0, 1.0, 0.0]
    assert weight[1] == pytest.approx(0.2, abs=2e-3)
    store.serials[1] += 100  # some of its pixels were masked: it is the same image
    assert targets.look_up_labels(slots[:1], pixel[:1])[0].tolist() == [0]
    store.identities[1] += 100  # another keyframe has taken the slot
    assert targets.look_up_labels(slots[:1], pixel[:1])[0].tolist() == [-1]
    assert targets.current().tolist() == []


def test_dense_targets_fit_into_their_share():
    store = two_view_store()
    fine = ImageTargets(torch.ones(3, 16, 32, 8))
    targets = DenseTargets(store, fine, 8, 32)
    assert targets.grid[0] * targets.grid[1] <= 16 * 32 / 64


def learner(store, **settings):
    torch.manual_seed(0)
    field = SemanticField(FieldConfig(grid=GridConfig(levels=2, log2_table_size=8), latent_dim=4))

    class Teacher:
        dim, fingerprint = 4, "test"

        def knows(self, text):
            return True

        def embed_text(self, texts):
            return torch.eye(4)[: len(texts)]

    basis = LanguageBasis(Teacher(), 4)
    texts = basis.latents_of(["a", "b", "c"])
    language = ImageLanguage(LanguageConfig(**settings), basis, field, lambda: None)  # type: ignore
    language.set_vocabulary(texts)
    return language


def test_other_texts_relabel_what_is_stored():
    store = two_view_store()
    language = learner(store, novel_views=0)
    embedding = torch.zeros(1, 2, 4, 4)
    embedding[..., 1] = 1.0
    left = np.zeros((16, 32), bool)
    left[:, :20] = True
    regions = Regions.from_masks([left], (16, 32))
    language.add(store, 0, ImageTargets(embedding, regions))
    assert language.targets is not None
    rows = language.targets.rows[0].reshape(16, 32)
    assert (rows[left] == 1).all() and (rows[~left] == -1).all()
    language.set_vocabulary(language.texts[[1, 2]])
    language.seen(0, store)
    assert (language.targets.rows[0].reshape(16, 32)[left] == 0).all()


def test_an_image_without_any_region_is_unlabelled():
    store, nothing = two_view_store(), Regions.from_masks([], (16, 32))
    seen = torch.zeros(1, 2, 4, 4)
    seen[..., 1] = 1.0
    for settings, row in (
        ({"ranking": "released"}, -1),
        ({"ranking": "released", "unlabelled": "c"}, 2),
        ({"ranking": "mended"}, -1),
    ):
        language = learner(store, novel_views=0, **settings)
        language.add(store, 0, ImageTargets(seen, nothing))
        language.add(store, 1, ImageTargets(seen))  # nobody has looked for regions
        assert (language.targets.rows[0] == row).all() and (language.targets.rows[1] == 1).all()


def test_a_refresh_takes_the_place_of_the_one_before():
    store = two_view_store()
    language = learner(store, enhancement="views", novel_views=0, enhance_from=0, enhance_every=1)
    done = []
    for slot in range(2):
        language.add(store, slot, ImageTargets(torch.ones(1, 2, 4, 4)))
    language.targets.set_labels = lambda slot, *labels: done.append(slot)
    language.config = replace(language.config, enhance_per_step=1)
    for step in range(6):  # due in each step, and a step is done with one of two views
        language.seen(step, store)
    language.config = replace(language.config, enhance_per_step=0)
    language.seen(6, store)  # done with all that waits
    assert done == [0, 1] * 4


def test_memory_may_be_asked_for_while_targets_come_and_go():
    store = two_view_store()
    language = learner(store)
    own = ViewLabels(language.config, None, None, None, None, None, None)  # type: ignore
    language.add(store, 0, ImageTargets(torch.ones(1, 2, 4, 4)))
    regions = Regions.from_masks([np.ones((16, 32), bool)], (16, 32))
    view, stop = (np.zeros((1, 3), np.float32),) * 3, threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            for i in range(500):
                language.targets.regions[i] = regions
                own.new_views[i] = view
            language.targets.regions.clear()
            own.new_views.clear()

    worker = threading.Thread(target=come_and_go)
    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    worker.start()
    try:
        for _ in range(1000):
            assert language.memory_bytes() > 0 and own.memory_bytes() >= 0
    finally:
        stop.set()
        worker.join()
        sys.setswitchinterval(often)


def test_targets_follow_a_keyframe_that_moves_to_another_slot():
    store = two_view_store()
    language = learner(store, novel_views=0)
    for slot, text in ((0, 0), (1, 2)):
        embedding = torch.zeros(1, 2, 4, 4)
        embedding[..., text] = 1.0
        regions = Regions.from_masks([np.ones((16, 32), bool)] * (1 + slot), (16, 32))
        patches = torch.full((2, 4, 3), 1.0 + slot)
        language.add(store, slot, ImageTargets(embedding, regions, patches))
    targets = language.targets
    assert targets is not None
    kept = [array[1].copy() for array in targets.arrays()]
    language.set_vocabulary(language.texts[[2, 1, 0]])  # labels are due when it moves
    store.remove(0)
    assert targets.current().tolist() == [0] and len(targets.regions[0]) == 2
    language.seen(0, store)
    slots, pixels = np.zeros(3, np.int64), np.array([0, 77, 511])
    assert targets.look_up_labels(slots, pixels)[0].tolist() == [0, 0, 0]
    assert targets.look_up(slots, pixels)[0].argmax(-1).tolist() == [[2], [2], [2]]
    targets.rows[0] = kept[1]  # the labels of before, else nothing has changed
    for array, before in zip(targets.arrays(), kept, strict=True):
        assert np.array_equal(array[0], before)
    assert targets.slot_of(int(store.identities[0])) == 0 and targets.slot_of(-1) == -1


def test_a_map_that_is_reset_frees_its_targets_at_once(folder, frames):
    images, names = frames
    mapper = looked_at(folder, images, names, labels=False)
    mapper.train_steps(2)  # labels no longer wait
    targets = weakref.ref(mapper.live_map.trainer.language.targets)
    gc.disable()  # the collector may come late: it is not asked
    try:
        mapper.reset()
        assert targets() is None
    finally:
        gc.enable()


def test_a_patch_brings_points_and_features():
    store = two_view_store()
    language = learner(store, fda_every=1, fda_side=2, fda_spacing=4, self_enhancement=False)
    patches = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(0))
    language.add(store, 1, ImageTargets(torch.ones(1, 2, 4, 4), None, patches))
    seen = language.seen(0, store)
    assert seen.points.shape == (4, 3) and seen.patch.shape[0] == 4
    assert np.allclose(seen.points[:, 2], 2.0) and not len(seen.chance)


def train(folder, frames, names, steps=STEPS, **settings):
    """mIoU of the training views after a short run, and the mapper."""
    strength = Strength(confusion=0.6, temperature=0.2, blend=0.6, bias=0.3, noise=1.5)
    teacher = SimulatedTeacher(str(folder), strength=strength)
    mapper = Mapper(updated(Config(), SMALL | settings), teacher)
    mapper.set_label_names(names)
    for frame in frames:
        blind = replace(frame, labels=None, instances=None)
        if mapper.add_frame(blind):
            regions = true_regions(frame)
            embedding = teacher.embed_image(frame.color, frame.labels, names)
            assert mapper.add_image_targets(frame.stamp_ns, ImageTargets(embedding, regions))
    mapper.train_steps(steps)
    state = mapper.snapshot()
    right = []
    for frame in frames[::3]:
        view = mapper.render(frame.camera, frame.T_world_camera)
        right.append((view.label == frame.labels)[frame.labels >= 0].mean())
    assert state.language is not None
    return float(np.mean(right)), mapper


@pytest.mark.parametrize("enhancement", ["surface", "views"])
def test_both_beat_the_baseline_and_the_vocabulary_may_change(folder, frames, enhancement):
    images, names = frames
    base, _ = train(folder, images, names, **{
        "language.rank_teacher": False, "language.self_enhancement": False})  # fmt: skip
    both, mapper = train(folder, images, names, **{
        "language.enhance_from": 120, "language.enhance_every": 40,
        "language.enhancement": enhancement})  # fmt: skip
    assert both > base
    assert {"features", "relevancy", "new_views"} <= set(mapper.status().losses)
    mapper.set_vocabulary(["floor", "wall", "sofa"])
    mapper.train_steps(30)
    view = mapper.render(images[0].camera, images[0].T_world_camera)
    ids = {name: i for i, name in names.items()}
    assert set(np.unique(view.label)) <= {-1, ids["floor"], ids["wall"], ids["sofa"]}


def looked_at(folder, frames, names, labels=True, latent_dim=40, **settings):
    """A mapper with two keyframes, and what a teacher without errors says of them."""
    teacher = SimulatedTeacher(str(folder), strength=Strength(0.0, 0.1, 0.0, 0.0, 0.0, 1.0))
    mapper = Mapper(updated(Config(), SMALL | {"field.latent_dim": latent_dim} | settings), teacher)
    for frame in frames[:2]:
        given = replace(frame, labels=frame.labels if labels else None, instances=None)
        assert mapper.add_frame(given)
        embedding = teacher.embed_image(frame.color, frame.labels, names)
        assert mapper.add_image_targets(frame.stamp_ns, ImageTargets(embedding))
    return mapper


def told_apart(mapper) -> list[str]:
    """The names in the map, in the order of the rows; each is a text that is learnt."""
    state = mapper.snapshot()
    assert len(state.class_ids) == mapper.live_map.trainer.field.classes
    assert len(mapper.live_map.trainer.language.texts) == len(state.class_ids)
    return [state.label_names[i] for i in state.class_ids]


def test_the_vocabulary_of_the_settings_is_what_is_told_apart(folder, frames, tmp_path):
    images, names = frames
    texts = ["sofa", "floor", "bicycle", "wall"]
    settings = {"language.vocabulary": texts, "language.enhance_from": 3, "mapping.threads": 1}
    mapper = looked_at(folder, images, names, **settings)
    assert told_apart(mapper) == texts
    labels = mapper.live_map.keyframes.images.labels
    assert (labels[:2] == -1).all()  # nobody has said what the ids mean
    mapper.set_label_names(names)
    mapper.set_label_names(names)
    assert told_apart(mapper) == texts
    ids = {name: i for i, name in names.items()}
    known = mapper.live_map.classes.ids
    assert [known[i] for i in (0, 1, 3)] == [ids["sofa"], ids["floor"], ids["wall"]]
    assert known[2] not in names
    assert mapper.add_frame(replace(images[4], instances=None))
    rows = np.unique(mapper.live_map.keyframes.images.labels[2])
    assert set(rows.tolist()) <= {-1, 0, 1, 3} and len(rows) > 2
    mapper.train_steps(5)
    assert {"relevancy", "new_views", "label"} <= set(mapper.status().losses)
    mapper.save(tmp_path / "map")
    again = Mapper(updated(Config(), SMALL | {"language.vocabulary": ["rug"]}), mapper.teacher)
    again.load(tmp_path / "map")
    again.set_label_names(names)
    assert told_apart(again) == texts
    again.reset()
    assert told_apart(again) == ["rug"]
    with pytest.raises(ValueError, match=r"teacher knows, got .'sofas from Mars'"):
        looked_at(folder, images, names, **{"language.vocabulary": ["sofas from Mars"]})


def test_without_any_names_common_things_are_told_apart(folder, frames):
    images, names = frames
    mapper = looked_at(folder, images, names, labels=False, **{"language.enhance_from": 3})
    common = [name for name in COMMON_THINGS if name in {*NAMES, "bicycle"}]
    assert told_apart(mapper) == common and len(common) > 15
    mapper.train_steps(5)
    assert {"relevancy", "new_views"} <= set(mapper.status().losses)
    language, frame = mapper.live_map.trainer.language, images[0]
    said = np.array([*common, ""])[language.targets.rows[0]].reshape(120, 160)
    true = np.vectorize(names.get)(frame.labels)
    shared = np.isin(true, common)
    assert (said == true)[shared].mean() > 0.8
    mapper.set_label_names(names)
    assert told_apart(mapper) == [names[i] for i in sorted(names)]
    mapper.set_vocabulary(["sofa", "rug"])
    assert told_apart(mapper) == ["sofa", "rug"]
    mapper.set_vocabulary([])
    assert told_apart(mapper) == [names[i] for i in sorted(names)]


def test_another_vocabulary_takes_the_label_images_along(folder, frames):
    images, names = frames
    mapper = Mapper(updated(Config(), SMALL), SimulatedTeacher(str(folder)))
    mapper.set_label_names(names)
    for frame in images[:3]:
        assert mapper.add_frame(replace(frame, instances=None))
    mapper.add_image_targets(images[0].stamp_ns, ImageTargets(torch.ones(1, 2, 2, 48)))
    before, kept = mapper.snapshot(), ["wall", "bicycle", "floor"]
    mapper.set_vocabulary(kept)
    assert told_apart(mapper) == kept and mapper.snapshot() is not before
    ids = mapper.live_map.classes.ids
    rows = mapper.live_map.keyframes.images.labels
    for slot, frame in enumerate(images[:3]):
        expected = np.select([frame.labels == i for i in ids], range(3), -1)
        assert np.array_equal(rows[slot].reshape(120, 160), expected)
    noted = mapper.live_map.keyframes.labelled
    assert (rows[tuple(noted.noted(0))] == 0).all() and (rows[tuple(noted.noted(2))] == 2).all()
    mapper.train_steps(2)
    unseen = np.full((120, 160), 999, np.int32)
    assert mapper.add_frame(replace(images[5], labels=unseen, instances=None))
    assert (rows[3] == -1).all() and told_apart(mapper) == kept
    mapper.set_vocabulary(["wall"])
    assert told_apart(mapper) == ["wall"]
    with pytest.raises(ValueError, match="teacher knows"):
        mapper.set_vocabulary(["wall", "no such thing"])
    assert told_apart(mapper) == ["wall"]
    with pytest.raises(ValueError, match="learnt from images"):
        Mapper(Config()).set_vocabulary(["wall"])


def test_whatever_ends_training_is_said():
    mapper = Mapper(updated(Config(), {**SMALL, "language.source": "labels"}))
    camera = Camera(20.0, 20.0, 15.5, 7.5, 32, 16)
    depth, labels = np.full((16, 32), 2.0, np.float32), np.zeros((16, 32), np.int32)
    image = np.zeros((16, 32, 3), np.uint8)
    mapper.add_frame(Frame(0, image, depth, camera, np.eye(4), labels))
    mapper.live_map.keyframes.images.labels[0] = 77  # no such row
    mapper.start()
    while not mapper.status().error:
        time.sleep(0.005)
    assert mapper.status().state == "failed" and "IndexError" in mapper.status().error
    mapper.stop()


def test_what_images_mean_moves_no_image(folder, frames):
    images, names = frames
    moments = []
    for weight in (0.0, 4.0):
        settings = {"mapping.refine_poses": "on", "mapping.threads": 1}
        mapper = looked_at(folder, images, names, labels=False, **settings)
        language = mapper.live_map.trainer.language
        off = replace(language.config, relevancy_weight=0.0, feature_weight=0.0)
        language.config = off
        mapper.train_steps(20)
        mapper.live_map.trainer.steps = WARM_UP_STEPS
        language.config = replace(off, relevancy_weight=weight, feature_weight=weight)
        mapper.train_steps(1)
        moments.append(mapper.live_map.keyframes.learnt["pose_moments"][:2, 0].copy())
    assert np.abs(moments[0]).max() > 1e-6
    np.testing.assert_allclose(moments[1], moments[0], rtol=1e-3, atol=1e-7)


def test_early_images_know_late_texts_by_the_columns_of_their_time(folder):
    teacher = SimulatedTeacher(str(folder))
    mapper = Mapper(updated(Config(), SMALL | {"field.latent_dim": 16}), teacher)
    mapper.set_vocabulary(list(NAMES[:4]))
    image, depth = np.zeros((60, 80, 3), np.uint8), np.full((60, 80), 2.0, np.float32)
    mapper.add_frame(Frame(5, image, depth, Camera(60, 60, 40, 30, 80, 60), np.eye(4)))
    late = [f"other {i}" for i in range(30)]
    embedding = teacher.embed_text(late).view(1, 5, 6, -1)
    assert mapper.add_image_targets(5, ImageTargets(embedding))
    language, rank = mapper.live_map.trainer.language, mapper.live_map.language.rank
    mapper.set_vocabulary(late)
    assert mapper.live_map.language.rank > rank == language.targets.ranks[0]
    language.seen(0, mapper.live_map.keyframes)
    said = language.targets.rows[0].reshape(60, 80)[6::12, 6::13][:, :6]
    assert said.ravel().tolist() == list(range(30))


def test_any_number_of_threads_learns_the_same(folder, frames):
    losses = []
    for threads in (1, 2):
        settings = {"mapping.threads": threads, "language.enhance_from": 2}
        _, mapper = train(folder, *frames, steps=6, **settings)
        losses.append(mapper.status().losses)
    assert {"features", "relevancy", "new_views"} <= set(losses[0])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_one_cell_of_the_ablation(folder):
    content = {
        "name": "tiny",
        "split": "explicit",
        "split_options": {"train": [0, 4, 8], "test": [2]},
        "training": {"steps": 8},
        "views": {"width": 80},
        "headline": "ov_nerf",
        "ablation": [{"name": "both", "rsr": True, "cse": True}],
    }
    config = updated(Config(), SMALL | {"teacher.kind": "simulated", "teacher.path": str(folder)})
    run = AblationRun("room:frames=9", make_protocol(content), config)
    _, synonyms, absent = run.questions()
    assert {q.text for q in synonyms} == {"couch"} and [q.text for q in absent] == ["bicycle"]
    assert all(item.frame.labels is None and item.frame.instances is None for item in run.frames)
    result = run.score(run.protocol.ablation[0])
    assert result["steps"] == 8 and result["keyframes"] == 3 and 0 <= result["miou"] <= 1
    assert result["teacher"] == "simulated teacher"
    head, base, row = ablation_table([result | {"miou": 0.1}, result | {"miou": 0.25}])
    assert base[2] == "1.00" and row[:3] == ["both", "0.250", "2.50"] and len(row) == len(head)


def test_the_cells_of_an_ablation_are_settings():
    cells = {cell.name: cell for cell in load_protocol("ov_ablation").ablation}
    assert len(cells) == 11 and list(cells)[:4] == ["base", "+RSR", "+CSE", "both"]
    late = cells["both, T 0.6"].config(Config(), 1000).language
    assert late.rank_teacher and late.self_enhancement and late.source == "images"
    assert (late.enhance_from, late.enhance_every) == (600, 150)
    assert cells["+RSR, true instances"].regions == "instances"
    for wrong in ({"regions": "true"}, {"every": 0}, {"first": 2}, {"rsrr": True}):
        with pytest.raises(ValueError, match="ablation"):
            make_protocol({"name": "x", "ablation": [{"name": "a", **wrong}]})
    with pytest.raises(ValueError, match="another name"):
        make_protocol({"name": "x", "ablation": [{"name": "a"}, {"name": "a"}]})
