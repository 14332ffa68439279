"""Creation and deletion of annotations of a live map."""

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
    """An immutable copy of what is needed to find the part of a map that is pointed at.

    Attributes:
        state: state of the map, with its origin in the world frame.
        cameras: cameras and poses of the frames to which a stamp can refer, in map coordinates.
        newest: camera of the newest frame, None if there is none.
        cell_m: edge of the annotation cells, metres.
    """

    state: MapState
    cameras: list[StampedCamera]
    newest: StampedCamera | None
    cell_m: float

    @classmethod
    def of(cls, live_map: LiveMap, state: MapState, recent: list[StampedCamera]) -> Scene:
        """Return the scene of a live map.

        Args:
            state: the current state of the map.
            recent: cameras of the newest frames, oldest first.
        """
        keyframes = keyframe_cameras(live_map.keyframes) if live_map.keyframes else []
        cameras = [*recent, *keyframes]
        return cls(state, cameras, recent[-1] if recent else None, live_map.annotations.cell_m)

    def claim(self, pointed_at: PointedAt) -> Claim:
        """Return the cells of the map that are pointed at, in map coordinates.

        Args:
            pointed_at: point, pixel, box or label image; points and boxes in the world frame.
        Raises:
            ValueError: if there is no map, no surface there, or no frame of that stamp.
        """
        state, own = self.state.in_own_frame(), relative_to(pointed_at, self.state.origin)
        return claim_of(state, own, self.cameras, self.newest, self.cell_m)


def names_of(name: str, pointed_at: PointedAt) -> dict[int, str]:
    """Return the class names by the class numbers in a claim on ``pointed_at``.

    A label image has names of its own; everything else gets the number 0 for ``name``.

    Raises:
        ValueError: if ``name`` is empty or means "no class".
    """
    return pointed_at.names if isinstance(pointed_at, Labels) else {0: checked_name(name)}


def annotate(live_map: LiveMap, kind: str, names: dict[int, str], claimed: Claim) -> Answer:
    """Assign claimed cells to classes, and direct training rays to them for a while.

    Args:
        kind: kind of annotation, see ``Annotation``.
        names: class names by the class numbers in ``claimed``.
        claimed: the cells.
    Returns:
        the new annotation, and the earlier ones that it contradicts.
    Raises:
        Exception: whatever the teacher raises for a name; nothing has changed then.
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
    """Delete an annotation (0 = the newest) and return it.

    Raises:
        ValueError: if there is no such annotation.
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
    """Use other annotations, and direct training rays to the changed cells for a while."""
    live_map.extend_classes(classes, annotations)
    live_map.corrections.focus(changed, live_map.trainer.rays)
