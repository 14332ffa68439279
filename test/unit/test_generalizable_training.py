"""Training of generalizable models: scenes and their cache, episodes, figures, settings."""

from __future__ import annotations

import importlib.util
import math
import resource
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from semantic_field.frames import Frame
from semantic_field.generalizable.episodes import Episode, EpisodeSettings
from semantic_field.generalizable.generalizable_model import Prediction, Truth
from semantic_field.generalizable.sensor_noise import EXACT
from semantic_field.generalizable.source_images import SourceImages, target_rays
from semantic_field.generalizable.training import scene_cache, scenes
from semantic_field.generalizable.training.construction import plain
from semantic_field.generalizable.training.data_parallel import Workers
from semantic_field.generalizable.training.episode_feed import EpisodeFeed
from semantic_field.generalizable.training.fine_tuning import FineTuning, fine_tuned
from semantic_field.generalizable.training.held_out_figures import figures_of, mean_iou
from semantic_field.generalizable.training.learning_rate import make_optimizer, rate_factor
from semantic_field.generalizable.training.scene_cache import (
    Recording,
    read_recording,
    read_scene,
    write_scene,
)
from semantic_field.generalizable.training.scene_episodes import (
    RecentlyUsed,
    SceneEpisodes,
    held_out_episodes,
    scene_shares,
    with_classes,
)
from semantic_field.generalizable.training.scenes import SceneSet, expand_locations
from semantic_field.generalizable.training.train_commands import config_file
from semantic_field.generalizable.training.training_job import (
    OF_THE_RECORDINGS,
    TrainingJob,
    with_class_names,
)
from semantic_field.generalizable.training.training_loop import EpisodeLoss
from semantic_field.generalizable.training.training_run import TrainingLog, TrainingRun, read_log
from semantic_field.generalizable.training.training_settings import (
    ScheduleSettings,
    read_training_config,
    training_config,
)
from semantic_field.generalizable.training.weight_files import (
    SYSTEMS,
    System,
    build_model,
    config_of,
)
from semantic_field.geometry import Camera

ROOT = Path(__file__).resolve().parents[2]
SIZE = 64, 48
ROOMS = "room:seed=0..1,frames=8,width=64,height=48"


@pytest.fixture(scope="module")
def tiny():
    """The module with the tiny model, which is known as the system ``tiny`` while it is used."""
    path = Path(__file__).with_name("tiny_generalizable.py")
    spec = importlib.util.spec_from_file_location("tiny_generalizable", path)
    module = sys.modules["tiny_generalizable"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    SYSTEMS["tiny"] = System("tiny_generalizable", "TinyModel", "TinyConfig")
    yield module
    del SYSTEMS["tiny"], sys.modules["tiny_generalizable"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def rooms(cache) -> SceneSet:
    found = SceneSet(expand_locations([ROOMS]), SIZE, cache)
    found.prepare(lambda *_: None)
    return found


@pytest.fixture(scope="module")
def settings() -> EpisodeSettings:
    return EpisodeSettings(views=(2, 3), strides=(1, 2), crop=(16, 24))


def frame(number: int = 0, labels: np.ndarray | None = None) -> Frame:
    """A frame of 4 x 3 pixels; its depth is not in whole millimetres."""
    depth = np.array([[0.0, 1.0004, 2.0006, 70.0]] * 3, np.float32)
    pose = np.eye(4)
    pose[0, 3] = number
    color = np.full((3, 4, 3), number, np.uint8)
    return Frame(number, color, depth, Camera(4.0, 4.1, 1.5, 1.0, 4, 3), pose, labels)


# --- scenes --------------------------------------------------------------------------------------


def test_ranges_and_variables_are_written_out(monkeypatch):
    monkeypatch.setenv("RECORDED", "/data")
    found = expand_locations(["room:seed=2..4,frames=9", "$RECORDED/a", "${RECORDED}/b", "x/1..2"])
    assert found[0] == [f"room:seed={i},frames=9" for i in (2, 3, 4)]
    assert found[1:] == [["/data/a"], ["/data/b"], ["x/1..2"]]
    with pytest.raises(ValueError, match="export NOT_SET_ANYWHERE=FOLDER"):
        expand_locations(["$NOT_SET_ANYWHERE/a"])
    with pytest.raises(ValueError, match="ends after it begins"):
        expand_locations(["room:seed=4..2"])


def test_a_scene_comes_back_as_it_was(tmp_path):
    labels = np.arange(12, dtype=np.int32).reshape(3, 4) * 10_000 - 1
    write_scene(tmp_path / "a", Recording("r", {3: "cup"}), [frame(1), frame(2, labels)])
    recording, (first, second) = read_scene(tmp_path / "a")
    assert recording == read_recording(tmp_path / "a") and recording.frames == 2
    assert recording.name == "r" and recording.class_names == {3: "cup"}
    assert recording.present == set(range(9_999, 110_000, 10_000))
    assert first.labels is None and (second.labels == labels).all()
    assert second.depth[0].tolist() == [0.0, 1.0, np.float32(2.001), 0.0]  # beyond 16 bits: none
    assert second.camera == frame().camera and second.stamp_ns == 2
    assert (second.T_world_camera == frame(2).T_world_camera).all()
    assert (second.color == 2).all()


@pytest.mark.parametrize("damage", ["cut", "turned", "other"])
def test_damaged_scenes_are_noticed_and_made_anew(tmp_path, rooms, damage, caplog):
    again = SceneSet([rooms.locations[:1]], SIZE, tmp_path)
    expected = again[0].frames[3].color
    (file,) = tmp_path.glob("*.safetensors")
    data = bytearray(file.read_bytes())
    if damage == "cut":
        del data[len(data) // 2 :]
    elif damage == "turned":
        data[-100] ^= 1
    else:
        data = bytearray(b"what is this")
    file.write_bytes(data)
    assert (again[0].frames[3].color == expected).all()
    assert "made anew" in caplog.text
    assert read_scene(file) is not None


def test_each_room_is_rendered_once(rooms, cache, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("opened again")

    monkeypatch.setattr(scenes, "open_source", refuse)
    again = SceneSet(expand_locations([ROOMS]), SIZE, cache)
    again.prepare(lambda *_: None)
    assert len(again[1].frames) == 8 and again.class_names() == rooms.class_names()
    other = SceneSet(expand_locations([ROOMS]), (32, 24), cache)
    with pytest.raises(AssertionError, match="opened again"):
        other.prepare(lambda *_: None)


def test_a_changed_recording_is_read_anew(tmp_path):
    folder = tmp_path / "recording"
    folder.mkdir()
    before = scene_cache.cache_file(tmp_path, str(folder), SIZE, 9)
    assert before == scene_cache.cache_file(tmp_path, str(folder), SIZE, 9)
    assert before != scene_cache.cache_file(tmp_path, str(folder), SIZE, 8)
    (folder / "poses.txt").write_text("0")
    assert before != scene_cache.cache_file(tmp_path, str(folder), SIZE, 9)


def test_processes_share_the_work(tmp_path):
    names = [f"room:seed={i},frames=1,width=16,height=12" for i in range(3)]
    said = []
    for rank in range(2):
        found = SceneSet([names], (16, 12), tmp_path)
        found.prepare(lambda text, done, count: said.append((text, count)), rank, 2)
    prepared = [text for text, _ in said if text.startswith("preparing")]
    assert prepared == [f"preparing {names[i]}" for i in (0, 2, 1)]
    assert len(list(tmp_path.glob("*"))) == 3


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match=r"set data\.cache to a folder on another disk"):
            write_scene(tmp_path / "a", Recording("r"), [frame()])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


def test_void_is_no_class(tmp_path, monkeypatch):
    class Source:
        name, label_names = "s", {0: "void", 4: "cup", 5: "plate"}

        def __len__(self):
            return 5

        def __getitem__(self, index):
            labels = np.zeros((3, 4), np.int32)
            labels[0, :index] = 4
            return frame(index, labels)

    monkeypatch.setattr(scenes, "open_source", lambda location: Source())
    found = SceneSet([["anything"]], (4, 3), tmp_path, most_frames=3)
    scene = found[0]
    assert [f.stamp_ns for f in scene.frames] == [0, 2, 4]  # thinned evenly
    assert scene.class_names == {4: "cup", 5: "plate"}
    assert scene.frames[1].labels[0].tolist() == [4, 4, -1, -1]
    assert found.class_names() == ("cup",)  # no image shows a plate


def test_what_was_used_least_recently_goes_first():
    loaded = []

    def load(number: int) -> tuple[str, int]:
        loaded.append(number)
        return f"scene {number}", 40

    kept = RecentlyUsed(load, 100)
    assert [kept[i] for i in (0, 1, 0, 2)][-1] == "scene 2"  # 1 goes
    assert kept.size == 80
    assert kept[0] == "scene 0" and loaded == [0, 1, 2]
    assert kept[1] == "scene 1" and loaded == [0, 1, 2, 1]
    alone = RecentlyUsed(load, 10)
    assert alone[7] == "scene 7" and alone.size == 40


# --- episodes ------------------------------------------------------------------------------------


def test_shares_of_scenes():
    assert scene_shares((0, 0, 0, 1), ()) == [0.25] * 4
    assert scene_shares((0, 0, 0, 1), (3, 1)) == [0.25] * 4
    assert scene_shares((0, 0, 1), (1, 3)) == pytest.approx([0.125, 0.125, 0.75])


def test_an_episode_depends_on_seed_step_and_number_alone(rooms, settings):
    one = SceneEpisodes(rooms, settings, seed=5)
    other = SceneEpisodes(rooms, settings, seed=5, memory_mb=0.001)
    wanted = [one(step, index) for step in (0, 3, 9) for index in (0, 1)]
    for number in (5, 2, 0, 1, 4, 3):
        step, index = ((0, 3, 9)[number // 2], number % 2)
        again = other(step, index)
        assert torch.equal(again.sources.colors, wanted[number].sources.colors)
        assert torch.equal(again.rays.pixels, wanted[number].rays.pixels)
    changed = SceneEpisodes(rooms, settings, seed=6)(0, 0)
    assert not all(torch.equal(changed.truth.color, episode.truth.color) for episode in wanted)
    assert not torch.equal(wanted[0].truth.color, wanted[1].truth.color)


def test_scenes_change_slowly_and_by_their_shares(rooms, settings):
    def active(**options):
        return SceneEpisodes(rooms, settings, **options).active_scenes

    assert [active()(step) for step in (0, 99)] == [[0, 1]] * 2  # both, always
    one = active(active=1, episodes_per_scene=6, batch=2)
    drawn = [one(step)[0] for step in range(300)]
    assert all(len(set(drawn[i : i + 3])) == 1 for i in range(0, 300, 3))
    assert 25 < sum(drawn[::3]) < 75


def test_held_out_episodes_are_the_same_each_time(rooms, settings):
    first = held_out_episodes(rooms, settings, (), 3, 0)
    assert {kind: len(episodes) for kind, episodes in first.items()} == {"exact": 3, "noisy": 3}
    again = held_out_episodes(rooms, replace(settings, without_depth=0.5), (), 3, 0)
    assert set(again) == {"exact", "noisy", "no_depth"}
    assert torch.equal(first["noisy"][2].sources.depths, again["noisy"][2].sources.depths)
    assert again["no_depth"][0].sources.depths is None
    exact = first["exact"][0]
    assert torch.equal(exact.sources.depths, exact.truth.source_depths)
    assert not torch.equal(first["noisy"][0].sources.depths, exact.truth.source_depths)


def test_a_recording_of_too_few_frames_is_named(rooms):
    with pytest.raises(ValueError, match=r"at least 10 frames in room:seed=.*got 8; lower"):
        SceneEpisodes(rooms, EpisodeSettings(strides=(1, 5)))


def some_episode() -> Episode:
    labels = torch.tensor([[0, 1, -1, 2]])
    rays = target_rays(torch.ones(4), torch.eye(4), torch.ones(1, 4), torch.zeros(1, 4))
    sources = SourceImages(
        torch.zeros(1, 3, 1, 4), torch.ones(1, 4), torch.eye(4)[None], labels=labels[None]
    )
    truth = Truth(torch.zeros(1, 4, 3), torch.ones(1, 4), labels, labels[None])
    return Episode(sources, rays, truth, np.array([3, 7, 9], np.int32))


def test_label_rows_of_a_closed_set():
    names = {3: "cup", 7: "lamp", 9: "plate", 11: "sofa"}
    closed = with_classes(some_episode(), names, ("sofa", "plate", "cup"))
    rows = [[2, -1, -1, 1]]
    assert closed.truth.labels.tolist() == rows
    assert closed.truth.source_labels.tolist() == [rows]
    assert closed.sources.labels.tolist() == [rows] and closed.sources.n_classes == 3
    assert with_classes(some_episode(), names, ()).truth.labels.tolist() == [[0, 1, -1, 2]]


# --- feed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_the_feed_keeps_the_order_and_its_bound(ahead):
    made: list[int] = []
    taken, most = 0, 0

    def make(step: int) -> int:
        nonlocal most
        made.append(step)
        most = max(most, len(made) - taken)
        return step * 10

    with EpisodeFeed(make, 4, 12, ahead) as feed:
        for step in range(4, 12):
            assert feed.take() == step * 10
            taken += 1
        with pytest.raises(IndexError):
            feed.take()
    assert made == list(range(4, 12))
    assert most <= max(1, ahead) + 1  # one may be made while the last one is being taken


def test_the_feed_works_while_the_last_step_is_used():
    prepared = threading.Event()

    def make(step: int) -> int:
        if step == 1:
            prepared.set()
        return step

    with EpisodeFeed(make, 0, 9, 2) as feed:
        assert feed.take() == 0
        assert prepared.wait(60)


def test_what_the_feed_s_thread_meets_reaches_the_loop_and_the_thread_ends():
    def make(step: int) -> int:
        if step == 2:
            raise ValueError("no such frame")
        return step

    with pytest.raises(ValueError, match="no such frame"), EpisodeFeed(make, 0, 9, 2) as feed:
        for _ in range(3):
            feed.take()
    assert not [t for t in threading.enumerate() if t.name.startswith("episodes")]


# --- figures, rates, settings --------------------------------------------------------------------


def test_mean_iou_by_hand():
    scores = torch.tensor(
        [[[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.0, 0.0, 0.0], [0.1, 0.7, 0.0], [0.9, 0.0, 0.0]]]
    )
    labels = torch.tensor([[0, 0, 0, 1, -1]])
    # class 0: said at one of three, no false alarm: 1/3; class 1: said twice, once right: 1/2
    assert mean_iou(scores, labels) == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_figures_by_hand():
    color = torch.full((1, 4, 3), 0.1)
    prediction = Prediction(color, torch.tensor([[1.0, 2.0, 0.0, 4.0]]), torch.ones(1, 4))
    truth = Truth(
        torch.zeros(1, 4, 3), torch.tensor([[1.5, 2.1, 3.0, 0.0]]), torch.full((1, 4), -1)
    )
    found = figures_of(prediction, truth)
    assert found["psnr"] == pytest.approx(20.0, abs=1e-4)
    assert found["depth_m"] == pytest.approx(0.1, abs=1e-5)  # torch's median of two: the lower
    assert "miou" not in found


def test_learning_rate_by_hand():
    cosine = ScheduleSettings(steps=101, warm_up_steps=0, last_rate=0.2)
    assert [rate_factor(i, cosine) for i in (0, 50, 100)] == pytest.approx([1.0, 0.6, 0.2])
    warm = ScheduleSettings(steps=100, warm_up_steps=3)
    assert [rate_factor(i, warm) for i in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    stepped = ScheduleSettings(
        decay="steps", decay_factor=0.6, decay_every=10, warm_up_steps=0, steps=99
    )
    assert [rate_factor(i, stepped) for i in (9, 10, 25)] == pytest.approx([1, 0.6, 0.36])
    assert rate_factor(70, ScheduleSettings(decay="none", warm_up_steps=0)) == 1.0


def test_rates_of_parts_of_a_model(tiny):
    model = tiny.TinyModel(tiny.TinyConfig())
    rates = {"score": 0.5, "score.bias": 0.25}
    optimizer = make_optimizer(model, ScheduleSettings(learning_rate=0.1), rates)
    found = {id(p): g["base_rate"] for g in optimizer.param_groups for p in g["params"]}
    assert found[id(model.score.weight)] == 0.5 and found[id(model.score.bias)] == 0.25
    assert found[id(model.tone)] == 0.1 and len(found) == len(list(model.parameters()))
    with pytest.raises(ValueError, match=r"filter, norm, score, tone.*got head"):
        make_optimizer(model, ScheduleSettings(), {"head": 1.0})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"modle": {}}, "expected sections model, data, episodes, training, rates, got modle"),
        ({"training": {"stpes": 3}}, "in training: expected one of the settings.*'steps'.*stpes"),
        ({"training": {"steps": 0}}, "ScheduleSettings.steps at least 1"),
        ({"data": {"shares": [1, 2, 3]}}, "one number from 0 on for each of the 1 entries"),
        ({"episodes": {"veiws": [2, 3]}}, r"settings of episodes \(.*views.*got veiws"),
        ({"episodes": {"noises": [{"dpeth": 1}]}}, r"episodes\.noises \(.*depth.*got dpeth"),
        ({"rates": {"head": "5e-4"}}, r"YAML wants 5\.0e-4"),
        ({"model": [1]}, "expected model to be a mapping"),
    ],
)
def test_bad_settings_are_said_with_what_is_known(content, said):
    with pytest.raises(ValueError, match=said):
        training_config(content)


def test_settings_come_back_from_their_own_text():
    text = """
    model: {system: tiny, width: 5}
    data: {recordings: [a, b], shares: [1, 2.5]}
    episodes: {views: [2, 4], noises: [{depth: 2.0}, {}]}
    rates: {score: 0.01}
    """
    config = training_config(yaml.safe_load(text))
    assert config.episodes.noises[0].depth == 2.0 and config.episodes.views == (2, 4)
    assert training_config(yaml.safe_load(yaml.safe_dump(config.as_dict()))) == config


@pytest.mark.parametrize(
    "path", sorted((ROOT / "config").glob("g*_small.yaml")), ids=lambda p: p.stem
)
def test_shipped_settings_of_trainings(path, monkeypatch):
    monkeypatch.setenv("SEMANTIC_FIELD_DATA", "/data")
    assert config_file(path.stem) == path
    config = read_training_config(path)
    trained = {name for entry in expand_locations(config.data.recordings) for name in entry}
    held_out = {name for entry in expand_locations(config.data.held_out) for name in entry}
    assert trained and held_out and not trained & held_out
    assert not [name for name in trained | held_out if "bedroom" in name or "kitchen" in name]


@pytest.mark.parametrize("name", ["gsnerf", "gp_nerf"])
def test_settings_of_the_papers_are_those_of_a_training_without_noise(name):
    config = read_training_config(config_file(name))
    assert config.episodes.noises == (EXACT,)
    model = build_model(config.model)
    assert config_of(model) == plain(build_model(config_of(model)).config) | {"system": name}
    assert make_optimizer(model, config.training, config.rates).param_groups


def test_unknown_settings_of_a_training():
    with pytest.raises(ValueError, match="gsnerf_small"):
        config_file("nothing_of_that_name")


# --- log, checkpoints, loop ----------------------------------------------------------------------


def test_the_log_goes_on_after_a_checkpoint(tmp_path):
    path = tmp_path / "log.jsonl"
    log = TrainingLog(path)
    for step in (0, 10, 20, 30):
        log.add({"step": step})
    with path.open("a") as file:
        file.write('{"step": 40, "lo')  # killed
    assert [entry["step"] for entry in read_log(path)] == [0, 10, 20, 30]
    TrainingLog(path, after=20).add({"step": 25})
    assert [entry["step"] for entry in read_log(path)] == [0, 10, 20, 25]


def state(tiny, **settings) -> TrainingRun:
    torch.manual_seed(3)
    model = tiny.TinyModel(tiny.TinyConfig())
    optimizer = make_optimizer(model, ScheduleSettings(), {})
    return TrainingRun(model, optimizer, {"training": {"steps": 5, "seed": 0, **settings}})


def test_checkpoints_say_what_is_wrong_with_them(tmp_path, tiny):
    run = state(tiny)
    run.save(tmp_path)
    state(tiny, steps=50).restore(tmp_path)  # may change
    with pytest.raises(ValueError, match=r"training\.seed 0 and not 1.*--out"):
        state(tiny, seed=1).restore(tmp_path)
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ValueError, match=f"start anew without it: rm {file}"):
        run.restore(tmp_path)


def test_a_loss_that_is_not_finite_is_said(tiny, rooms, settings, tmp_path):
    bad = with_cache({"training": {"steps": 40, "learning_rate": 1e30}}, rooms)
    with pytest.raises(ValueError, match=r"finite loss at step \d+.*training.learning_rate"):
        TrainingJob(training_config(bad), tmp_path).run()


TINY_TRAINING = {
    "model": {"system": "tiny", "dropout": 0.0},
    "data": {"recordings": [ROOMS], "held_out": ["room:seed=2,frames=8,width=64,height=48"],
             "width": 64, "height": 48},
    "episodes": {"views": [2, 3], "strides": [1, 2], "crop": [16, 24], "noises": [{"depth": 0}]},
    "training": {"steps": 60, "learning_rate": 0.02, "warm_up_steps": 2, "log_every": 20,
                 "held_out_every": 60, "held_out_episodes": 2, "checkpoint_every": 30},
}  # fmt: skip


def with_cache(content: dict, rooms: SceneSet) -> dict:
    """The settings with the cache folder of the fixture, so that no room is rendered twice."""
    base = {**TINY_TRAINING, **content}
    return {**base, "data": {**base["data"], "cache": str(rooms.cache_folder)}}


def test_training_improves_held_out_views(tiny, rooms, tmp_path):
    said = []
    job = TrainingJob(training_config(with_cache({}, rooms)), tmp_path, report=said.append)
    assert job.run() == tmp_path / "weights.safetensors"
    lines = read_log(tmp_path / "log.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == [20, 40, 60]
    first, last = (line["held_out"] for line in lines if "held_out" in line)
    assert last["exact_psnr"] > first["exact_psnr"] + 0.5
    assert [entry["step"] for entry in said if "loss" in entry] == list(range(1, 61))
    with pytest.raises(ValueError, match="--resume"):
        job.run()
    assert replace(job, resume=True).run().exists()  # nothing left to do


def test_recordings_of_the_figures_are_not_trained_on(tiny, rooms, tmp_path):
    content = with_cache({}, rooms)
    content["data"]["held_out"] = ["room:seed=1,frames=8,width=64,height=48"]
    with pytest.raises(ValueError, match=r"room:seed=1.* in both; change data.held_out"):
        TrainingJob(training_config(content), tmp_path).run()


def test_class_names_of_the_recordings(rooms):
    config = training_config({"model": {"system": "tiny", "class_names": OF_THE_RECORDINGS}})
    names = with_class_names(config, rooms).model["class_names"]
    assert {"floor", "wall", "sofa"} <= set(names) and sorted(names) == list(names)
    given = training_config({"model": {"class_names": ["a"]}})
    assert with_class_names(given, rooms) is given


def test_the_loss_of_a_batch_is_the_mean_of_its_episodes(tiny, rooms, settings):
    model = tiny.TinyModel(tiny.TinyConfig()).eval()
    make = SceneEpisodes(rooms, settings)
    episodes = [make(0, 0), make(0, 1)]
    loss = EpisodeLoss(model)
    both = loss(episodes)
    for name, value in both.items():
        each = [float(loss([episode])[name].detach()) for episode in episodes]
        assert float(value.detach()) == pytest.approx(sum(each) / 2, rel=1e-5)
        assert not math.isclose(*each)


def test_fine_tuning_changes_a_copy(tiny, rooms, settings):
    torch.manual_seed(0)
    model = tiny.TinyModel(tiny.TinyConfig(dropout=0.0)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    make = SceneEpisodes(rooms, settings)
    losses = []
    tuned, steps = fine_tuned(
        model,
        lambda step: make(0, 0),
        FineTuning(steps=30, learning_rate=0.02),
        lambda step, share, terms: losses.append((step, share, sum(terms.values()))),
    )
    assert steps == 30 and losses[-1][:2] == (30, 1.0)
    assert losses[-1][2] < losses[0][2]
    assert not tuned.training and not torch.equal(tuned.tone, model.tone)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(ValueError, match="minutes or steps"):
        fine_tuned(model, lambda step: make(0, 0), FineTuning(minutes=0.0))


def test_fine_tuning_by_minutes_ends(tiny, rooms, settings):
    make = SceneEpisodes(rooms, settings)
    shares = []
    _, steps = fine_tuned(
        tiny.TinyModel(tiny.TinyConfig()),
        lambda step: make(step, 0),
        FineTuning(minutes=0.005),
        lambda step, share, terms: shares.append(share),
    )
    assert steps == len(shares) >= 1
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_batches_are_divided_evenly():
    assert [list(Workers(rank, 2).share_of(4)) for rank in (0, 1)] == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="multiple of the 2 processes, got 3; type --batch 4"):
        Workers(0, 2).share_of(3)
