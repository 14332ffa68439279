"""Comparison of the latents of a map's points with texts, on a GPU or on the processor."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.field.map_state import LanguageSpace
from semantic_field.kernels.device_memory import DeviceMemoryError, shortage
from semantic_field.query.interpretation import TextSet
from semantic_field.query.relevancy import PreparedLatents
from semantic_field.teachers.language import Calibration

log = logging.getLogger(__name__)
OUT_OF_MEMORY = (torch.OutOfMemoryError, DeviceMemoryError)
T = TypeVar("T")


class LatentIndex:
    """Latents of many points, preprocessed for cosines with centred texts; see ``relevancy``.

    If a GPU has no memory for them, at the start or for a question, they are moved to the
    processor permanently, with one warning in the log.

    Args:
        latent: (N, D), any float type; only the dimensions in use are stored, in ``dtype``. Must
            not be modified afterwards.
        space: maps latents to embeddings.
        calibration: calibration of the teacher that made the space.
        classes: centred unit embeddings (C, E) of the map's class names, if it has any. With a
            relative calibration, each point gets a probability for each class (2 C bytes per
            point). Otherwise, if most points clearly belong to one class, a point is rated by the
            embedding of its class.
        dtype: type of the stored latents; by default the faster one of this machine
            (``kernels.precision``), on a GPU float16.
        device: device of the products; by default a GPU if torch can use one. Results are on the
            CPU.
    """

    def __init__(
        self,
        latent: NDArray[np.floating],
        space: LanguageSpace,
        calibration: Calibration,
        classes: Float[Tensor, "C E"] | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self._prepare = partial(PreparedLatents, latent, space, calibration, classes, dtype)
        self._moved: PreparedLatents | None = None
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        try:
            self._latents = self._prepare(device)
        except OUT_OF_MEMORY as error:
            self._latents = self._move(device, error)

    def __len__(self) -> int:
        return len(self._latents)

    def cosines(self, texts: Float[Tensor, "Q E"]) -> Float[Tensor, "N Q"]:
        """Return the cosine (N, Q) of every point's centred embedding with every centred text."""
        return self._calculated(lambda latents: latents.cosines(texts))

    def relevancy(self, questions: list[TextSet]) -> Float[Tensor, "Q N"]:
        """Return the relevancy (Q, N), 0..1, of every point to every question, on the CPU."""
        return self._calculated(lambda latents: latents.relevancy(questions))

    def _calculated(self, work: Callable[[PreparedLatents], T]) -> T:
        """Return ``work(latents)``, computed on the processor if the device has no memory."""
        latents = self._latents
        try:
            return work(latents)
        except OUT_OF_MEMORY as error:
            if latents is self._moved:
                raise
            self._latents = self._move(latents.device, error)
        return work(self._latents)

    def _move(self, device: torch.device, error: Exception) -> PreparedLatents:
        is_raw = isinstance(error, torch.OutOfMemoryError)
        log.warning(
            "no memory on %s for questions to a map: they are answered on the processor from now "
            "on, which takes longer; to avoid this, end what else uses the device (%s)",
            device,
            shortage(error) if is_raw else error,
        )
        self._moved = self._prepare(torch.device("cpu"))
        return self._moved
