"""A model after some seconds of training on the frames of the pool, for a curve of fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from semantic_field.frames import Frame
from semantic_field.generalizable.episodes import Scene
from semantic_field.generalizable.generalizable_model import GeneralizableModel
from semantic_field.generalizable.training.fine_tuning import FineTuning
from semantic_field.generalizable.training.scene_tuning import tuned_on_scene


def tuned_models(
    model: GeneralizableModel,
    frames: list[Frame],
    names: Mapping[int, str],
    budgets: Sequence[FineTuning],
    progress: Callable[[str, float], None] = lambda text, share: None,
) -> dict[str, GeneralizableModel]:
    """Return copies of a model, each trained within a budget, by a name for tables.

    Each starts anew, because the learning rate follows the whole time. Targets of an evaluation
    are not among the frames.

    Args:
        names: class ids and names of the recording.
    Raises:
        ValueError: if a budget is 0, there are too few frames, or the loss is not finite.
    """
    scene, found = Scene(frames, dict(names)), {}
    for settings in budgets:
        text = f"fine-tuned for {60 * settings.minutes:g} s" if not settings.steps else "fine-tuned"
        tuned, steps = tuned_on_scene(
            model, scene, settings, lambda step, share, terms, text=text: progress(text, share)
        )
        found[f"{text} ({steps} steps)"] = tuned
    return found
