"""Meshes with vertex colours or with a texture as GLB files (glTF 2.0)."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semantic_field.field.surface.mesh import Mesh
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.texture.baking import TexturedPart

_FLOAT, _UINT, _BYTE = 5126, 5125, 5121  # component types of glTF 2.0
_VERTICES, _INDICES = 34962, 34963
_LINEAR, _MIPMAPS, _TO_EDGE = 9729, 9987, 33071  # a texture's filters and wrapping
_PLAIN = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
# glTF's y points up; maps have z up: a quarter turn about x
_UPRIGHT = [-(0.5**0.5), 0.0, 0.0, 0.5**0.5]


def glb_of_mesh(mesh: Mesh) -> list[bytes]:
    """Return the parts of a GLB file of a mesh with vertex colours."""
    file, points = _File(), mesh.vertices
    opaque = np.full((len(points), 1), 255, np.uint8)
    color = {"COLOR_0": np.hstack([_linear(points.color), opaque])}
    material = {"pbrMetallicRoughness": _PLAIN, "doubleSided": True}
    return file.parts([file.primitive(mesh, color, material)], points.origin)


def glb_of_parts(parts: Sequence[TexturedPart]) -> list[bytes]:
    """Return the parts of a GLB file of a mesh with a texture; there must be at least one part."""
    file = _File()
    primitives = []
    for part in parts:
        texture = {"baseColorTexture": {"index": file.texture(part.png)}}
        material = {"pbrMetallicRoughness": _PLAIN | texture, "doubleSided": True}
        primitives.append(file.primitive(part.mesh, {"TEXCOORD_0": part.uv}, material))
    return file.parts(primitives, parts[0].mesh.vertices.origin)


class _File:
    """A GLB file under construction: a scene description and one buffer."""

    def __init__(self) -> None:
        self._buffer: list[bytes] = []
        self._views: list[dict] = []
        self._accessors: list[dict] = []
        self._materials: list[dict] = []
        self._images: list[dict] = []

    def primitive(self, mesh: Mesh, colors: dict[str, NDArray], material: dict) -> dict:
        """Add a mesh with the vertex attributes that colour it; returns its description."""
        points: SurfacePoints = mesh.vertices
        arrays = {"POSITION": points.xyz, "NORMAL": points.normals, **colors}
        arrays["_LABEL"] = points.label.astype(np.float32)
        attributes = {name: self._accessor(array, _VERTICES) for name, array in arrays.items()}
        ends = np.stack([points.xyz.min(0), points.xyz.max(0)]) if len(points) else np.zeros((2, 3))
        self._accessors[attributes["POSITION"]] |= {
            "min": ends[0].tolist(),
            "max": ends[1].tolist(),
        }
        indices = self._accessor(mesh.triangles.astype(np.uint32).reshape(-1), _INDICES)
        self._materials.append(material)
        return {
            "attributes": attributes,
            "indices": indices,
            "material": len(self._materials) - 1,
        }

    def texture(self, png: bytes) -> int:
        """Add an image; returns the number of its texture."""
        self._images.append({"bufferView": self._view(png, {}), "mimeType": "image/png"})
        return len(self._images) - 1

    def parts(self, primitives: list[dict], origin: NDArray[np.float64]) -> list[bytes]:
        """Return the file, in parts, with a mesh of these primitives at the map's origin."""
        x, y, z = origin.tolist()
        size = sum(len(data) for data in self._buffer)
        scene = {
            "asset": {"version": "2.0", "generator": "semantic_field"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0, "rotation": _UPRIGHT, "translation": [x, z, -y]}],
            "meshes": [{"primitives": primitives}],
            "materials": self._materials,
            "buffers": [{"byteLength": size}],
            "bufferViews": self._views,
            "accessors": self._accessors,
        }
        if self._images:
            numbers = range(len(self._images))
            wrap = {"wrapS": _TO_EDGE, "wrapT": _TO_EDGE}
            scene["images"] = self._images
            scene["samplers"] = [{"magFilter": _LINEAR, "minFilter": _MIPMAPS, **wrap}]
            scene["textures"] = [{"source": number, "sampler": 0} for number in numbers]
        text = json.dumps(scene, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + size
        head = b"glTF" + np.array([2, total, len(text)], "<u4").tobytes() + b"JSON" + text
        body = np.array([size], "<u4").tobytes() + b"BIN\0"
        return [head, body, *self._buffer]

    def _view(self, data: bytes, about: dict) -> int:
        """Append data to the buffer, which stays aligned to 4 bytes; returns its view's number."""
        offset = sum(view["byteLength"] + -view["byteLength"] % 4 for view in self._views)
        self._views.append({"buffer": 0, "byteOffset": offset, "byteLength": len(data), **about})
        self._buffer.append(data + bytes(-len(data) % 4))
        return len(self._views) - 1

    def _accessor(self, array: NDArray, target: int) -> int:
        """Add one array; returns its accessor's number."""
        view = self._view(np.ascontiguousarray(array).tobytes(), {"target": target})
        component = {"f": _FLOAT, "u": _UINT if array.itemsize == 4 else _BYTE}[array.dtype.kind]
        kind = "SCALAR" if array.ndim == 1 else f"VEC{array.shape[1]}"
        accessor = {"bufferView": view, "componentType": component, "count": len(array)}
        normalized = {"normalized": True} if component == _BYTE else {}
        self._accessors.append(accessor | {"type": kind} | normalized)
        return len(self._accessors) - 1


def _linear(color: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert sRGB to linear values (IEC 61966-2-1), as glTF expects for vertex colours."""
    value = np.arange(256) / 255.0
    curve = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.rint(255 * curve).astype(np.uint8)[color]
