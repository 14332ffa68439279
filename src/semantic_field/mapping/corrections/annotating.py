"""From what a person points at to an annotation of a live map, and back."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from semantic_field.field.annotations import Annotation, AnnotationSet, Cells
from semantic_field.field.map_state import MapState
from semantic_field.mapping.corrections.claims import Claim, StampedCamera
from semantic_field.mapping.corrections.pointing import (
    Answer,
    Labels,
    PointedAt,
    claim_of,
    keyframe_cameras,
    relative_to,
)
from semantic_field.mapping.labels.classes import ClassTable, checked_name
from semantic_field.mapping.live_map import LiveMap


@dataclass(frozen=True)
class Scene:
    """A live map at the moment at which somebody points at it; training may go on meanwhile.

    Attributes:
        state: the map, with its origin in the world.
        cameras: cameras and poses of the frames that may be named by their stamps, in the map's
            coordinates. newest: that of the newest frame, if any.
        cell_m: edge of the cells that annotations are kept in, metres.
    """

    state: MapState
    cameras: list[StampedCamera]
    newest: StampedCamera | None
    cell_m: float

    @classmethod
    def of(cls, live_map: LiveMap, state: MapState, recent: list[StampedCamera]) -> Scene:
        """Return the scene of a live map in its present ``state``.

        Args:
            recent: the cameras of the newest frames, oldest first.
        """
        keyframes = keyframe_cameras(live_map.keyframes) if live_map.keyframes else []
        cameras = [*recent, *keyframes]
        return cls(state, cameras, recent[-1] if recent else None, live_map.annotations.cell_m)

    def claim(self, pointed_at: PointedAt) -> Claim:
        """Return the cells of space that are meant by what was pointed at, in the world.

        Raises:
            ValueError: if there is no map, no surface there, or no frame of that stamp.
        """
        state, own = self.state.in_own_frame(), relative_to(pointed_at, self.state.origin)
        return claim_of(state, own, self.cameras, self.newest, self.cell_m)


def names_of(name: str, pointed_at: PointedAt) -> dict[int, str]:
    """The class names by the numbers that a claim on ``pointed_at`` gives its cells.

    Raises:
        ValueError: where the name means no class.
    """
    return pointed_at.names if isinstance(pointed_at, Labels) else {0: checked_name(name)}


def annotate(live_map: LiveMap, kind: str, names: dict[int, str], claimed: Claim) -> Answer:
    """Let cells belong to classes from now on, and look at them first.

    Args:
        kind: of the pointed_at, see ``Annotation``. names: class names by the claim's numbers.
    Raises:
        Exception: what the teacher raises on a name; nothing has changed then.
    """
    classes, said = live_map.classes.copy(), live_map.annotations
    given, which = np.unique(claimed.classes, return_inverse=True)
    ids = np.array([classes.id_of(names[i]) for i in given.tolist()], np.int32)
    entry = Annotation(
        id=said.next_id,
        kind=kind,
        name=", ".join(classes.names[i] for i in ids.tolist()),
        stamp_ns=time.time_ns(),
        points=claimed.points,
        cells=claimed.cells,
        class_ids=ids[which],
    )
    conflicts = said.conflicts(entry.cells, entry.class_ids)
    _correct(live_map, classes, said.extended(entry), entry.cells)
    return Answer(entry, conflicts)


def forget(live_map: LiveMap, annotation_id: int = 0) -> Annotation:
    """Take an annotation back, 0 = the newest, and return it.

    Raises:
        ValueError: where there is no such annotation.
    """
    said = live_map.annotations
    if not annotation_id and said.entries:
        annotation_id = said.entries[-1].id
    gone = said.get(annotation_id)
    _correct(live_map, live_map.classes.copy(), said.without(annotation_id), gone.cells)
    return gone


def _correct(
    live_map: LiveMap, classes: ClassTable, annotations: AnnotationSet, changed: Cells
) -> None:
    """Follow other annotations, and look at the changed cells for a while."""
    live_map.extend_classes(classes, annotations)
    live_map.corrections.focus(changed, live_map.trainer.rays)
