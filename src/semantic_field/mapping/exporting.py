"""Export of a saved map as a mesh, with vertex colours or with a texture, and as a point cloud."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from semantic_field.field.map_state import MapState
from semantic_field.field.surface.extraction import extract_surface
from semantic_field.field.surface.mesh import Mesh, extract_mesh
from semantic_field.field.surface.ply import write_ply
from semantic_field.field.surface.points import SurfacePoints
from semantic_field.field.surface.surface_files import write_mesh, write_pcd, write_textured
from semantic_field.field.texture.baking import Paint, bake, lay_out
from semantic_field.field.views.surface_views import SurfaceViews, field_colors
from semantic_field.mapping.keyframe_views import KeyframeViews

MESHES, CLOUDS = (".ply", ".glb"), (".ply", ".pcd")
TEXEL_LIMITS_M = (0.0001, 0.1)
FIELD_TEXELS = 8  # along a voxel, where the field alone colours a texture
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Export:
    """What to write of a map, and how.

    Attributes:
        mesh: the new .ply or .glb; None = no mesh. cloud: the new .ply or .pcd; None = no cloud.
        spacing_m: of the cloud's points.
        texture: colour the mesh by a texture, not at its vertices.
        texel_m: edge of a texel; None = as fine as the keyframes' pixels on the surface.
        appearance: "views" or "field", see ``MappingConfig.appearance``.

    Raises:
        ValueError: if these do not fit together.
        FileNotFoundError: if a folder to write to does not exist.
    """

    mesh: Path | None
    cloud: Path | None
    spacing_m: float = 0.03
    texture: bool = False
    texel_m: float | None = None
    appearance: str = "views"

    def __post_init__(self) -> None:
        if self.mesh is None and self.cloud is None:
            raise ValueError("expected --mesh or --cloud, got neither")
        for path, suffixes in ((self.mesh, MESHES), (self.cloud, CLOUDS)):
            if path is not None and path.suffix not in suffixes:
                raise ValueError(f"expected a file {' or '.join(suffixes)}, got {path.name!r}")
            if path is not None and not path.parent.is_dir():
                raise FileNotFoundError(
                    f"expected an existing folder, got {path.parent}; create it"
                )
        if self.texel_m is not None and not self.texture:
            raise ValueError("expected --texel only with --texture, got it alone")
        if self.texture and (self.mesh is None or self.mesh.suffix != ".glb"):
            got = "no --mesh" if self.mesh is None else repr(self.mesh.name)
            raise ValueError(f"expected --texture with --mesh FILE.glb, got {got}")
        low, high = TEXEL_LIMITS_M
        if self.texel_m is not None and not low <= self.texel_m <= high:
            raise ValueError(f"expected --texel of {low} to {high} metres, got {self.texel_m}")


def export(state: MapState, wanted: Export, tell: Tell, progress: Callable[[float], None]) -> None:
    """Write a map's mesh and cloud.

    Args:
        state: a map as read from a file, with its keyframes.
        tell: called with each line for the user.
        progress: called with the share of a texture that is done, 0..1.
    Raises:
        ValueError: if the keyframes are damaged, or a texture is wanted of a map without surface.
        OSError: if a file cannot be written.
    """
    keyframes = _keyframes(state, wanted.appearance, tell)
    if wanted.cloud is not None:
        points = extract_surface(state, wanted.spacing_m)
        views = _views(state, keyframes, points)
        points = points if views is None else views.painted(points)
        (write_ply if wanted.cloud.suffix == ".ply" else write_pcd)(wanted.cloud, points)
        tell(f"{wanted.cloud}: {len(points)} points")
    if wanted.mesh is not None:
        mesh = extract_mesh(state)
        views = _views(state, keyframes, mesh.vertices)
        mesh = mesh if views is None else Mesh(views.painted(mesh.vertices), mesh.triangles)
        about = f"{len(mesh.vertices)} vertices, {len(mesh.triangles)} triangles"
        if wanted.texture:
            about += ", " + _write_textured(wanted, state, mesh, views, progress)
        else:
            write_mesh(wanted.mesh, mesh)
        tell(f"{wanted.mesh}: {about}")


def _keyframes(state: MapState, appearance: str, tell: Tell) -> KeyframeViews | None:
    """Return the keyframes that give colours and labels; None = the field does."""
    if appearance == "field":
        return None
    keyframes = KeyframeViews.of(state)
    if keyframes is None:
        tell(
            "the map file holds no keyframes, so colours and labels are the field's; "
            "save_map of a mapping node writes a file with keyframes"
        )
    return keyframes


def _views(
    state: MapState, keyframes: KeyframeViews | None, surface: SurfacePoints
) -> SurfaceViews | None:
    every = None if keyframes is None else keyframes.all()
    return None if every is None else SurfaceViews.of(state, every, surface)


def _write_textured(
    wanted: Export,
    state: MapState,
    mesh: Mesh,
    views: SurfaceViews | None,
    progress: Callable[[float], None],
) -> str:
    """Bake and write the texture; returns what it is like."""
    if not len(mesh.triangles):
        raise ValueError("expected a map with a surface, got an empty one; map something first")
    assert wanted.mesh is not None
    detail_m = state.voxels.voxel_m / FIELD_TEXELS if views is None else views.detail_m
    paint: Paint = field_colors(state) if views is None else views.appearance
    layout = lay_out(mesh, wanted.texel_m or detail_m)
    parts = []
    for done, part in bake(mesh, layout, paint):
        progress(done)
        if part is not None:
            parts.append(part)
    write_textured(wanted.mesh, parts)
    pages = ", ".join(f"{width} x {height}" for width, height in layout.packing.sizes)
    return f"texture of {pages} pixels, {layout.charts.texel_m * 1000:.1f} mm each"
