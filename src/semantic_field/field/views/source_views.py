"""Source views: the keyframes from which a view is made, chosen to cover what it shows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from semantic_field.field.rays.keyframe_arrays import KeyframeCameras, KeyframeImages
from semantic_field.field.views.agreement import exposures_between, nearness, trust_by_distance
from semantic_field.field.views.asking import ZERO, ask_all, named_points
from semantic_field.field.views.seeing import Lenses, lenses_of
from semantic_field.geometry import Camera, pose_distances

VIEWS = 8  # keyframes per view
CANDIDATES = 96  # keyframes, the most preferable ones, among which those of a view are chosen
CHOICE = (9, 12)  # rows and columns of the pixels whose coverage decides
OVERLAP = (24, 32)  # rows and columns of the pixels whose colours are compared
ENOUGH = 0.5  # share of a point's best weight at which another keyframe adds half as much
LABEL_SHARE = 0.1  # weight of labels beside colours when keyframes are chosen
LEAST_GAIN = 0.01  # share of the points that a further labelled keyframe must name
CLOSE_M = 0.1  # added to the distance of a keyframe's pose before its weight is taken
OLD_S = 600.0  # age at which a keyframe's weight is halved


@dataclass(frozen=True)
class Target:
    """A rendered view that keyframes shall show.

    Attributes:
        camera, T_map_camera: of the view; the pose (4, 4) is in map coordinates.
        depth: z-depth of the field's surface, float32 (H, W), metres, 0 = none.
        normal: its normals in map axes, float32 (H, W, 3).
        in_map_exposure: whether its colours are to have the exposure of the map, so that the one
            of a moment can be applied to them, and not that of the nearest keyframes.
    """

    camera: Camera
    T_map_camera: NDArray[np.float64]
    depth: NDArray[np.float32]
    normal: NDArray[np.float32]
    in_map_exposure: bool = False

    def points(self, rows: int, columns: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return points and normals (3, N), camera axes, of evenly spaced pixels with depth."""
        v, u = self.camera.spread_pixels(rows, columns)
        seen = self.depth[v, u] > 0
        v, u = v[seen], u[seen]
        points = self.camera.lift(u, v, self.depth[v, u]).T
        return np.ascontiguousarray(points, np.float32), self.rotation @ self.normal[v, u].T

    @property
    def rotation(self) -> NDArray[np.float32]:
        """The rotation (3, 3) of map axes to the camera's."""
        return np.ascontiguousarray(self.T_map_camera[:3, :3].T, np.float32)


@dataclass(frozen=True)
class SourceViews:
    """Images, cameras, exposures and labels of K keyframes.

    Attributes:
        images, cameras: arrays of K keyframes, in map coordinates.
        exposures: float64 (K, 3, 2), gain and bias of each channel: an image is gain * colour +
            bias, for colours in 0..1.
        stamps_ns: int64 (K,), acquisition times.
        class_ids: int32 (C,), the class id of each label row.
    """

    images: KeyframeImages
    cameras: KeyframeCameras
    exposures: NDArray[np.float64]
    stamps_ns: NDArray[np.int64]
    class_ids: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.exposures)

    def taken(self, slots: NDArray[np.int64]) -> SourceViews:
        """Return copies of some keyframes (by number)."""
        return replace(
            self,
            images=self.images.at(slots),
            cameras=self.cameras.at(slots),
            exposures=self.exposures[slots],
            stamps_ns=self.stamps_ns[slots],
        )

    def choose(
        self, target: Target, most: int = VIEWS, newest_ns: int | None = None
    ) -> NDArray[np.int64]:
        """Choose keyframes that together show the surface of a view best.

        Greedy: the next keyframe is the one that adds most to the points' coverage, where a point
        that is already covered counts less. Near, recent and evenly exposed keyframes come first.
        Where only some keyframes are labelled, those that name points are added.

        Args:
            most: highest number of keyframes, and of those that are added for their labels.
            newest_ns: keyframes with later stamps are left out; None = use all.
        Returns:
            Numbers of the keyframes, best first; empty if none sees a point.
        """
        points, normals = target.points(*CHOICE)
        near = preferences(self.cameras, self.exposures, self.stamps_ns, target.T_map_camera)
        if newest_ns is not None:
            near[self.stamps_ns > newest_ns] = 0
        near = candidates(near)
        lenses = lenses_of(self.cameras, target.T_map_camera)
        lenses = lenses._replace(trust=(near > 0).astype(np.float32))
        found, shown, votes = self._asked(target, points, normals, lenses)
        few = np.flatnonzero(near)
        cover = (shown[few] + np.float32(LABEL_SHARE) * votes[few]) * near[few, None]
        named = named_points(found, votes, self.images.labels, lenses)
        return few[covering(cover, named[few] * near[few, None], most)]

    def _asked(
        self, target: Target, points: NDArray, normals: NDArray, lenses: Lenses
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Ask all keyframes about points (3, N) with normals (3, N), see ``asking.ask_all``.

        Returns its results ``found``, ``shown`` and ``votes``.
        """
        K, n = len(self), points.shape[1]
        found, answers = np.empty((K, 6, n), np.float32), np.empty((4, K, n), np.float32)
        _, depths, labels = self.images
        focal = np.float32(target.camera.fx)
        ask_all(
            points[0],
            points[1],
            points[2],
            normals,
            lenses,
            depths,
            labels,
            focal,
            ZERO,
            found,
            answers[0],
            answers[1],
            answers[2],
            answers[3],
        )
        return found, answers[0], answers[1]

    def tuned(self, target: Target) -> tuple[Lenses, NDArray[np.float32]]:
        """Return the lenses of all keyframes with their trust, and exposures (K, 3, 2).

        Both are measured on what the keyframes show of the target together. A keyframe's colour
        c, 0..255, becomes ``a c + b`` with the exposure (a, b) of each channel.
        """
        lenses = lenses_of(self.cameras, target.T_map_camera)
        points, normals = target.points(*OVERLAP)
        found, _, votes = self._asked(target, points, normals, lenses)
        seen = votes > 0
        colors = np.zeros((*seen.shape, 3), np.float32)
        k, n = np.nonzero(seen)
        colors[k, n] = self.images.colors[k, _pixels(found, k, n, lenses)]
        distance = pose_distances(self.cameras.poses, target.T_map_camera)
        learnt = corrections(self.exposures, None if target.in_map_exposure else distance)
        colors = learnt[:, None, :, 0] * colors + learnt[:, None, :, 1]
        apart = pose_distances(self.cameras.poses[:, None], self.cameras.poses[None])
        exposures = exposures_between(colors, seen, distance)
        colors = exposures[:, None, :, 0] * colors + exposures[:, None, :, 1]
        trust = trust_by_distance(np.asarray(colors, np.float32), seen, apart, distance)
        exposures[..., 1] += exposures[..., 0] * learnt[..., 1]
        exposures[..., 0] *= learnt[..., 0]
        return lenses._replace(trust=trust), exposures


def preferences(
    cameras: KeyframeCameras,
    exposures: NDArray[np.float64],
    stamps_ns: NDArray[np.int64],
    T_map_target: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Return a factor (K,) for each keyframe: near, recent and evenly exposed ones first."""
    near = CLOSE_M / (CLOSE_M + pose_distances(cameras.poses, T_map_target))
    age_s = (stamps_ns.max(initial=0) - stamps_ns) * 1e-9
    gain = exposures[..., 0].mean(1)
    return (near / (1 + age_s / OLD_S) * np.minimum(gain, 1 / gain)).astype(np.float32)


def candidates(near: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return preferences (K,) that are 0 but for the ``CANDIDATES`` highest ones."""
    if len(near) <= CANDIDATES:
        return near
    rest = np.argpartition(-near, CANDIDATES)[CANDIDATES:]
    near = near.copy()
    near[rest] = 0
    return near


def corrections(
    exposures: NDArray[np.float64], distance: NDArray[np.float64] | None
) -> NDArray[np.float32]:
    """Return what makes learnt exposures (K, 3, 2) equal: a colour c, 0..255, becomes ``a c + b``.

    Args:
        distance: (K,), of the keyframes from the view: colours get the exposure of the nearest
            ones. None = that of the map.
    Returns:
        a and b, float32 (K, 3, 2).
    """
    gain, bias = exposures[..., 0], exposures[..., 1]
    wanted_gain, wanted_bias = np.ones(3), np.zeros(3)
    if distance is not None:
        near = nearness(distance)
        wanted_gain, wanted_bias = near @ gain, near @ bias
    a = wanted_gain / gain
    return np.stack([a, 255 * (wanted_bias - a * bias)], -1).astype(np.float32)


def _pixels(
    found: NDArray[np.float32], k: NDArray[np.int64], n: NDArray[np.int64], lenses: Lenses
) -> NDArray[np.int64]:
    """Return the numbers of the pixels at which keyframes k see points n."""
    u, v = np.rint(found[k, :2, n].T).astype(np.int64)
    return v * lenses.width[k] + u


def _of_best(cover: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return weights (K, N) relative to the best keyframe of each point."""
    best = cover.max(axis=0, initial=0)
    return (cover / np.where(best > 0, best, 1)).astype(np.float32)


def covering(
    cover: NDArray[np.float32], named: NDArray[np.float32], most: int
) -> NDArray[np.int64]:
    """Return the keyframes that cover N points best, and those that are added for their labels.

    Args:
        cover, named: (K, N), weights with which keyframes show points, and with which they name
            them.
        most: see ``SourceViews.choose``.
    """
    return _completed(_greedy(_of_best(cover), most), _of_best(named), most)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "arcp", "nsz"})
def _greedy(cover, most):
    """Choose rows of ``cover`` (K, N), one after another, by what each adds to the rest."""
    chosen = np.zeros(min(most, len(cover)), np.int64)
    total = np.zeros(cover.shape[1], np.float32)
    enough, zero = np.float32(ENOUGH), np.float32(0)
    for count in range(len(chosen)):
        best, most_gained = -1, zero
        for k in range(len(cover)):
            gain = zero
            for j in range(cover.shape[1]):
                sum_before = total[j] + enough
                gain += cover[k, j] / (sum_before * (sum_before + cover[k, j]))
            if gain > most_gained and not (chosen[:count] == k).any():
                best, most_gained = k, gain
        if best < 0:
            return chosen[:count]
        chosen[count] = best
        total += cover[best]
    return chosen


def _completed(
    chosen: NDArray[np.int64], cover: NDArray[np.float32], most: int
) -> NDArray[np.int64]:
    """Return the chosen rows of ``cover``, and up to ``most`` others that complete it.

    Others are added while one covers a further ``LEAST_GAIN`` of the points.
    """
    result = chosen.tolist()
    total = cover[chosen].sum(0)
    while len(result) < len(chosen) + most:
        gain = np.minimum(total + cover, 1) - np.minimum(total, 1)
        gain = gain.sum(1) / max(gain.shape[1], 1)
        best = int(gain.argmax()) if gain.size else 0
        if not gain.size or not gain[best] > LEAST_GAIN:
            break
        result.append(best)
        total += cover[best]
    return np.array(result, np.int64)
