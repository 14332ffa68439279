"""Which episode belongs to which step of a training."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from semantic_field.generalizable.episodes import Episode, EpisodeMaker, EpisodeSettings
from semantic_field.generalizable.sensor_noise import EXACT, SensorNoise
from semantic_field.generalizable.stereo_episodes import StereoEpisodeMaker
from semantic_field.generalizable.training.episode_feed import episode_random
from semantic_field.generalizable.training.scenes import SceneSet

T = TypeVar("T")
SCENES, HELD_OUT = 1 << 20, 1 << 21  # random numbers of their own: no step has so many episodes
HELD_OUT_CROP = 120, 160
BYTES_PER_PIXEL = 30  # of a frame and of what an EpisodeMaker keeps beside it


class RecentlyUsed(Generic[T]):
    """Keeps what was loaded last, up to a number of bytes; one thing alone may exceed it.

    Thread-safe: one caller loads, the others wait.

    Args:
        load: returns a thing by number, and its size in bytes.
    """

    def __init__(self, load: Callable[[int], tuple[T, int]], most_bytes: float) -> None:
        self._load, self._most = load, most_bytes
        self._held: OrderedDict[int, tuple[T, int]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes of all that is kept."""
        return sum(size for _, size in self._held.values())

    def __getitem__(self, number: int) -> T:
        with self._lock:
            known = self._held.pop(number, None) or self._load(number)
            self._held[number] = known
            while len(self._held) > 1 and self.size > self._most:
                self._held.popitem(last=False)
            return known[0]


class SceneEpisodes:
    """The training's episodes: each a function of seed, step and number in the batch alone.

    Scenes change slowly, as to load one takes longer than a step: ``active`` scenes are drawn, and
    stay for ``episodes_per_scene`` episodes each on average.

    Args:
        scenes: to draw from.
        entries: number of the entry of ``shares`` to which each scene belongs.
        shares: share of the scenes that are drawn from each entry; () = every scene alike.
        class_names: the model's closed set, () = carried.
    Raises:
        ValueError: if a recording is too short.
    """

    def __init__(
        self,
        scenes: SceneSet,
        settings: EpisodeSettings,
        class_names: tuple[str, ...] = (),
        *,
        seed: int = 0,
        batch: int = 1,
        active: int = 8,
        episodes_per_scene: int = 16,
        shares: Sequence[float] = (),
        memory_mb: float = 2048.0,
    ) -> None:
        check_lengths(scenes, settings)
        self._names, self._seed = class_names, seed
        self._active = min(active, len(scenes))
        self._steps = max(1, self._active * episodes_per_scene // batch)
        self._shares = scene_shares(scenes.entries, shares)
        self._makers = RecentlyUsed(
            lambda number: _maker(scenes, number, settings), memory_mb * 1e6
        )

    def __call__(self, step: int, index: int) -> Episode:
        """Return the episode of a step and a number in its batch."""
        random = episode_random(self._seed, step, index)
        drawn = self.active_scenes(step)
        maker, names = self._makers[int(drawn[random.integers(len(drawn))])]
        return with_classes(maker(random), names, self._names)

    def active_scenes(self, step: int) -> list[int]:
        """Return the numbers of the scenes that are drawn from at a step, some perhaps twice."""
        if self._active == len(self._shares) and len(set(self._shares)) == 1:
            return list(range(self._active))
        random = episode_random(self._seed, step // self._steps, SCENES)
        return random.choice(len(self._shares), self._active, p=self._shares).tolist()


def scene_shares(entries: Sequence[int], shares: Sequence[float]) -> list[float]:
    """Return with which probability each scene is drawn.

    Args:
        entries: number of the entry of ``shares`` to which each scene belongs.
    """
    counts = np.bincount(entries)
    each = counts / counts.sum() if not shares else np.asarray(shares) / np.sum(shares)
    return [float(each[entry] / counts[entry]) for entry in entries]


def held_out_episodes(
    scenes: SceneSet,
    settings: EpisodeSettings,
    class_names: tuple[str, ...],
    count: int,
    seed: int,
) -> dict[str, list[Episode]]:
    """Return always the same episodes, by what the sources are like; ``count`` of each kind.

    ``exact`` sources have no faults, ``noisy`` ones those of ``SensorNoise()``; if training has
    sources without depth, ``no_depth`` ones are exact otherwise. Each scene has as many episodes.
    """
    check_lengths(scenes, settings)
    found: dict[str, list[Episode]] = {}
    for number in range(min(count, len(scenes))):
        for kind, special in _kinds(settings).items():
            (maker, names), _ = _maker(scenes, number, special)
            for index in range(number, count, len(scenes)):
                episode = maker(episode_random(seed, index, HELD_OUT))
                found.setdefault(kind, []).append(with_classes(episode, names, class_names))
    return found


def _kinds(settings: EpisodeSettings) -> dict[str, EpisodeSettings]:
    most = settings.views[1]
    exact = replace(
        settings, views=(most, most), crop=HELD_OUT_CROP, noises=(EXACT,), without_depth=0.0,
        stereo=False,
    )  # fmt: skip
    kinds = {"exact": exact, "noisy": replace(exact, noises=(SensorNoise(),))}
    if settings.without_depth > 0:
        kinds["no_depth"] = replace(exact, without_depth=1.0)
    return kinds


def _maker(
    scenes: SceneSet, number: int, settings: EpisodeSettings
) -> tuple[tuple[EpisodeMaker | StereoEpisodeMaker, dict[int, str]], int]:
    """Return what makes episodes of a scene and its class names, and how many bytes they take."""
    scene = scenes[number]
    pixels = sum(frame.depth.size for frame in scene.frames)
    maker = StereoEpisodeMaker if settings.stereo else EpisodeMaker
    return (maker(scene, settings), scene.class_names), pixels * BYTES_PER_PIXEL


def check_lengths(scenes: SceneSet, settings: EpisodeSettings) -> None:
    """Raise a ValueError if a recording is so short that a pool may be empty."""
    least = 2 * settings.strides[1]  # then any pool has a frame beside the target
    for number, location in enumerate(scenes.locations):
        count = scenes.recording(number).frames
        if count < least:
            raise ValueError(
                f"expected at least {least} frames in {location} for episodes.strides up to "
                f"{settings.strides[1]}, got {count}; lower episodes.strides in the settings, or "
                "leave the recording out"
            )


def with_classes(episode: Episode, names: Mapping[int, str], class_names: Sequence[str]) -> Episode:
    """Return an episode whose label rows are those of a closed set; as it is for ().

    Args:
        names: of the recording's class ids. Classes outside the closed set become -1.
    """
    if not class_names:
        return episode
    place = {name: row for row, name in enumerate(class_names)}
    rows = [place.get(names.get(int(i), ""), -1) for i in episode.class_ids]
    table = torch.tensor([*rows, -1])  # row -1 of an image takes the last entry

    def mapped(labels: Tensor | None) -> Any:
        return None if labels is None else table[labels]

    truth = replace(
        episode.truth,
        labels=mapped(episode.truth.labels),
        source_labels=mapped(episode.truth.source_labels),
    )
    sources = replace(
        episode.sources, labels=mapped(episode.sources.labels), n_classes=len(class_names)
    )
    ids = np.arange(len(class_names), dtype=np.int32)
    return replace(episode, sources=sources, truth=truth, class_ids=ids)
