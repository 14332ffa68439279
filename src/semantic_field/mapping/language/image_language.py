"""Language training from images: targets of rays, losses, and pseudo-labels from the map.

Follows OV-NeRF (Liao et al. 2024): a feature loss over scales of CLIP, a cross-entropy over the
current vocabulary with labels ranked by regions (RSR), a regularisation by DINO (FDA), and later
pseudo-labels from the map itself, of real and novel views (CSE).

All of it runs in the training thread, except that a live map's surface is segmented in the
background.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from semantic_field.config import LanguageConfig
from semantic_field.field.map_state import MapState
from semantic_field.field.model import SemanticField
from semantic_field.field.rays.rays import Rays
from semantic_field.mapping.keyframes.pixels_and_points import points_at
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.language.basis import SPANNED, LanguageBasis
from semantic_field.mapping.language.keyframe_features import MOST_UNITS, DenseTargets
from semantic_field.mapping.language.language_losses import (
    chances,
    fda_loss,
    feature_loss,
    relevancy_loss,
)
from semantic_field.mapping.language.region_features import unit_features, units_of
from semantic_field.mapping.language.region_ranking import (
    likeliest,
    mended_ranking,
    released_ranking,
)
from semantic_field.mapping.language.self_enhancement import Schedule
from semantic_field.mapping.language.surface_labels import SurfaceLabels
from semantic_field.mapping.language.view_labels import ViewLabels
from semantic_field.mapping.language.weak_calls import weak
from semantic_field.mapping.training.adam import Adam
from semantic_field.teachers.image_teachers import ImageTargets
from semantic_field.teachers.regions import RegionProposer, Regions

NEW_COLUMNS = 8  # of the basis, for the dense features of one frame


@dataclass(frozen=True)
class SeenPoints:
    """Surface points of one training step: Y pseudo-labelled ones, then P of a keyframe patch.

    Attributes:
        points: float32 (X, 3), X = Y + P.
        chance: (Y, C), probability of each text, for the first Y points.
        patch: (P, K), DINO features of the other points.
    """

    points: NDArray[np.float32]
    chance: Tensor
    patch: Tensor


NOTHING_SEEN = SeenPoints(np.zeros((0, 3), np.float32), torch.zeros(0, 1), torch.zeros(0, 1))


class ImageLanguage:
    """Trains the language latent of one map from dense image embeddings.

    Args:
        basis: shared with the mapper; columns are added for the teacher's embeddings.
        field: the trained field; the scale selection reads its geometry codes.
        snapshot, proposer, up: current map, region proposer, and axis of the map's frame that
            points up ("+z" …); for views from novel poses, see ``ViewLabels``.
        seed: of novel poses and random rays.
        memory_bytes: limit for surface labels, see ``SurfaceLabels``.
        live: returns whether training steps must not wait while the surface is segmented.
    """

    def __init__(
        self,
        config: LanguageConfig,
        basis: LanguageBasis,
        field: SemanticField,
        snapshot: Callable[[], MapState],
        proposer: RegionProposer | None = None,
        seed: int = 0,
        up: str = "+z",
        memory_bytes: int = 1 << 27,
        live: Callable[[], bool] = lambda: False,
    ) -> None:
        self.config, self._basis, self._field = config, basis, field
        self._random, self._live = np.random.default_rng([seed, 6]), live
        self.texts = torch.zeros(0, basis.basis.shape[1])
        self.targets: DenseTargets | None = None
        self._waiting: deque[Callable[[], None]] = deque()
        self._own_waiting: deque[Callable[[], None]] = deque()
        self._own_done = 0
        self._schedule = Schedule(config.enhance_from, config.enhance_every)
        self.enhanced = 0
        if config.enhancement == "surface":
            self._own = SurfaceLabels(memory_bytes, field.kernels.threads)
        else:
            axis = np.roll([1.0, 0.0, 0.0], "xyz".index(up[1])) * (1.0 if up[0] == "+" else -1.0)
            self._own = ViewLabels(
                config, field, snapshot, weak(self._ranked), proposer, self._random, axis
            )
        self._make_selection(1)

    def _make_selection(self, scales: int) -> None:
        """Create the scale selection head, which is linear in the composited code."""
        device = self._field.table.device
        self.selection = nn.Linear(self._field.config.geometry_dim, scales).to(device)
        nn.init.zeros_(self.selection.weight)
        nn.init.zeros_(self.selection.bias)
        self.optimizer = Adam(self.selection.parameters())

    # inputs

    def set_vocabulary(self, texts: Float[Tensor, "C D"]) -> None:
        """Replace the vocabulary by texts (unit V'q of each), and renew all pseudo-labels.

        If ``config.unlabelled`` is set, the last row is that text.
        """
        self.texts = texts.cpu()
        self._own.clear()
        if self.targets is not None:
            self.targets.rows[:] = -1  # rows of the old vocabulary
            self._waiting = deque(
                partial(self._label_by_teacher, identity)
                for identity in self.targets.identities().tolist()
            )
            if self.enhanced:
                self._begin_enhancement()

    def add(self, store: KeyframeStore, slot: int, targets: ImageTargets) -> None:
        """Store the teachers' outputs for the keyframe in ``slot``, and label it."""
        assert targets.embedding is not None
        embedding = targets.embedding.float()
        dense = embedding.flatten(0, 2)
        sample = dense[:: max(1, len(dense) // 256)]
        self._basis.include_dense(sample, NEW_COLUMNS)
        latents = embedding @ self._basis.basis
        if self.targets is None:
            self.targets = DenseTargets(store, targets, latents.shape[-1], self.config.label_width)
            self._make_selection(len(embedding))
        self.targets.put(slot, latents, targets, self._basis.rank)
        if self.config.rank_teacher and self.config.ranking == "mended" and targets.regions:
            units = units_of(targets.regions, MOST_UNITS)
            self.targets.set_units(slot, units, *unit_features(latents, units, targets.footprint))
        self._label_by_teacher(int(store.identities[slot]))
        if self.config.self_enhancement and isinstance(self._own, SurfaceLabels):
            self._own.add(store, slot, partial(self.targets.latents_at, slot))

    # labels

    def _probability(
        self, latents: Float[Tensor, "h w S D"], rank: int | None = None
    ) -> Float[Tensor, "h w C"]:
        """Return the probability of each text by the mean cosine over scales; 0 without latent.

        Texts are projected onto the first ``rank`` columns, as latents have no other components.
        """
        texts = self.texts[: self._classes]
        if rank is not None:
            known = functional.normalize(texts[:, :rank], dim=-1, eps=SPANNED)
            texts = functional.pad(known, (0, texts.shape[1] - rank))
        cosine = (functional.normalize(latents, dim=-1) @ texts.T).mean(-2)
        there = (latents.square().sum((-1, -2)) > 1e-6)[..., None]
        return (cosine / self.config.vote_temperature).softmax(-1) * there

    @property
    def _classes(self) -> int:
        return len(self.texts) - bool(self.config.unlabelled)

    def _ranked(
        self, latents: Float[Tensor, "h w S D"], regions: Regions | None, rank: int | None = None
    ) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
        """Return label rows and weights of an image, voted by regions if there are any."""
        probability = self._probability(latents, rank)
        rows = np.where(probability.sum(-1) > 0, probability.argmax(-1), -1).astype(np.int16)
        if regions is None:
            return rows, np.ones(rows.shape, np.float32)
        if self.config.ranking == "mended":
            return mended_ranking(probability.numpy(), regions)
        size = (regions.width, regions.height)
        large = cv2.resize(rows, size, interpolation=cv2.INTER_NEAREST_EXACT)
        ranked = released_ranking(large.astype(np.int64) + 1, regions) - 1
        ranked[ranked < 0] = self._classes if self.config.unlabelled else -1
        return ranked.astype(np.int16), np.ones(ranked.shape, np.float32)

    def _label_by_teacher(self, identity: int) -> None:
        targets = self.targets
        if targets is None or not self._classes or (slot := targets.slot_of(identity)) < 0:
            return
        rank = int(targets.ranks[slot])
        units, known = targets.shown_by_units(slot)
        if len(units):
            probability = self._probability(units[:, None, None], rank)[:, 0]
            rows, lead = likeliest(probability.numpy())
            targets.label_units(slot, rows, lead * known)
            return
        regions = targets.regions.get(slot) if self.config.rank_teacher else None
        targets.set_labels(slot, *self._ranked(targets.cell_latents(slot), regions, rank))

    def _begin_enhancement(self) -> None:
        """Start a refresh of pseudo-labels: of the surface, or of rendered views one by one."""
        assert self.targets is not None
        if isinstance(self._own, SurfaceLabels):
            self._own.refresh(self.texts[: self._classes], wait=not self._live())
        else:
            self._own_waiting = deque(self._own.tasks(self.targets))
            if self._own_waiting:  # first those that the last refresh did not reach
                self._own_waiting.rotate(-(self._own_done % len(self._own_waiting)))

    def _relabel(self) -> None:
        """Process pending labelling tasks, at most ``enhance_per_step``."""
        left = self.config.enhance_per_step or len(self._waiting) + len(self._own_waiting)
        while left and (self._waiting or self._own_waiting):
            self._own_done += not self._waiting
            (self._waiting or self._own_waiting).popleft()()
            left -= 1

    # used by training steps

    def seen(self, step: int, store: KeyframeStore) -> SeenPoints:
        """Update pseudo-labels that are due, and draw this step's surface points."""
        if self.targets is None or not self._classes:
            return NOTHING_SEEN
        if self.config.self_enhancement and self._schedule.due(step):
            self.enhanced += 1
            self._begin_enhancement()
        elif isinstance(self._own, SurfaceLabels) and self._own.ready:
            self._begin_enhancement()
        self._relabel()
        points, chance = self._own.draw(self.config.novel_rays, self._random, len(self.texts))
        patch_points, patch = self._draw_patch(step, store)
        return SeenPoints(np.concatenate([points, patch_points]), chance, patch)

    def _draw_patch(self, step: int, store: KeyframeStore) -> tuple[NDArray[np.float32], Tensor]:
        """Draw a square of pixels of a random keyframe; returns points and patch features."""
        nothing = np.zeros((0, 3), np.float32), torch.zeros(0, 1)
        if step % self.config.fda_every or self.targets is None:
            return nothing
        current = self.targets.current()
        slots = current[self.targets.has_patches[current]]
        if not len(slots):
            return nothing
        slot = int(self._random.choice(slots))
        width, height = store.cameras.sizes[slot].tolist()
        extent = self.config.fda_side * self.config.fda_spacing
        corner = [int(self._random.integers(0, max(1, n - extent))) for n in (height, width)]
        v, u = (np.arange(c, min(c + extent, n), self.config.fda_spacing)
                for c, n in zip(corner, (height, width), strict=True))  # fmt: skip
        pixels = (v[:, None] * width + u).ravel()
        points, there = points_at(store, slot, pixels)
        return points, self.targets.look_up_patches(slot, pixels[there])

    def losses_of_rays(
        self, field: SemanticField, rays: Rays, part: slice, codes: Float[Tensor, "R G"]
    ) -> dict[str, Tensor]:
        """Return the weighted losses of a part of a step's rays by name.

        Args:
            rays: as drawn, on the CPU, where all targets are.
            part: which of the rays.
            codes: composited geometry codes of these rays, on the field's device.
        """
        if self.targets is None:
            return {}
        config, count, device = self.config, len(self.texts), codes.device
        slots, pixels = rays.slot[part].numpy(), rays.pixel[part].numpy()
        target, known = self.targets.look_up(slots, pixels)
        if self.enhanced and isinstance(self._own, SurfaceLabels):
            chance = self._own.of(rays.ends(part).numpy(), count)
            chance *= (rays.trust[part] > 0)[:, None]
        else:
            chance = chances(*self.targets.look_up_labels(slots, pixels), count)
        target, known, chance = (t.to(device) for t in (target, known, chance))
        latent = field.latent(codes)
        selection = self.selection(codes.detach())
        selection = (selection if config.select_scales else selection * 0.0).softmax(-1)
        found = {"features": config.feature_weight * feature_loss(latent, target, selection, known)}
        if self._classes:
            texts, temperature = self.texts.to(device), config.relevancy_temperature
            relevancy = relevancy_loss(latent, texts, chance, temperature)
            found["relevancy"] = config.relevancy_weight * relevancy
        return found

    def losses_of_points(
        self, field: SemanticField, codes: Float[Tensor, "X G"], seen: SeenPoints
    ) -> dict[str, Tensor]:
        """Return the weighted losses of a step's surface points by name.

        Args:
            codes: geometry codes at ``seen.points``, on any device.
        """
        config, new, device = self.config, len(seen.chance), codes.device
        latent, all_texts = field.latent(codes), self.texts.to(device)
        found = {}
        if new:
            temperature = config.relevancy_temperature
            loss = relevancy_loss(latent[:new], all_texts, seen.chance.to(device), temperature)
            found["new_views"] = config.relevancy_weight * loss
        if len(seen.patch):
            weight = (config.fda_positive_weight, config.fda_negative_weight)
            texts, patch = all_texts[: self._classes], seen.patch.to(device)
            found["fda"] = fda_loss(latent[new:], texts, patch, *weight)
        return found

    def memory_bytes(self) -> int:
        """Return the bytes of all targets and pseudo-labels in use."""
        return self._own.memory_bytes() + (self.targets.memory_bytes() if self.targets else 0)
