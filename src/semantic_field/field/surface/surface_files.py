"""Writers of meshes (PLY, GLB with vertex colours or a texture) and points (PCD).

For MeshLab, Blender, Open3D and PCL.

Files are written under a temporary name and renamed when complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semantic_field.atomic_files import check_space, replacing
from semantic_field.field.surface.glb import glb_of_mesh, glb_of_parts
from semantic_field.field.surface.mesh import Mesh
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.texture.baking import TexturedPart


def write_mesh(path: str | Path, mesh: Mesh) -> None:
    """Write a mesh with normals, colours and labels, in metres; the suffix selects the format.

    PLY keeps the axes of the map; GLB rotates them so that the map's z points up in glTF, where y
    is up. The map's origin is added to the PLY's positions, which are doubles if it is not zero,
    and is the translation of the GLB's node.

    Raises:
        ValueError: if the suffix is neither .ply nor .glb.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    writers = {".ply": _ply, ".glb": glb_of_mesh}
    if path.suffix not in writers:
        raise ValueError(f"expected a mesh file .ply or .glb, got {path.name!r}")
    _replace(path, writers[path.suffix](mesh))


def write_textured(path: str | Path, parts: Sequence[TexturedPart]) -> None:
    """Write a mesh with a texture as GLB, see ``write_mesh``; labels stay at its vertices.

    Raises:
        ValueError: if the suffix is not .glb.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".glb":
        raise ValueError(f"expected a textured mesh file .glb, got {path.name!r}")
    _replace(path, glb_of_parts(parts))


def write_pcd(path: str | Path, points: SurfacePoints) -> None:
    """Write points with normals, RGB and labels (0xffffffff = none) as binary PCD 0.7, metres.

    Positions are float32, the only type that PCL reads, relative to the map's origin, which is
    stored as VIEWPOINT.
    """
    names = ("x", "y", "z", "normal_x", "normal_y", "normal_z")
    rows = np.empty(len(points), [*((n, "<f4") for n in names), ("rgb", "<u4"), ("label", "<u4")])
    for name, column in zip(names, np.hstack([points.xyz, points.normals]).T, strict=True):
        rows[name] = column
    red, green, blue = points.color.astype(np.uint32).T
    rows["rgb"] = red << 16 | green << 8 | blue
    rows["label"] = points.label.astype(np.uint32)
    x, y, z = points.origin.tolist()
    header = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "# metres; positions are from VIEWPOINT on",
        "VERSION 0.7",
        f"FIELDS {' '.join(names)} rgb label",
        "SIZE 4 4 4 4 4 4 4 4",
        "TYPE F F F F F F U U",
        "COUNT 1 1 1 1 1 1 1 1",
        f"WIDTH {len(points)}",
        "HEIGHT 1",
        f"VIEWPOINT {x!r} {y!r} {z!r} 1 0 0 0",
        f"POINTS {len(points)}",
        "DATA binary",
    ]
    _replace(Path(path), [("\n".join(header) + "\n").encode(), rows.tobytes()])


def positions_of(points: SurfacePoints) -> NDArray[np.floating]:
    """Return positions (N, 3) in the map's frame: float32 if the origin is zero, else float64."""
    if not points.origin.any():
        return points.xyz.astype("<f4")
    return points.world.astype("<f8")


def _ply(mesh: Mesh) -> list[bytes]:
    points = mesh.vertices
    names = ("x", "y", "z", "nx", "ny", "nz")
    positions = positions_of(points)
    kinds = [*((n, positions.dtype) for n in "xyz"), *((n, "<f4") for n in names[3:])]
    rows = np.empty(len(points), [*kinds, ("rgb", "u1", 3), ("label", "<i4")])
    for name, column in zip(names, [*positions.T, *points.normals.T], strict=True):
        rows[name] = column
    rows["rgb"], rows["label"] = points.color, points.label
    faces = np.empty(len(mesh.triangles), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.triangles
    header = ["ply", "format binary_little_endian 1.0", "comment metres"]
    kind = {4: "float", 8: "double"}[positions.itemsize]
    header += [f"element vertex {len(points)}", *(f"property {kind} {n}" for n in "xyz")]
    header += [f"property float {n}" for n in names[3:]]
    header += [f"property uchar {n}" for n in ("red", "green", "blue")]
    header += ["property int label", f"element face {len(faces)}"]
    header += ["property list uchar int vertex_indices", "end_header"]
    return [("\n".join(header) + "\n").encode(), rows.tobytes(), faces.tobytes()]


def _replace(path: Path, parts: list[bytes]) -> None:
    check_space(path, sum(len(part) for part in parts))
    with replacing(path) as hidden, hidden.open("wb") as file:
        file.writelines(parts)
