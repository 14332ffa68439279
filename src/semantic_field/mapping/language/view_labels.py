"""Cross-view self-enhancement as in OV-NeRF: pseudo-labels from the map's own rendered views.

Views are those of keyframes and of novel poses. The map's latents are ranked by the regions of the
real image, or of the rendered one for novel poses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from semantic_field.config import LanguageConfig
from semantic_field.field.map_state import MapState
from semantic_field.field.model import SemanticField
from semantic_field.field.views.rendering import render_view
from semantic_field.geometry import transform_points
from semantic_field.mapping.keyframes.pixels_and_points import points_at
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.language.keyframe_features import DenseTargets
from semantic_field.mapping.language.language_losses import chances
from semantic_field.mapping.language.self_enhancement import poses_near, poses_on_circle
from semantic_field.teachers.regions import RegionProposer, Regions

OWN_VIEW_WIDTH = 80  # width of the map's view of a keyframe, pixels
POINTS_PER_VIEW = 4000  # kept per novel pose
LEAST_DEPTH_M = 0.3  # of pixels of novel views

Labels = tuple[NDArray[np.int16], NDArray[np.float32]]
LabelledPoints = tuple[NDArray[np.float32], NDArray[np.integer], NDArray[np.float32]]
Rank = Callable[[Float[Tensor, "h w S D"], Regions | None], Labels]


class ViewLabels:
    """Pseudo-labels of keyframes, and of points in views from novel poses, from the map itself.

    Args:
        rank: returns label rows and weights of an image from its latents and regions.
        proposer: region proposer for views from novel poses; None = no regions.
        up: unit vector (3,), for the released code's circle of poses.

    Attributes:
        new_views: of each novel pose, points (N, 3), their label rows (N,) and weights (N,).
    """

    def __init__(
        self,
        config: LanguageConfig,
        field: SemanticField,
        snapshot: Callable[[], MapState],
        rank: Rank,
        proposer: RegionProposer | None,
        random: np.random.Generator,
        up: NDArray[np.float64],
    ) -> None:
        self._config, self._field, self._snapshot = config, field, snapshot
        self._rank, self._proposer, self._random, self._up = rank, proposer, random, up
        self.clear()

    def clear(self) -> None:
        """Delete the labels of novel views."""
        self.new_views: dict[int, LabelledPoints] = {}
        self._pool: LabelledPoints | None = None

    def tasks(self, targets: DenseTargets) -> Iterator[Callable[[], None]]:
        """Yield the tasks that together label all views with the current map."""
        config, slots = self._config, targets.current()
        for identity in targets.identities().tolist():
            yield partial(self._label_keyframe, targets, identity)
        poses = targets.store.cameras.poses[slots]
        if config.novel_poses == "circle":
            poses = poses_on_circle(poses, config.novel_views, self._up)
        else:
            poses = poses_near(poses, config.novel_views, self._random)
        if len(poses):
            state = self._snapshot()
            for number, pose in enumerate(poses):
                yield partial(self._label_new_view, targets.store, state, number, pose)

    def draw(
        self, count: int, random: np.random.Generator, texts: int
    ) -> tuple[NDArray[np.float32], Float[Tensor, "N C"]]:
        """Draw random points of novel views; also return probabilities of ``texts`` texts."""
        if self._pool is None and self.new_views:
            views = list(self.new_views.values())
            points, rows, weights = (np.concatenate(part) for part in zip(*views, strict=True))
            self._pool = points, rows, weights
        if self._pool is None or not len(self._pool[0]):
            return np.zeros((0, 3), np.float32), torch.zeros(0, texts)
        points, rows, weights = self._pool
        chosen = random.integers(0, len(points), count)
        row, weight = rows[chosen].astype(np.int64), weights[chosen]
        chance = chances(torch.from_numpy(row), torch.from_numpy(weight), texts)
        return points[chosen], chance

    def memory_bytes(self) -> int:
        """Return the bytes of the points of novel views; may be called while they change."""
        return sum(part.nbytes for view in list(self.new_views.values()) for part in view)

    @torch.no_grad()
    def _label_keyframe(self, targets: DenseTargets, identity: int) -> None:
        """Set pseudo-labels of a keyframe from the map's latents at its surface."""
        slot = targets.slot_of(identity)
        if slot < 0:
            return  # it was removed
        points, there = _surface(targets.store, slot)
        latents = torch.zeros(there.size, self._field.config.latent_dim)
        code = self._field.geometry(torch.from_numpy(points).to(self._field.table.device))[1]
        latents[torch.from_numpy(there.ravel())] = self._field.latent(code).cpu()
        image = latents.unflatten(0, there.shape)[:, :, None]
        targets.set_labels(slot, *self._rank(image, targets.regions.get(slot)))

    def _label_new_view(
        self, store: KeyframeStore, state: MapState, number: int, pose: NDArray[np.float64]
    ) -> None:
        """Store points and labels of a view from a novel pose, with regions of its rendering."""
        first = store.camera(0)
        small = min(first.width, self._config.novel_width)
        camera = first.resized(small, max(1, round(first.height * small / first.width)))
        view = render_view(state, camera, pose, with_latent=True)
        regions = None
        if self._proposer is not None:
            regions = self._proposer.propose(view.color, view.depth, camera)
        assert view.latent is not None
        latents = torch.from_numpy(view.latent.astype(np.float32))[:, :, None]
        rows, weights = self._rank(latents, regions)
        # The map is not reliable inside of objects, and where nothing was observed.
        sound = (view.depth > LEAST_DEPTH_M) & (view.confidence > 0)
        good = np.flatnonzero(sound & (rows >= 0))
        good = self._random.choice(good, min(len(good), POINTS_PER_VIEW), replace=False)
        v, u = np.divmod(good, camera.width)
        z = view.depth.ravel()[good]
        points = transform_points(pose, camera.lift(u, v, z)).astype(np.float32)
        self.new_views[number] = (points, rows.ravel()[good], weights.ravel()[good])
        self._pool = None


def _surface(store: KeyframeStore, slot: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return surface points (N, 3) of a raster of a keyframe, and the mask (h, w) of its pixels."""
    width, height = store.cameras.sizes[slot].tolist()
    w = min(OWN_VIEW_WIDTH, width)
    h = max(1, round(height * w / width))
    v, u = ((2 * np.arange(n) + 1) * size // (2 * n) for n, size in ((h, height), (w, width)))
    points, there = points_at(store, slot, (v[:, None] * width + u).ravel())
    return points, there.reshape(h, w)
