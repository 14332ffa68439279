"""Map serialisation: file on disk, snapshot message and training checkpoint.

One safetensors blob whose metadata holds JSON: format version, frame, bounds, label names,
language fingerprint, and a checksum over everything else. Only grid lines with a non-zero entry
are stored. Coordinates are relative to ``MapState.origin``. Loading executes no code from the file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy

from semantic_field.config import FieldConfig
from semantic_field.field.annotations import AnnotationSet
from semantic_field.field.map_state import LanguageSpace, MapState
from semantic_field.field.model import SemanticField, shape_of
from semantic_field.field.surface.voted_labels import VotedLabels
from semantic_field.field.voxels.voxel_grid import VoxelGrid
from semantic_field.kernels import make_reader
from semantic_field.kernels.table_lines import fill_lines, used_lines
from semantic_field.settings import updated

log = logging.getLogger(__name__)
FORMAT = "semantic_field.map"
FORMAT_VERSION = 8
READABLE = (8, 7, 6)  # 7 has no votes; 6 has no origin either: those maps begin at zero
VOTELESS = (7, 6)
ABOUT_LANGUAGE = ("rank", "fingerprint", "temperature", "text_rank")
Arrays = dict[str, np.ndarray]


def dump_map(state: MapState) -> bytes:
    """Serialise a map. The grid is stored as float16, or float32 if training state is included."""
    arrays = _field_arrays(state.field, precise=bool(state.training))
    for name, grid in (("voxels", state.voxels), ("reach", state.reach)):
        arrays[f"{name}.bricks"] = grid.bricks[: len(grid)]
        arrays[f"{name}.counts"] = grid.counts[: len(grid)]
    arrays["voxels.errors"] = state.voxels.errors[: len(state.voxels)]
    if state.votes is not None:
        arrays |= {f"votes.{name}": array for name, array in state.votes.packed().items()}
    if state.language:
        arrays["language.basis"] = state.language.basis.numpy()
        arrays["language.mean"] = state.language.mean.numpy()
    for name, value in state.training.items():
        arrays[f"training.{name}"] = np.asarray(value)
    about = _about(state)
    if state.annotations:
        about["annotations"], said = state.annotations.packed()
        arrays |= {f"annotations.{name}": array for name, array in said.items()}
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    about["checksum"] = digest(arrays, about)
    return safetensors_numpy.save(arrays, metadata={FORMAT: json.dumps(about)})


def load_map(data: bytes) -> MapState:
    """Deserialise a map from bytes; the field is on the CPU and needs no gradients.

    Raises:
        ValueError: if the bytes are truncated, damaged, of another format or version, or
            if their contents contradict each other.
    """
    about = _read_about(data)
    try:
        arrays = safetensors_numpy.load(data)
    except SafetensorError as error:
        raise _damaged(str(error)) from error
    claimed = about.pop("checksum", None)
    if claimed != digest(arrays, about):
        raise _damaged("the checksum does not match the contents")
    try:
        state = _state(about, arrays)
    except (KeyError, IndexError, TypeError, RuntimeError) as error:
        raise _damaged(f"{type(error).__name__}: {error}") from error
    _check_bounds(state)
    return state


def checksum_of(data: bytes) -> str:
    """Return the checksum stored in the header of a map's bytes, "" if there is none.

    Reads only the header, to tell maps apart cheaply; raises ValueError if it is damaged.
    """
    return _read_about(data).get("checksum", "")


def write_map(path: str | Path, data: bytes) -> None:
    """Write ``data`` to a file atomically: after a crash it holds the old or the new map.

    Raises:
        OSError: if the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_map(path: str | Path) -> bytes:
    """Return the bytes of a map file."""
    return Path(path).read_bytes()


def _about(state: MapState) -> dict[str, Any]:
    language = state.language
    return {
        "format_version": FORMAT_VERSION,
        "frame_id": state.frame_id,
        "origin": np.asarray(state.origin, dtype=float).tolist(),
        "bounds": np.asarray(state.bounds, dtype=float).tolist(),
        "voxel_m": state.voxels.voxel_m,
        "label_names": {str(i): name for i, name in state.label_names.items()},
        "class_ids": list(state.class_ids),
        "language": {name: getattr(language, name) for name in ABOUT_LANGUAGE}
        if language
        else None,
        "version": state.version,
        "steps": state.steps,
        "stamp_ns": state.stamp_ns,
        "field": asdict(state.field.config),
        "level_sizes": list(state.field.kernels.shape.level_sizes),
    }


def _read_about(data: bytes) -> dict[str, Any]:
    """Return the blob's metadata, checked for format and version."""
    header = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= header <= len(data) - 8:
        raise _damaged(f"its header does not fit into {len(data)} bytes")
    try:
        metadata = json.loads(data[8 : 8 + header]).get("__metadata__", {})
        about = json.loads(metadata[FORMAT])
        if json.dumps(about) != metadata[FORMAT]:  # another spelling of the same
            raise _damaged("its header is not as it was written")
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError) as error:
        raise _damaged(f"its header cannot be read ({error})") from error
    except (KeyError, TypeError):
        raise ValueError(
            f"expected a map file of format {FORMAT!r}, got a blob without that metadata; "
            "was it written by save_map?"
        ) from None
    found = about.get("format_version") if isinstance(about, dict) else None
    if found not in READABLE:
        raise ValueError(
            f"expected map format {' or '.join(f'version {v}' for v in READABLE)}, got {found!r}; "
            "load it with the release that wrote it, or map again"
        )
    return about


def _damaged(reason: str) -> ValueError:
    return ValueError(
        f"expected an intact map, got one that is damaged: {reason}; use an earlier copy"
    )


def digest(arrays: Arrays, about: dict[str, Any]) -> str:
    """SHA-256 over the arrays (names, types, shapes, bytes) and the metadata of a map, in hex."""
    found = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        found.update(f"{name}{array.dtype}{array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _field_arrays(field: SemanticField, precise: bool) -> Arrays:
    used, lines = used_lines(field.table, field.kernels.shape)
    arrays = {"table.used": used, "table.lines": lines}
    if not precise:
        arrays["table.lines"] = arrays["table.lines"].astype(np.float16)
    for name, value in field.state_dict().items():
        if name != "table":
            arrays[f"network.{name}"] = value.numpy()
    return arrays


def _state(about: dict[str, Any], arrays: Arrays) -> MapState:
    voxel_m = about["voxel_m"]
    grids = {
        name: VoxelGrid.from_bricks(
            voxel_m,
            arrays[f"{name}.bricks"],
            arrays[f"{name}.counts"],
            arrays.get(f"{name}.errors"),
        )
        for name in ("voxels", "reach")
    }
    language = about["language"]
    training = {n.removeprefix("training."): a for n, a in arrays.items() if n[:9] == "training."}
    return MapState(
        field=_field(about, arrays),
        frame_id=about["frame_id"],
        bounds=np.array(about["bounds"], dtype=np.float64),
        voxels=grids["voxels"],
        reach=grids["reach"],
        label_names={int(i): name for i, name in about["label_names"].items()},
        class_ids=tuple(about["class_ids"]),
        language=_language(language, arrays) if language else None,
        version=about["version"],
        steps=about["steps"],
        stamp_ns=about["stamp_ns"],
        origin=_origin(about),
        annotations=_annotations(about, arrays),
        training=training,
        votes=_votes(about, arrays),
    )


def _votes(about: dict[str, Any], arrays: Arrays) -> VotedLabels | None:
    """Return the stored votes; None without any, which is said if the map is of an old format."""
    if "votes.cell_m" not in arrays:
        if about["format_version"] in VOTELESS and about["class_ids"]:
            log.warning(
                "a map of format version %d holds no votes of its images: the labels of its "
                "surface are the field's; to get them, continue it with its keyframes, or map "
                "again",
                about["format_version"],
            )
        return None
    return VotedLabels.unpacked(
        {n.removeprefix("votes."): a for n, a in arrays.items() if n.startswith("votes.")},
        len(about["class_ids"]),
    )


def _annotations(about: dict[str, Any], arrays: Arrays) -> AnnotationSet:
    """Return the stored annotations; maps without any have no entry for them."""
    if "annotations" not in about:
        return AnnotationSet()
    names = ("cells", "class_ids", "released")
    said = {name: arrays[f"annotations.{name}"] for name in names}
    return AnnotationSet.unpacked(about["annotations"], said)


def _field(about: dict[str, Any], arrays: Arrays) -> SemanticField:
    settings = dict(about["field"])
    grid = {f"grid.{name}": value for name, value in settings.pop("grid").items()}
    config = updated(FieldConfig(), {**settings, **grid})
    shape = shape_of(config.grid).with_sizes(tuple(about["level_sizes"]))
    kernels = make_reader(config.grid.kernels, shape)
    field = SemanticField(config, len(about["class_ids"]), kernels)
    fill_lines(field.table, arrays["table.used"], arrays["table.lines"])
    weights = {
        name.removeprefix("network."): torch.from_numpy(array)
        for name, array in arrays.items()
        if name.startswith("network.")
    }
    field.load_state_dict({**weights, "table": field.table.data})
    return field.eval().requires_grad_(False)


def _origin(about: dict[str, Any]) -> np.ndarray:
    origin = np.array(about.get("origin", (0.0, 0.0, 0.0)), dtype=np.float64)
    if origin.shape != (3,) or not np.isfinite(origin).all():
        raise _damaged(f"its origin is {origin.tolist()}")
    return origin


def _language(about: dict[str, Any], arrays: Arrays) -> LanguageSpace:
    basis, mean = (torch.from_numpy(arrays[f"language.{n}"]) for n in ("basis", "mean"))
    about = {"text_rank": None, **about}  # earlier releases did not count them
    return LanguageSpace(basis, mean, **{name: about[name] for name in ABOUT_LANGUAGE})


def _check_bounds(state: MapState) -> None:
    bounds, observed = state.bounds, state.voxels.bounds()
    fits = bounds.shape == (2, 3) and np.isfinite(bounds).all() and (bounds[0] <= bounds[1]).all()
    if not fits or not np.allclose(bounds, observed, atol=1e-3):
        raise ValueError(
            f"expected bounds that enclose the observed voxels {observed.tolist()}, "
            f"got {bounds.tolist()}; the map contradicts itself, use an earlier copy"
        )
