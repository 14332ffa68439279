"""Who predicts the targets: a model, its baselines, and variations of it for an ablation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from semantic_field.config import Config
from semantic_field.evaluation.generalizable.methods import (
    Method,
    hand_set,
    model_method,
    pool_of,
    recognised,
    reprojection,
    trained_field,
    with_map_depth,
    with_swept_depth,
)
from semantic_field.evaluation.generalizable.tuned_models import tuned_models
from semantic_field.evaluation.protocols.protocol import Training
from semantic_field.evaluation.protocols.view_sources import GUIDES, SourceFrames
from semantic_field.frames import Frame
from semantic_field.generalizable.generalizable_model import GeneralizableModel
from semantic_field.generalizable.training.fine_tuning import FineTuning

REPROJECTION, SWEPT, HAND_SET, UNIFORM, FIELD = (
    "reprojection",
    "reprojection, plane sweep",
    "hand-set weights",
    "uniform samples",
    "trained field",
)
SAMPLES = (4, 16, 128)


@dataclass(frozen=True)
class Variation:
    """A model with settings that differ from the protocol's."""

    name: str
    model: GeneralizableModel
    sources: SourceFrames


@dataclass(frozen=True)
class Contestants:
    """Who predicts the targets.

    Attributes:
        name, model: what the report is about.
        uniform: a model of the same size that was trained without target depth, for the baseline
            with uniform samples; None = the same model, without its target depth.
        with_field: whether a field is trained on the pool, as a baseline.
        training: budget of that field, and of the map whose depth is used.
        config: settings of both.
        variations: for a table of their own.
        tuning_s: the model is also trained on the pool for so many seconds, for the same table.
    """

    name: str
    model: GeneralizableModel
    uniform: GeneralizableModel | None = None
    with_field: bool = False
    training: Training = field(default_factory=lambda: Training(seconds=60.0))
    config: Config = field(default_factory=Config)
    variations: tuple[Variation, ...] = ()
    tuning_s: tuple[float, ...] = ()

    def methods(
        self, frames: list[Frame], names: Mapping[int, str], sources: SourceFrames
    ) -> dict[str, Method]:
        """Return the model, the baselines and the variations by name, for frames of a pool.

        Baselines get the frames with their depth even where the model is given none; then the
        first of them is also given what a classical plane sweep finds in its place.

        Args:
            names: class ids and names of the recording.
        Raises:
            RuntimeError: if a field or map has to be trained and that fails.
        """
        needs_map = any(s.depth == "map" for s in (sources, *(v.sources for v in self.variations)))
        map_views = None
        if self.with_field or needs_map:
            map_views = trained_field(frames, names, self.training, self.config)
        mapped = with_map_depth(frames, map_views) if map_views and needs_map else frames

        def given(model: GeneralizableModel, wanted: SourceFrames) -> Method:
            method = model_method(model, mapped if wanted.depth == "map" else frames, wanted)
            ids = class_ids(model.class_names, names)
            return method if ids is None else recognised(method, ids)

        pool = pool_of(frames)
        uniform = replace(sources, depth="none")
        found = {
            self.name: given(self.model, sources),
            REPROJECTION: reprojection(pool, sources),
            HAND_SET: hand_set(pool, sources),
            UNIFORM: given(self.uniform or self.model, uniform),
        }
        if sources.depth == "volume":
            found[SWEPT] = reprojection(pool_of(with_swept_depth(frames)), sources)
        if self.with_field and map_views:
            found[FIELD] = map_views
        return found | {item.name: given(item.model, item.sources) for item in self.variations}

    def tuned(
        self,
        frames: list[Frame],
        names: Mapping[int, str],
        sources: SourceFrames,
        progress: Callable[[str, float], None] = lambda text, share: None,
    ) -> Contestants:
        """Return the contestants with the model fine-tuned on frames of the pool.

        Args:
            names: class ids and names of the recording.
        """
        if not self.tuning_s:
            return self
        budgets = [FineTuning(minutes=seconds / 60) for seconds in self.tuning_s]
        found = tuned_models(self.model, frames, names, budgets, progress)
        first = self.variations or ablated(self.model, sources, {}, (), ())
        new = tuple(Variation(name, model, sources) for name, model in found.items())
        return replace(self, variations=(*first, *new), tuning_s=())

    def notes(self) -> list[str]:
        """Return what has to be known to read the figures of the baselines."""
        found = []
        if self.uniform is None:
            found.append(
                f"The baseline {UNIFORM} is the same weights without their target depth: a model "
                "that was trained so (--uniform) may do better"
            )
        if self.model.class_names:
            found.append(
                f"{self.name} names {len(self.model.class_names)} classes by itself; the baselines "
                "without training carry label images of the sources, which it is not given"
            )
        return found


def ablated(
    model: GeneralizableModel,
    sources: SourceFrames,
    others: Mapping[str, GeneralizableModel],
    guides: tuple[str, ...] = ("sensor", "volume"),
    samples: tuple[int, ...] = SAMPLES,
) -> tuple[Variation, ...]:
    """Return the variations of an ablation: first the model as the protocol has it.

    Args:
        others: models that were trained otherwise, such as without a distillation, or fine-tuned
            for some time, by name.
        guides: where depth comes from, names of ``GUIDES`` or "none"; "map" trains a map.
        samples: numbers of samples (N).
    Raises:
        ValueError: on an unknown guide.
    """
    unknown = sorted(set(guides) - set(GUIDES))
    if unknown:
        raise ValueError(f"expected depth from {', '.join(GUIDES)}, got {', '.join(unknown)}")
    changed = [(f"N = {n}", replace(sources, samples=n)) for n in samples if n != sources.samples]
    changed += [(GUIDES[g], replace(sources, depth=g)) for g in guides if g != sources.depth]
    found = [Variation(f"N = {sources.samples}, {GUIDES[sources.depth]}", model, sources)]
    found += [Variation(name, model, settings) for name, settings in changed]
    return (*found, *(Variation(name, other, sources) for name, other in others.items()))


def class_ids(class_names: tuple[str, ...], names: Mapping[int, str]) -> NDArray[np.int32] | None:
    """Return the recording's class id of each class of a model (C,), -1 = not in the recording.

    None if the model has no classes of its own: what it carries are ids of the recording.

    Raises:
        ValueError: if the recording has none of the model's classes.
    """
    if not class_names:
        return None
    id_of = {name: i for i, name in sorted(names.items(), reverse=True)}
    ids = np.array([id_of.get(name, -1) for name in class_names], np.int32)
    if (ids < 0).all():
        raise ValueError(
            f"expected a recording with a class of the model ({', '.join(class_names[:8])}, …), "
            f"got one with {sorted(names.values())[:8]}: use weights that carry labels (gsnerf)"
        )
    return ids
