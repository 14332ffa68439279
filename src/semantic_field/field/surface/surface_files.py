"""Meshes as PLY and GLB, points as PCD: for MeshLab, Blender, Open3D, PCL.

A file appears under its name only when it is complete.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.surface.mesh import Mesh
from semantic_field.field.surface.points import SurfacePoints

_FLOAT, _UINT, _BYTE = 5126, 5125, 5121  # component types of glTF 2.0
_VERTICES, _INDICES = 34962, 34963
# glTF's y points up; maps have z up: a quarter turn about x
_UPRIGHT = [-(0.5**0.5), 0.0, 0.0, 0.5**0.5]


def write_mesh(path: str | Path, mesh: Mesh) -> None:
    """Write a mesh with normals, colours and labels, in metres, as the file's suffix says.

    PLY keeps the axes of the map; GLB has the map's z turned upwards, as glTF wants it. The origin
    of the map is in the PLY's positions, which are doubles then, and in the GLB's node.

    Raises:
        ValueError: on another suffix than .ply or .glb.
    """
    path = Path(path)
    writers = {".ply": _ply, ".glb": _glb}
    if path.suffix not in writers:
        raise ValueError(f"expected a mesh file .ply or .glb, got {path.name!r}")
    _replace(path, writers[path.suffix](mesh))


def write_pcd(path: str | Path, points: SurfacePoints) -> None:
    """Write points with normals, RGB and labels (0xffffffff = none) as binary PCD 0.7, metres.

    Positions are floats, which is all that PCL reads, from the map's origin on: VIEWPOINT.
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
    """Positions (N, 3) in the frame of the map: float32 where that is precise, else float64."""
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


def _glb(mesh: Mesh) -> list[bytes]:
    points = mesh.vertices
    opaque = np.full((len(points), 1), 255, np.uint8)
    arrays = {
        "POSITION": points.xyz,
        "NORMAL": points.normals,
        "COLOR_0": np.hstack([_linear(points.color), opaque]),
        "_LABEL": points.label.astype(np.float32),
        "indices": mesh.triangles.astype(np.uint32).reshape(-1),
    }
    views, accessors, offset = [], [], 0
    for name, array in arrays.items():
        target = _INDICES if name == "indices" else _VERTICES
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": array.nbytes})
        views[-1]["target"] = target
        accessors.append(_accessor(len(views) - 1, array))
        offset += array.nbytes  # every array's length is a multiple of 4 bytes
    corner = np.stack([points.xyz.min(0), points.xyz.max(0)]) if len(points) else np.zeros((2, 3))
    accessors[0] |= {"min": corner[0].tolist(), "max": corner[1].tolist()}
    attributes = {name: number for number, name in enumerate(list(arrays)[:-1])}
    primitive = {"attributes": attributes, "indices": len(arrays) - 1, "material": 0}
    x, y, z = points.origin.tolist()
    plain = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    scene = {
        "asset": {"version": "2.0", "generator": "semantic_field"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "rotation": _UPRIGHT, "translation": [x, z, -y]}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [{"pbrMetallicRoughness": plain, "doubleSided": True}],
        "buffers": [{"byteLength": offset}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(scene, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + offset
    head = b"glTF" + np.array([2, total, len(text)], "<u4").tobytes() + b"JSON" + text
    body = np.array([offset], "<u4").tobytes() + b"BIN\0"
    return [head, body, *(array.tobytes() for array in arrays.values())]


def _accessor(view: int, array: NDArray) -> dict:
    """How glTF reads one array of the buffer."""
    component = {"f": _FLOAT, "u": _UINT if array.itemsize == 4 else _BYTE}[array.dtype.kind]
    shape = "SCALAR" if array.ndim == 1 else f"VEC{array.shape[1]}"
    accessor = {"bufferView": view, "componentType": component, "count": len(array)}
    return accessor | {"type": shape} | ({"normalized": True} if component == _BYTE else {})


def _linear(color: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """sRGB as the linear values that glTF's vertex colours are (IEC 61966-2-1)."""
    value = np.arange(256) / 255.0
    curve = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.rint(255 * curve).astype(np.uint8)[color]


def _replace(path: Path, parts: list[bytes]) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.writelines(parts)
    os.replace(partial, path)
