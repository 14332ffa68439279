"""Cross-view self-enhancement in space: the surface is labelled by what all views say of it.

OV-NeRF lets a map label its own views and ranks each by the regions of its image. All views show
one surface, though, so here it is the surface that is cut into segments, by the rule that also
says what a click means (``regions``), and labelled. Cells of the surface add up what teachers say
of them in each view; a segment's feature is the mean over its cells.

A view errs as a whole (what it takes for something else, it does so everywhere), so a segment's
evidence grows with the views that it was seen in, as far as each of them knows it
(``region_features``), and where it is weak the texts count more that the rest of the map shows:

    P(text | segment) ~ P(text)^trust exp(views cos(feature, text) / noise),

P(text) is the share of the surface that has it (expectation maximisation). Small segments may be
no things at all: they are believed in part, and for the rest anything may be there. Segments are
cut at several tolerances: each cell takes the chances of the smallest of its segments that is sure
enough, or else of the surest one. The field learns these chances, not the likeliest text alone: a
question for what was seen badly then still finds where it is most likely.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from semantic_field.field.cells import cell_numbers, find_cells
from semantic_field.field.rays.sampling import GUESSED
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.surface.segments import nested_segments
from semantic_field.kernels.threads import become_background
from semantic_field.mapping.keyframes.pixels_and_points import samples_of
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.language.region_ranking import likeliest

CELL_M = 0.04
TOLERANCES = (0.25, 0.5, 1.0, 2.0, 4.0)  # of segments, from small to large ones
VIEW_NOISE = 0.02  # of one view's cosines
UNSEEN = 1.0  # over the number of texts: the share of the surface that each has at least
TRUST = 0.6  # in these shares
ROUNDS = 5  # of expectation maximisation
ENOUGH = 0.5  # lead of a segment's likeliest text over the next
PRIOR_CELLS = 20.0  # a segment of so many cells is believed half as much as its views say
GROWN = 1.05  # times as many cells as before: the surface is cut anew
WAITING_SHARE = 0.1  # of the memory: where new cells take more they are joined to the others
GEOMETRY = 11  # columns: point, colour, normal, in how many views, and how far these know it
VIEWS, KNOWN = 9, 10
BESIDE_SUMS = 8 + (8 + 12 + 4 * len(TOLERANCES)) + (8 + 12 + 4)  # bytes a cell: number, cut, label
FIRST_CHANCES = 20  # bytes a cell, before a labelling has told


@dataclass(frozen=True)
class _Cut:
    """A cut surface: cells (N,), rising, their points (N, 3), at each tolerance segments (N,)."""

    cells: NDArray[np.int64]
    points: NDArray[np.float32]
    levels: list[NDArray[np.int32]]


@dataclass(frozen=True)
class _Labelled:
    """Cells: numbers (N,), rising, points (N, 3) and segments (N,); chances (M, C) of these."""

    cells: NDArray[np.int64]
    points: NDArray[np.float32]
    segment: NDArray[np.int32]
    chance: Tensor


UNCUT = _Cut(np.zeros(0, np.int64), np.zeros((0, 3), np.float32), [])
NOTHING = _Labelled(UNCUT.cells, UNCUT.points, np.zeros(0, np.int32), torch.zeros(0, 0))


class SurfaceLabels:
    """Labels of the surface that keyframes have shown; none before ``refresh``.

    Args:
        memory_bytes: for all that is kept; where cells need more, those seen least are left out.
        threads: that cut the surface.
    """

    def __init__(self, memory_bytes: int, threads: int = 1) -> None:
        self._memory_bytes, self._threads = memory_bytes, threads
        self._parts: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
        self._cells, self._sums = np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
        self._cut, self._labelled = UNCUT, NOTHING
        self._cutting: Future[_Cut] | None = None

    def clear(self) -> None:
        """Forget the labels, and not what they are made from."""
        self._labelled = NOTHING

    def add(
        self,
        store: KeyframeStore,
        slot: int,
        shown: Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]],
    ) -> None:
        """Take in what a keyframe shows.

        Args:
            shown: what teachers say of pixels: latents (N, D) times how far they are known (N,).
        """
        pixels, *geometry, _ = samples_of(store, slot, labelled=False)
        measured = store.images.depths[slot, pixels] < GUESSED
        pixels, (xyz, color, normal) = pixels[measured], (part[measured] for part in geometry)
        latents, share = (part.numpy() for part in shown(pixels))
        values = (xyz, color, normal, np.ones((len(xyz), 1)), share[:, None], latents)
        numbers = cell_numbers(xyz, CELL_M)
        cells, sums = _joined(numbers, np.concatenate(values, axis=1).astype(np.float32))
        sums /= sums[:, VIEWS, None]  # a view counts once
        if len(self._cells):
            place, known = find_cells(self._cells, cells)
            self._sums[place[known]] += sums[known]
            cells, sums = cells[~known], sums[~known]
        if len(cells):
            self._parts.append((cells, sums))
        if _bytes_of(*self._parts) > WAITING_SHARE * self._memory_bytes:
            self._join()

    def refresh(self, texts: Float[Tensor, "C D"], wait: bool = True) -> None:
        """Label the surface with the texts (unit V'q of each).

        What has been seen since the surface was cut has no label before it is cut anew.

        Args:
            wait: for a cut that is due, some seconds in a large map; otherwise labels follow the
                cut before, until one is ``ready``.
        """
        if self._parts:
            self._join()
        if self._cutting is not None and self._cutting.done():
            self._cut, self._cutting = self._cutting.result(), None
        if self._outgrown():
            grown = (self._cells, self._sums[:, :KNOWN].copy(), self._threads)
            if wait:
                self._cut, self._cutting = _cut_surface(*grown), None
            elif self._cutting is None:
                self._cutting = _in_background(_cut_surface, *grown)
        if len(self._cut.cells) and len(texts):
            self._label(texts)

    @property
    def ready(self) -> bool:
        """Whether the surface has been cut anew, and ``refresh`` would label by that."""
        return self._cutting is not None and self._cutting.done()

    def _label(self, texts: Float[Tensor, "C D"]) -> None:
        cut = self._cut
        place, there = find_cells(self._cells, cut.cells)
        whole = len(place) == len(self._cells) and there.all()
        sums = torch.from_numpy(self._sums if whole else self._sums[place])
        sums[torch.from_numpy(~there)] = 0.0
        evidence = [_evidence(torch.from_numpy(level), sums, texts) for level in cut.levels]
        share = _shares(evidence)
        chance = [_chances(size, logits, share) for size, logits in evidence]
        segment, sure, before = np.full(len(place), -1), np.zeros(len(place)), 0
        for level, part in zip(cut.levels, chance, strict=True):
            lead = likeliest(part.numpy())[1][level]
            better = (lead > sure) & (sure < ENOUGH)
            segment[better], sure[better] = before + level[better], lead[better]
            before += len(part)
        known = segment >= 0
        used, segment = np.unique(segment[known], return_inverse=True)
        chance = torch.cat(chance)[used]
        segment = segment.astype(np.int32)
        self._labelled = _Labelled(cut.cells[known], cut.points[known], segment, chance)

    def _outgrown(self) -> bool:
        """Whether the cells are many more than were cut, or other ones."""
        cut = self._cut.cells
        grown = len(self._cells) > GROWN * len(cut)
        return grown or not find_cells(self._cells, cut)[1].all()

    def of(self, points: NDArray[np.float32], texts: int) -> Float[Tensor, "N C"]:
        """The chance of each of so many texts at points (N, 3); zeros where nothing is known."""
        chance, known = torch.zeros(len(points), texts), self._labelled
        if len(known.cells):
            place, found = find_cells(known.cells, cell_numbers(points, CELL_M))
            there = np.flatnonzero(found)
            rows = known.chance[known.segment[place[there]]]
            chance[there, : rows.shape[1]] = rows
        return chance

    def draw(
        self, count: int, random: np.random.Generator, texts: int
    ) -> tuple[NDArray[np.float32], Float[Tensor, "N C"]]:
        """Random points of the labelled surface and the chance of each of so many texts there."""
        known = self._labelled
        chosen = random.integers(0, len(known.cells), count if len(known.cells) else 0)
        chance = known.chance[known.segment[chosen]]
        return known.points[chosen], functional.pad(chance, (0, texts - chance.shape[1]))

    def memory_bytes(self) -> int:
        """Bytes of the cells, their segments and chances, and of what waits to be joined."""
        cut, known = self._cut, self._labelled
        beside = () if cut.cells is self._cells else (cut.cells,)
        own = (self._cells, self._sums, cut.points, *cut.levels, *beside)
        labels = (known.cells, known.points, known.segment, known.chance)
        return _bytes_of(own, labels, *self._parts)

    def _most_cells(self) -> int:
        """How many cells the memory has room for, with all that is kept of them."""
        known = self._labelled
        chances = known.chance.nbytes / len(known.cells) if len(known.cells) else FIRST_CHANCES
        room = (1.0 - WAITING_SHARE) * self._memory_bytes
        return int(room / (self._sums[:1].nbytes + BESIDE_SUMS + chances))

    def _join(self) -> None:
        """Take over the cells that the newest keyframes have shown first."""
        cells = np.unique(np.concatenate([self._cells, *(part for part, _ in self._parts)]))
        joined = torch.zeros(len(cells), self._parts[0][1].shape[1])
        if len(self._cells):
            joined.numpy()[np.searchsorted(cells, self._cells)] = self._sums
        for part, sums in self._parts:
            place = torch.from_numpy(np.searchsorted(cells, part))
            joined.index_add_(0, place, torch.from_numpy(sums))
        self._cells, self._sums, self._parts = cells, joined.numpy(), []
        most = self._most_cells()
        if len(self._cells) > most:
            views = self._sums[:, VIEWS]
            kept = np.sort(np.argsort(-views, kind="stable")[:most])
            self._cells, self._sums = self._cells[kept], self._sums[kept]


def _in_background(function: Callable[..., _Cut], *arguments: object) -> Future[_Cut]:
    """Call a function in a thread of its own that gives way to training and then ends."""
    executor = ThreadPoolExecutor(1, "surface cut", initializer=become_background)
    result = executor.submit(function, *arguments)
    executor.shutdown(wait=False)
    return result


def _bytes_of(*parts: tuple[NDArray | Tensor, ...]) -> int:
    return sum(array.nbytes for part in parts for array in part)


def _cut_surface(cells: NDArray[np.int64], sums: NDArray[np.float32], threads: int) -> _Cut:
    """Cut the surface of these cells, of which ``sums`` (N, 10) say where they are, at all
    tolerances."""
    mean = sums[:, :VIEWS].astype(np.float64) / sums[:, VIEWS, None]
    length = np.linalg.norm(mean[:, 6:], axis=1, keepdims=True)
    surface = SurfacePoints(
        xyz=mean[:, :3].astype(np.float32),
        normals=(mean[:, 6:] / np.maximum(length, 1e-9)).astype(np.float32),
        color=np.clip(mean[:, 3:6], 0, 255).astype(np.uint8),
        latent=np.zeros((len(mean), 0), np.float16),
        label=np.full(len(mean), -1, np.int32),
        confidence=np.ones(len(mean), np.float32),
    )
    levels = nested_segments(surface, CELL_M, TOLERANCES, threads)
    return _Cut(cells, surface.xyz, [level.astype(np.int32) for level in levels])


def _joined(
    cells: NDArray[np.int64], sums: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Each cell once, with the sum (N, F) of its values."""
    cells, place = np.unique(cells, return_inverse=True)
    joined = torch.zeros(len(cells), sums.shape[1])
    joined.index_add_(0, torch.from_numpy(place), torch.from_numpy(sums))
    return cells, joined.numpy()


def _evidence(
    level: Int[Tensor, " N"], sums: Float[Tensor, "N F"], texts: Float[Tensor, "C D"]
) -> tuple[Float[Tensor, " M"], Float[Tensor, "M C"]]:
    """Cells of each of M segments, and log P(what was seen of it | text)."""
    size = torch.bincount(level).float()
    pooled = torch.zeros(len(size), sums.shape[1]).index_add_(0, level, sums)
    views = pooled[:, KNOWN] / size
    feature = functional.normalize(pooled[:, GEOMETRY:], dim=1)
    return size, views[:, None] * (feature @ texts.T) / VIEW_NOISE


def _shares(evidence: list[tuple[Tensor, Tensor]]) -> Float[Tensor, " C"]:
    """The share of the surface that has each text, by expectation maximisation."""
    count = evidence[0][1].shape[1]
    share = torch.full((count,), 1.0 / count)
    for _ in range(ROUNDS):
        parts = [size @ (logits + TRUST * share.log()).softmax(1) for size, logits in evidence]
        found = torch.stack(parts).sum(0)
        share = found + UNSEEN * found.sum() / count
        share = share / share.sum()
    return share


def _chances(
    size: Float[Tensor, " M"], logits: Float[Tensor, "M C"], share: Float[Tensor, " C"]
) -> Float[Tensor, "M C"]:
    """The chance of each text for each segment; zeros where nobody has said anything."""
    believed = (size / (size + PRIOR_CELLS))[:, None]
    chance = believed * (logits + TRUST * share.log()).softmax(1) + (1.0 - believed) * share
    return chance * (logits != 0).any(1, keepdim=True)
