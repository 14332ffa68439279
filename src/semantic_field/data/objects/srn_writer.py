"""Writes a collection of objects in the published layout; see ``srn_layout``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from semantic_field.data.folder_writer import new_folder
from semantic_field.data.objects.object_views import ObjectCollection, ObjectView
from semantic_field.data.objects.srn_layout import DEPTH_UNIT


def write_srn_folder(objects: ObjectCollection, root: Path) -> None:
    """Write all views of a collection: a folder for each instance, named as it is.

    Raises:
        ValueError: if an instance's folder exists, its views differ in their camera, or it has
            two focal lengths, which the layout cannot hold.
    """
    for instance, name in enumerate(objects.names):
        views = [objects.view(instance, k) for k in range(objects.view_count(instance))]
        with new_folder(root / name) as folder:
            _write_instance(folder, views)


def _write_instance(folder: Path, views: list[ObjectView]) -> None:
    camera = views[0].camera
    if any(view.camera != camera for view in views) or camera.fx != camera.fy:
        raise ValueError(f"expected one camera with one focal length, got others for {folder}")
    for kind in ("rgb", "pose", "seg", "depth"):
        (folder / kind).mkdir(parents=True)
    (folder / "intrinsics.txt").write_text(
        f"{camera.fx!r} {camera.cx + 0.5!r} {camera.cy + 0.5!r} 0.\n0. 0. 0.\n1.\n"
        f"{camera.height} {camera.width}\n",
        encoding="utf-8",
    )
    for index, view in enumerate(views):
        stem = f"{index:06d}"
        _write_image(folder / "rgb" / f"{stem}.png", view.color[..., ::-1])
        numbers = " ".join(repr(float(value)) for value in view.T_object_camera.ravel())
        (folder / "pose" / f"{stem}.txt").write_text(numbers + "\n", encoding="utf-8")
        if view.parts is not None:
            _write_image(folder / "seg" / f"{stem}.png", view.parts)
        if view.depth is not None:
            _write_image(folder / "depth" / f"{stem}.png", _in_units(view.depth))


def _in_units(depth: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return depth in the layout's unit; what it cannot hold (beyond 6.5 m) becomes 0."""
    units = np.rint(depth / DEPTH_UNIT)
    return np.where((units > 0) & (units < 65536), units, 0).astype(np.uint16)


def _write_image(path: Path, image: NDArray) -> None:
    if not cv2.imwrite(str(path), np.ascontiguousarray(image)):
        raise OSError(f"expected to write {path}, could not: is the disk full?")
