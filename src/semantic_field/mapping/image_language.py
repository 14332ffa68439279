"""Language learnt from images: targets of each ray, losses, and the map's own pseudo-labels.

Follows OV-NeRF (Liao et al. 2024): a feature loss over scales of CLIP, a cross-entropy against the
current vocabulary whose labels are ranked by regions (RSR), a regularisation by DINO (FDA), and
later labels from the map itself, of real and of new views (CSE).

Everything here runs in the training thread, between steps or within one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from semantic_field.config import LanguageConfig
from semantic_field.field.map_state import MapState
from semantic_field.field.model import SemanticField
from semantic_field.field.rendering import render_view
from semantic_field.field.sampling import DEPTH_UNIT_M, GUESSED, RaySamples
from semantic_field.geometry import Camera
from semantic_field.mapping.adam import Adam
from semantic_field.mapping.dense_targets import DenseTargets
from semantic_field.mapping.keyframes import KeyframeStore
from semantic_field.mapping.language import LanguageBasis
from semantic_field.mapping.language_losses import fda_loss, feature_loss, relevancy_loss
from semantic_field.mapping.region_ranking import mended_ranking, released_ranking
from semantic_field.mapping.self_enhancement import Schedule, poses_near, poses_on_circle
from semantic_field.teachers.images import ImageTargets
from semantic_field.teachers.regions import RegionProposer, Regions

OWN_VIEW_WIDTH = 80  # pixels across the map's own view of a keyframe
POINTS_PER_VIEW = 4000  # of a new pose that are kept
LEAST_DEPTH_M = 0.3  # of a new view's pixel
NEW_COLUMNS = 8  # of the basis, for the dense features of one frame


@dataclass(frozen=True)
class SeenPoints:
    """Surface points of one training step: first of new poses, then of one patch of a keyframe.

    Attributes:
        points: float32 (X, 3). rows, weights: labels of those of new poses.
        patch: features (P, K) of the others.
    """

    points: NDArray[np.float32]
    rows: Tensor
    weights: Tensor
    patch: Tensor


NOTHING_SEEN = SeenPoints(
    np.zeros((0, 3), np.float32), torch.zeros(0).long(), torch.zeros(0), torch.zeros(0, 1)
)


class ImageLanguage:
    """What one map learns from dense embeddings.

    Args:
        basis: shared with the mapper; grows with what the teacher's embeddings need.
        field: its geometry codes are what the selection of scales reads.
        snapshot: the map as it is now, for views from new poses.
        proposer: finds regions in views from new poses; None = their own argmax counts.
        seed: of new poses and of the choice of rays.
        up: axis of the map's frame that points up ("+z" …), for the released circle of poses.
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
    ) -> None:
        self.config, self._basis, self._field = config, basis, field
        self._snapshot, self._proposer = snapshot, proposer
        self._up = np.roll([1.0, 0.0, 0.0], "xyz".index(up[1])) * (1.0 if up[0] == "+" else -1.0)
        self._random = np.random.default_rng([seed, 6])
        self.texts = torch.zeros(0, basis.basis.shape[1])
        self.targets: DenseTargets | None = None
        self._waiting: deque[tuple[str, int]] = deque()
        self._schedule = Schedule(config.enhance_from, config.enhance_every)
        self._novel: dict[int, tuple[NDArray, NDArray, NDArray]] = {}
        self._pool: tuple[NDArray, NDArray, NDArray] | None = None
        self._poses = np.zeros((0, 4, 4))
        self._state: MapState | None = None
        self.enhanced = 0
        self._make_selection(1)

    def _make_selection(self, scales: int) -> None:
        """The head that says which scale counts: linear in the composited code."""
        self.selection = nn.Linear(self._field.config.geometry_dim, scales)
        nn.init.zeros_(self.selection.weight)
        nn.init.zeros_(self.selection.bias)
        self.optimizer = Adam(self.selection.parameters())

    # what comes in

    def set_vocabulary(self, texts: Float[Tensor, "C D"]) -> None:
        """Other texts to tell apart (V'q of each): all labels are made again, nothing is lost.

        Where ``config.unlabelled`` is set, the last row is that text's.
        """
        self.texts = texts
        self._novel, self._pool = {}, None
        if self.targets is not None:
            self.targets.rows[:] = -1  # they mean other texts
            slots = self.targets.current().tolist()
            self._waiting = deque(("teacher", slot) for slot in slots)
            if self.enhanced:
                self._begin_enhancement()

    def add(self, store: KeyframeStore, slot: int, targets: ImageTargets) -> None:
        """Take in what the teachers say of the keyframe in ``slot``."""
        embedding = targets.embedding.float()
        dense = embedding.flatten(0, 2)
        sample = dense[:: max(1, len(dense) // 256)]
        self._basis.include_dense(sample, NEW_COLUMNS)
        latents = embedding @ self._basis.basis
        if self.targets is None:
            self.targets = DenseTargets(store, targets, latents.shape[-1], self.config.label_width)
            self._make_selection(len(embedding))
        self.targets.put(slot, latents, targets)
        self._label_by_teacher(slot)

    # labels

    def _probability(self, latents: Float[Tensor, "h w S D"]) -> Float[Tensor, "h w C"]:
        """Of the vocabulary's texts, from the mean cosine of the scales; zeros where no latent."""
        texts = self.texts[: self._classes]
        cosine = (functional.normalize(latents, dim=-1) @ texts.T).mean(-2)
        there = (latents.square().sum((-1, -2)) > 1e-6)[..., None]
        return (cosine / self.config.vote_temperature).softmax(-1) * there

    @property
    def _classes(self) -> int:
        return len(self.texts) - bool(self.config.unlabelled)

    def _ranked(
        self, probability: Float[Tensor, "h w C"], regions: Regions | None
    ) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
        """Label rows and weights of an image, by regions where there are any."""
        rows = np.where(probability.sum(-1) > 0, probability.argmax(-1), -1).astype(np.int16)
        if regions is None or not len(regions):
            return rows, np.ones(rows.shape, np.float32)
        if self.config.ranking == "mended":
            return mended_ranking(probability.numpy(), regions)
        import cv2

        size = (regions.width, regions.height)
        large = cv2.resize(rows, size, interpolation=cv2.INTER_NEAREST_EXACT)
        ranked = released_ranking(large.astype(np.int64) + 1, regions) - 1
        ranked[ranked < 0] = self._classes if self.config.unlabelled else -1
        return ranked.astype(np.int16), np.ones(ranked.shape, np.float32)

    def _label_by_teacher(self, slot: int) -> None:
        if not self._classes or self.targets is None:
            return
        regions = self.targets.regions.get(slot) if self.config.rank_teacher else None
        probability = self._probability(self.targets.cell_latents(slot))
        self.targets.set_labels(slot, *self._ranked(probability, regions))

    @torch.no_grad()
    def _label_by_map(self, store: KeyframeStore, slot: int) -> None:
        """Pseudo-labels of a keyframe from what the map itself says at its surface."""
        assert self.targets is not None
        points, there = _surface(store, slot)
        latents = torch.zeros(there.size, self.texts.shape[1])
        code = self._field.geometry(torch.from_numpy(points))[1]
        latents[torch.from_numpy(there.ravel())] = self._field.latent(code)
        probability = self._probability(latents.unflatten(0, there.shape)[:, :, None])
        self.targets.set_labels(slot, *self._ranked(probability, self.targets.regions.get(slot)))

    def _label_new_view(self, store: KeyframeStore, number: int) -> None:
        """Points and labels of a view from a new pose, with regions of its rendered image."""
        assert self._state is not None
        width, height = store.cameras[2][0].tolist()
        fx, fy, cx, cy = (float(v) for v in store.cameras[0][0])
        first = Camera(fx, fy, cx, cy, width, height)
        small = min(width, self.config.novel_width)
        camera = first.resized(small, max(1, round(height * small / width)))
        pose = self._poses[number]
        view = render_view(self._state, camera, pose, with_latent=True)
        regions = None
        if self._proposer is not None:
            regions = self._proposer.propose(view.color, view.depth, camera)
        assert view.latent is not None
        latents = torch.from_numpy(view.latent.astype(np.float32))[:, :, None]
        rows, weights = self._ranked(self._probability(latents), regions)
        # Inside of things, and where nothing was observed, the map has nothing to teach itself.
        sound = (view.depth > LEAST_DEPTH_M) & (view.confidence > 0)
        good = np.flatnonzero(sound & (rows >= 0))
        good = self._random.choice(good, min(len(good), POINTS_PER_VIEW), replace=False)
        v, u = np.divmod(good, camera.width)
        z = view.depth.ravel()[good]
        seen = np.stack([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z], 1)
        points = (seen @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32)
        self._novel[number] = (points, rows.ravel()[good], weights.ravel()[good])
        self._pool = None

    def _begin_enhancement(self) -> None:
        """Queue every keyframe, and new poses, for labels from the map as it is now."""
        assert self.targets is not None
        config, slots = self.config, self.targets.current()
        poses = self.targets.store.cameras[1][slots]
        if config.novel_poses == "circle":
            self._poses = poses_on_circle(poses, config.novel_views, self._up)
        else:
            self._poses = poses_near(poses, config.novel_views, self._random)
        self._waiting.extend(("map", slot) for slot in slots.tolist())
        if config.novel_views:
            self._state = self._snapshot()
            self._waiting.extend(("new", number) for number in range(config.novel_views))

    def _relabel(self, store: KeyframeStore) -> None:
        """Work off what waits for labels, as much as one step may take."""
        limit = self.config.enhance_per_step or len(self._waiting)
        for _ in range(min(limit, len(self._waiting))):
            kind, number = self._waiting.popleft()
            if kind == "new":
                self._label_new_view(store, number)
            elif self.targets is not None and number in self.targets.current():
                self._label_by_teacher(number) if kind == "teacher" else self._label_by_map(
                    store, number
                )

    # what a training step asks for

    def seen(self, step: int, store: KeyframeStore) -> SeenPoints:
        """Relabel what is due, and draw this step's points of new poses and of a patch."""
        if self.targets is None or not self._classes:
            return NOTHING_SEEN
        if self.config.self_enhancement and self._schedule.due(step):
            self.enhanced += 1
            self._begin_enhancement()
        self._relabel(store)
        points, rows, weights = self._draw_new()
        patch_points, patch = self._draw_patch(step, store)
        return SeenPoints(
            np.concatenate([points, patch_points]),
            torch.from_numpy(rows.astype(np.int64)),
            torch.from_numpy(weights),
            patch,
        )

    def _draw_new(self) -> tuple[NDArray, NDArray, NDArray]:
        if self._pool is None and self._novel:
            views = list(self._novel.values())
            self._pool = tuple(np.concatenate(part) for part in zip(*views, strict=True))  # type: ignore[assignment]
        if self._pool is None or not len(self._pool[0]):
            return np.zeros((0, 3), np.float32), np.zeros(0, np.int16), np.zeros(0, np.float32)
        chosen = self._random.integers(0, len(self._pool[0]), self.config.novel_rays)
        return tuple(part[chosen] for part in self._pool)  # type: ignore[return-value]

    def _draw_patch(self, step: int, store: KeyframeStore) -> tuple[NDArray[np.float32], Tensor]:
        """A square of pixels of a random keyframe with patch features: points, features."""
        nothing = np.zeros((0, 3), np.float32), torch.zeros(0, 1)
        if step % self.config.fda_every or self.targets is None:
            return nothing
        current = self.targets.current()
        slots = current[self.targets.has_patches[current]]
        if not len(slots):
            return nothing
        slot = int(self._random.choice(slots))
        width, height = store.cameras[2][slot].tolist()
        extent = self.config.fda_side * self.config.fda_spacing
        corner = [int(self._random.integers(0, max(1, n - extent))) for n in (height, width)]
        v, u = (np.arange(c, min(c + extent, n), self.config.fda_spacing)
                for c, n in zip(corner, (height, width), strict=True))  # fmt: skip
        pixels = (v[:, None] * width + u).ravel()
        points, there = _points_at(store, slot, pixels)
        return points, self.targets.look_up_patches(slot, pixels[there])

    def losses(
        self,
        field: SemanticField,
        rays: RaySamples,
        codes: Float[Tensor, "R G"],
        seen_codes: Float[Tensor, "X G"],
        seen: SeenPoints,
    ) -> dict[str, Tensor]:
        """The losses of one step by name, weighted."""
        if self.targets is None:
            return {}
        config, temperature = self.config, self.config.relevancy_temperature
        target, there, rows, weights = self.targets.look_up(rays.slot, rays.pixel)
        latent = field.latent(codes)
        selection = self.selection(codes.detach())
        selection = (selection if config.select_scales else selection * 0.0).softmax(-1)
        found = {"features": config.feature_weight * feature_loss(latent, target, selection, there)}
        if self._classes:
            relevancy = relevancy_loss(latent, self.texts, rows, weights, temperature)
            found["relevancy"] = config.relevancy_weight * relevancy
        new = len(seen.rows)
        if new:
            own = field.latent(seen_codes[:new])
            loss = relevancy_loss(own, self.texts, seen.rows, seen.weights, temperature)
            found["new_views"] = config.relevancy_weight * loss
        if len(seen.patch):
            alike = field.latent(seen_codes[new:])
            weight = (config.fda_positive_weight, config.fda_negative_weight)
            found["fda"] = fda_loss(alike, self.texts[: self._classes], seen.patch, *weight)
        return found

    def memory_bytes(self) -> int:
        """Bytes of all targets in use."""
        new = sum(part.nbytes for view in self._novel.values() for part in view)
        return new + (self.targets.memory_bytes() if self.targets is not None else 0)


def _surface(store: KeyframeStore, slot: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Surface points (N, 3) of every few pixels of a keyframe, and which pixels (h, w) have one."""
    width, height = store.cameras[2][slot].tolist()
    w = min(OWN_VIEW_WIDTH, width)
    h = max(1, round(height * w / width))
    v, u = ((2 * np.arange(n) + 1) * size // (2 * n) for n, size in ((h, height), (w, width)))
    points, there = _points_at(store, slot, (v[:, None] * width + u).ravel())
    return points, there.reshape(h, w)


def _points_at(
    store: KeyframeStore, slot: int, pixels: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Map-frame points (N, 3) of those pixels that have a depth, and which these are."""
    z = (store.images[1][slot, pixels] & (GUESSED - 1)) * np.float32(DEPTH_UNIT_M)
    there = z > 0
    fx, fy, cx, cy = store.cameras[0][slot]
    v, u = np.divmod(pixels[there], store.cameras[2][slot, 0])
    along = np.stack([(u - cx) / fx, (v - cy) / fy, np.ones(len(u))], 1) * z[there, None]
    pose = store.cameras[1][slot]
    return (along @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32), there
