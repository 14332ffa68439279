"""A model after some seconds of training on the frames of the pool, for a curve of fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from semantic_field.frames import Frame
from semantic_field.generalizable.episodes import EpisodeMaker, EpisodeSettings, Scene
from semantic_field.generalizable.model import GeneralizableModel
from semantic_field.generalizable.training.episode_feed import episode_random
from semantic_field.generalizable.training.fine_tuning import FineTuning, fine_tuned
from semantic_field.generalizable.training.scene_episodes import with_classes

EPISODES = EpisodeSettings(strides=(1, 2))  # the frames of a pool are far apart already


def tuned_models(
    model: GeneralizableModel,
    frames: list[Frame],
    names: Mapping[int, str],
    seconds: tuple[float, ...],
    progress: Callable[[str, float], None] = lambda text, share: None,
) -> dict[str, GeneralizableModel]:
    """Return copies of a model, each trained for so many seconds, by a name for tables.

    Each starts anew, because the learning rate follows the whole time. Targets of an evaluation
    are not among the frames.

    Args:
        names: class ids and names of the recording.
    Raises:
        ValueError: if a time is not above 0, or the loss is not finite.
    """
    if not all(s > 0 for s in seconds):
        raise ValueError(f"expected seconds of fine-tuning above 0, got {seconds}")
    maker, found = EpisodeMaker(Scene(frames, dict(names)), EPISODES), {}
    for budget in seconds:
        settings, text = FineTuning(minutes=budget / 60), f"fine-tuned for {budget:g} s"
        tuned, steps = fine_tuned(
            model,
            lambda step, seed=settings.seed: with_classes(
                maker(episode_random(seed, step, 0)), names, model.class_names
            ),
            settings,
            lambda step, share, terms, text=text: progress(text, share),
        )
        found[f"{text} ({steps} steps)"] = tuned
    return found
