"""Fine-tuning on the frames of one scene that never makes its left-out frames worse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from semantic_field.generalizable.episodes import Episode, EpisodeMaker, EpisodeSettings, Scene
from semantic_field.generalizable.generalizable_model import GeneralizableModel
from semantic_field.generalizable.sensor_noise import EXACT
from semantic_field.generalizable.stereo_episodes import StereoEpisodeMaker
from semantic_field.generalizable.training.data_parallel import ALONE, Workers
from semantic_field.generalizable.training.episode_feed import episode_random
from semantic_field.generalizable.training.fine_tuning import FineTuning, Report, fine_tuned
from semantic_field.generalizable.training.held_out_figures import held_out_figures
from semantic_field.generalizable.training.scene_episodes import (
    HELD_OUT,
    HELD_OUT_CROP,
    with_classes,
)

LEAST_FRAMES = 4  # three sources and a target
LEFT_OUT_EVERY = 6
POINT_DB = 50.0  # a mean IoU of 1 counts as so many dB
STRIDES = 1, 2
WORSE = 0.002  # mean IoU that may be lost for better colours


def tuning_settings(frames: int, stereo: bool = False) -> EpisodeSettings:
    """Return how episodes of a scene of so many frames are drawn: faults are those it has.

    Args:
        stereo: a frame and those that it is compared with, for a model that learns depth alone.
    Raises:
        ValueError: if there are too few frames.
    """
    if frames < LEAST_FRAMES:
        raise ValueError(
            f"expected at least {LEAST_FRAMES} frames to fine-tune on, three sources and a target, "
            f"got {frames}: record for longer, or use the weights as they are"
        )
    most = max(1, min(STRIDES[1], (frames - 1) // 3))
    settings = EpisodeSettings(strides=(STRIDES[0], most), noises=(EXACT,))
    return replace(settings, views=(3, 5), stereo=True, without_depth=1.0) if stereo else settings


def left_out(frames: int) -> list[int]:
    """Return the numbers of the frames that are targets only to see whether training helps."""
    every = min(LEFT_OUT_EVERY, frames)
    return list(range(every // 2, frames, every))


class TuningEpisodes:
    """Episodes of one scene: those that are trained on, and always the same left-out ones.

    Args:
        model: that is trained.
        seed: of all random numbers.
    Raises:
        ValueError: if there are too few frames.
    """

    def __init__(self, scene: Scene, model: GeneralizableModel, seed: int) -> None:
        sweeps = getattr(model.config, "learns", "") == "sweep"
        settings, out = tuning_settings(len(scene.frames), sweeps), left_out(len(scene.frames))
        self._names, self._class_names, self._seed = scene.class_names, model.class_names, seed
        rest = sorted(set(range(len(scene.frames))) - set(out))
        self._maker: EpisodeMaker | StereoEpisodeMaker
        if sweeps:
            kept = replace(scene, frames=[scene.frames[i] for i in rest])
            self._maker = StereoEpisodeMaker(kept, settings)
        else:
            self._maker = EpisodeMaker(scene, settings, rest)
        views = settings.views[1]
        fixed = replace(settings, views=(views, views), strides=(1, 1), crop=HELD_OUT_CROP)
        fixed = replace(fixed, stereo=False)
        self.left_out = [self._drawn(EpisodeMaker(scene, fixed, [n]), n, HELD_OUT) for n in out]

    def __call__(self, step: int) -> Episode:
        """Return the episode of a step."""
        return self._drawn(self._maker, step, 0)

    def _drawn(self, maker: EpisodeMaker | StereoEpisodeMaker, step: int, index: int) -> Episode:
        random = episode_random(self._seed, step, index)
        return with_classes(maker(random), self._names, self._class_names)


def tuned_on_scene(
    model: GeneralizableModel,
    scene: Scene,
    settings: FineTuning,
    report: Report = lambda step, share, terms: None,
    workers: Workers = ALONE,
) -> tuple[GeneralizableModel, int]:
    """Return a copy of a model that was fine-tuned on a scene, and the number of steps.

    A sixth of the frames are left out as targets. What is returned is best on these; if training
    helps on none of them, the weights as they were.

    Raises:
        ValueError: if there are too few frames, no budget, or the loss is not finite.
    """
    episodes = TuningEpisodes(scene, model, settings.seed)
    before = held_out_figures(model, episodes.left_out)

    def score(candidate: GeneralizableModel) -> float:
        return gain(before, held_out_figures(candidate, episodes.left_out))

    return fine_tuned(model, episodes, settings, report, workers, score)


def gain(before: dict[str, float], after: dict[str, float]) -> float:
    """Return by how much figures of left-out frames are better, dB; -inf if one of them is worse.

    Args:
        before, after: see ``held_out_figures``.
    """
    colors = after["psnr"] - before["psnr"]
    labels = after.get("miou", 0.0) - before.get("miou", 0.0)
    if colors < 0 or labels < -WORSE:
        return -np.inf
    return colors + POINT_DB * labels
