"""Query engine: finds what a text or an image describes in the newest map."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.config import QueryConfig
from semantic_field.field.map_state import MapState
from semantic_field.field.surface.cache import SurfaceCache
from semantic_field.field.surface.extraction import extract_surface
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.query.hits import Hit, HitTracker, find_hits
from semantic_field.query.interpretation import Interpretation, Interpreter, TextSet
from semantic_field.query.latent_index import LatentIndex
from semantic_field.query.map_objects import KnownObjects, MapObject, object_in_box
from semantic_field.teachers.language import LanguageTeacher
from semantic_field.teachers.naming import printable

MOST_TEXTS = 256


@dataclass(frozen=True)
class QueryResult:
    """The answer to one text.

    Attributes:
        text: the query text.
        found: whether there is at least one hit.
        best_score: of the best hit, or of the best candidate if there is none, 0..1.
        message: the answer in one sentence.
        hits: best first; empty if nothing was found.
        points: all surface points of the map.
        relevancy: of each surface point, float32 (N,), 0..1.
        state: the map snapshot that was queried.
    """

    text: str
    found: bool
    best_score: float
    message: str
    hits: tuple[Hit, ...]
    points: SurfacePoints
    relevancy: NDArray[np.float32]
    state: MapState


@dataclass(frozen=True)
class _IndexedMap:
    """A snapshot with everything precomputed that queries need."""

    state: MapState
    points: SurfacePoints
    latents: LatentIndex
    class_names: list[str]


class QueryEngine:
    """Answers queries. One thread may replace the map while others query.

    Args:
        teacher: embeds the texts; must be the teacher that the maps were built with.
        config: query settings.
    """

    def __init__(self, teacher: LanguageTeacher, config: QueryConfig | None = None) -> None:
        self._teacher = teacher
        self._config = config or QueryConfig()
        self.interpreter = Interpreter(teacher)
        self._tracker, self._known = HitTracker(), KnownObjects()
        self._map: _IndexedMap | None = None
        self._surfaces = SurfaceCache()
        self._taking = threading.Lock()

    @property
    def config(self) -> QueryConfig:
        return self._config

    def set_config(self, config: QueryConfig) -> None:
        """Replace the settings, from the next query on."""
        self._config = config

    @property
    def has_map(self) -> bool:
        return self._map is not None

    @property
    def state(self) -> MapState:
        """The newest map; ValueError while there is none."""
        return self._indexed().state

    @property
    def points(self) -> SurfacePoints:
        """The surface points of the newest map; ValueError while there is none."""
        return self._indexed().points

    def set_map(self, state: MapState, surfaces: SurfaceCache | None = None) -> None:
        """Replace the map by a new snapshot and extract its surface, as far as it has changed.

        The first snapshot takes seconds; meanwhile queries use the previous one.

        Args:
            surfaces: a surface cache shared with other readers of this map; by default the
                engine's own.
        Raises:
            ValueError: if the map has no language, or was built with another teacher.
        """
        surfaces = self._surfaces if surfaces is None else surfaces
        state = dataclasses.replace(state, surfaces=surfaces)
        self.set_points(state, extract_surface(state, self._config.voxel_m))

    def set_points(self, state: MapState, points: SurfacePoints) -> None:
        """Replace the map by a snapshot whose surface points are already extracted.

        Raises:
            ValueError: as ``set_map``.
        """
        if state.language is None:
            raise ValueError(
                "expected a map with language, got one made without a teacher: "
                "set teacher.kind of the mapping node and map again"
            )
        if state.language.fingerprint != self._teacher.fingerprint:
            raise ValueError(
                f"expected a map made with the teacher {self._teacher.fingerprint!r}, got "
                f"{state.language.fingerprint!r}: set teacher.kind and teacher.path of the query "
                "node as they are in the mapping node"
            )
        names = list(state.label_names.values())
        classes = self.interpreter.embed_classes(names)
        calibration = self._teacher.calibration
        latents = LatentIndex(points.latent, state.language, calibration, classes)
        with self._taking:
            previous = self._map
            if previous is not None and state.version < previous.state.version:
                self._tracker.clear()  # the mapper was restarted
                self._known.clear()
            self._map = _IndexedMap(state, points, latents, names)

    def query(
        self,
        text: str,
        negatives: tuple[str, ...] = (),
        threshold: float | None = None,
        max_hits: int | None = None,
    ) -> QueryResult:
        """Find what the text describes in the newest map.

        Args:
            text: free text, or a name if the teacher knows only names.
            negatives: texts that a relevant point must match less well; the configured ones if
                empty.
            threshold: least relevancy of a hit's points, in (0, 1].
            max_hits: largest number of hits.
        Raises:
            ValueError: before the first map, on an empty or unknown text, or on bad limits.
        """
        return self.query_all([text], negatives, threshold, max_hits)[0]

    def query_all(
        self,
        texts: list[str],
        negatives: tuple[str, ...] = (),
        threshold: float | None = None,
        max_hits: int | None = None,
    ) -> list[QueryResult]:
        """Answer several texts in one pass over the points, in their order; see ``query``.

        Raises:
            ValueError: as ``query``, and on more than ``MOST_TEXTS`` texts, as each text takes
                4 bytes of memory per point.
        """
        if len(texts) > MOST_TEXTS:
            raise ValueError(
                f"expected at most {MOST_TEXTS} texts at once, got {len(texts)}: ask in parts"
            )
        indexed = self._indexed()
        questions = [self._question(text, negatives, indexed) for text in texts]
        return self._answers(questions, indexed, threshold, max_hits)

    def query_image(
        self,
        color: NDArray[np.uint8],
        negatives: tuple[str, ...] = (),
        threshold: float | None = None,
        max_hits: int | None = None,
    ) -> QueryResult:
        """Find the object shown by an image, uint8 RGB (H, W, 3), in the newest map; see ``query``.

        Raises:
            ValueError: as ``query``, and if the teacher cannot embed images (only open_clip can).
        """
        indexed = self._indexed()
        question = self.interpreter.question_of_image(
            color, negatives, self._config.negatives, indexed.class_names
        )
        return self._answers([question], indexed, threshold, max_hits)[0]

    def segment(self, names: list[str]) -> tuple[MapState, SurfacePoints, NDArray[np.int64]]:
        """Return the newest map, its N surface points, and per point the most similar name (N,).

        Every point gets the index of one of the names, however dissimilar (add "object" as a name
        for everything else); -1 where the map has no language. All three are of one snapshot,
        also if a newer one arrives meanwhile.

        Raises:
            ValueError: before the first map, without names, or on a name unknown to the teacher.
        """
        if not names:
            raise ValueError("expected names to choose from, got none")
        indexed = self._indexed()
        cosines = indexed.latents.cosines(self.interpreter.embed(names))
        which = torch.where(cosines.any(1), cosines.argmax(1), -1).numpy()
        return indexed.state, indexed.points, which

    def object_of_hit(self, hit_id: int) -> MapObject:
        """Return the object of a recent answer's hit, as the newest map has it.

        Raises:
            ValueError: before the first map, if it is empty, or as ``KnownObjects.find``.
        """
        indexed = self._filled()
        return self._known.find(hit_id, indexed.state, indexed.points, self._config.voxel_m)

    def object_in_box(
        self, T_world_box: NDArray[np.float64], size: NDArray[np.float64]
    ) -> MapObject:
        """Return what the newest map has in a box, see ``map_objects.object_in_box``."""
        indexed = self._filled()
        return object_in_box(indexed.state, indexed.points, T_world_box, size)

    def _filled(self) -> _IndexedMap:
        indexed = self._indexed()
        if not len(indexed.points):
            raise ValueError(
                "expected a map with something in it, got an empty one: it was reset, or mapping "
                "has just begun; ask again when it has seen the thing"
            )
        return indexed

    def _answers(
        self,
        questions: list[TextSet],
        indexed: _IndexedMap,
        threshold: float | None,
        max_hits: int | None,
    ) -> list[QueryResult]:
        config = self._config
        limit = config.threshold if threshold is None else threshold
        most = config.max_hits if max_hits is None else max_hits
        if not 0.0 < limit <= 1.0 or most < 1:
            raise ValueError(
                f"expected a threshold in (0, 1] and at least 1 hit, got {limit} and {most}"
            )
        relevancy = indexed.latents.relevancy(questions).numpy() if questions else []
        return [
            self._answer(question.meaning, row, indexed, limit, most)
            for question, row in zip(questions, relevancy, strict=True)
        ]

    def _indexed(self) -> _IndexedMap:
        if self._map is None:
            raise ValueError("expected a map, got no snapshot yet: is the mapping node running?")
        return self._map

    def _question(self, text: str, negatives: tuple[str, ...], indexed: _IndexedMap) -> TextSet:
        if not printable(text):
            raise ValueError("expected a text with words in it, got an empty one")
        return self.interpreter.question(
            text, negatives, self._config.negatives, indexed.class_names
        )

    def _answer(
        self,
        meaning: Interpretation,
        relevancy: NDArray[np.float32],
        indexed: _IndexedMap,
        threshold: float,
        max_hits: int,
    ) -> QueryResult:
        config, points, state = self._config, indexed.points, indexed.state
        hits = find_hits(points, relevancy, state.label_names, config, threshold)[:max_hits]
        hits = self._tracker.assign(hits, points)
        self._known.keep(hits, points, state)
        best = hits[0].score if hits else _best_candidate(relevancy, config.min_hit_points)
        message = _message(meaning, hits, best, threshold, state.frame_id)
        if not len(points):
            message = f"'{meaning.text}' is not in the map: the map is empty"
        return QueryResult(
            meaning.text, bool(hits), best, message, tuple(hits), points, relevancy, state
        )


def _best_candidate(relevancy: NDArray[np.float32], count: int) -> float:
    """Return the mean relevancy of the best ``count`` points, as a single point may be noise."""
    if len(relevancy) < count:
        return 0.0
    return float(np.partition(relevancy, -count)[-count:].mean())


def _message(
    meaning: Interpretation, hits: list[Hit], best: float, threshold: float, frame_id: str
) -> str:
    text = printable(meaning.text)
    doubt = f"; {meaning.doubt}" if meaning.doubt else ""
    if not hits:
        plain = meaning.doubt or meaning.best_name == meaning.text
        like = "" if plain else f" (it asks for: {meaning.best_name})"
        return (
            f"'{text}' is not in the map{like}{doubt}; the best candidate has a score of "
            f"{best:.2f}, the threshold is {threshold:.2f}"
        )
    first = hits[0]
    x, y, z = first.centre
    count = "1 hit" if len(hits) == 1 else f"{len(hits)} hits"
    return (
        f"{count} for '{text}': best {first.label or 'object'} {first.score:.2f} at "
        f"({x:.2f}, {y:.2f}, {z:.2f}) m in {frame_id}{doubt}"
    )
