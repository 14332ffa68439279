"""Batches of samples of training instances, made from the number of a step alone."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from semantic_field.data.objects.procedural_objects import ProceduralObjects
from semantic_field.generalizable.training.episode_feed import episode_random
from semantic_field.object_prior.signed_distance.distance_losses import DistanceBatch
from semantic_field.object_prior.signed_distance.exact_samples import exact_samples
from semantic_field.object_prior.signed_distance.instance_samples import (
    InstanceSamples,
    SampleSettings,
)
from semantic_field.object_prior.signed_distance.view_samples import view_samples
from semantic_field.object_prior.trainable_prior import TrainingObjects


class SampleBatches:
    """Samples of instances that are drawn in rounds, each once a round.

    The samples of all instances stay in memory: about 70 kB each with the default settings.

    Args:
        seed: of the samples and of the drawing.
    Raises:
        ValueError: if exact samples are asked for and the objects are not procedural.
    """

    def __init__(self, data: TrainingObjects, settings: SampleSettings, seed: int) -> None:
        self._settings, self._seed = settings, seed
        sample = _sampler(data, settings)
        all_samples = [
            sample(index, np.random.default_rng([seed, zlib.crc32(name.encode())]))
            for index, name in enumerate(data.objects.names)
        ]
        self._points = _stacked([each.points for each in all_samples])
        self._distances = _stacked([each.distances for each in all_samples])
        self._surface = _stacked([each.surface for each in all_samples])
        self._colors = _stacked([each.colors for each in all_samples])

    def __call__(self, step: int) -> DistanceBatch:
        """Return the batch of a step."""
        settings, rng = self._settings, episode_random(self._seed, step, 1)
        chosen = self._instances(step)
        rows = chosen.unsqueeze(1)
        points = _drawn(rng, len(chosen), self._points.shape[1], settings.points_per_step)
        surface = _drawn(rng, len(chosen), self._surface.shape[1], settings.colors_per_step)
        return DistanceBatch(
            instances=chosen,
            points=self._points[rows, points].float(),
            distances=self._distances[rows, points].float(),
            surface=self._surface[rows, surface].float(),
            colors=self._colors[rows, surface].float() / 255,
        )

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Return the lowest and the highest corner (3,) of all surfaces, canonical units."""
        surface = self._surface.float().flatten(0, 1)
        return surface.amin(dim=0), surface.amax(dim=0)

    def _instances(self, step: int) -> Tensor:
        """Return the instances of a step: the next ones of a round's random order."""
        count, batch = len(self._points), self._settings.instances_per_step
        places = np.arange(step * batch, (step + 1) * batch)
        orders = {
            r: episode_random(self._seed, r, 2).permutation(count)
            for r in set((places // count).tolist())
        }
        return torch.from_numpy(np.array([orders[p // count][p % count] for p in places]))


def _sampler(
    data: TrainingObjects, settings: SampleSettings
) -> Callable[[int, np.random.Generator], InstanceSamples]:
    objects = data.objects
    procedural = getattr(objects, "procedural", objects)
    if settings.source == "exact" and not isinstance(procedural, ProceduralObjects):
        raise ValueError(
            "expected procedural objects (objects:chair:seed=0..199) for exact samples, got "
            f"{type(objects).__name__}; set model.samples.source to views"
        )
    if settings.source == "views" or not isinstance(procedural, ProceduralObjects):
        return lambda index, rng: view_samples(
            [objects.view(index, n) for n in range(data.view_count(index))],
            objects.frame,
            settings,
            rng,
        )
    return lambda index, rng: exact_samples(procedural.model(index), objects.frame, settings, rng)


def _drawn(rng: np.random.Generator, rows: int, count: int, wanted: int) -> Tensor:
    return torch.from_numpy(rng.integers(count, size=(rows, wanted)))


def _stacked(arrays: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))
