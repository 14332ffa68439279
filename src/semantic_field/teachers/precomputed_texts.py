"""A teacher of precomputed text features: the text space of a model that is not here.

The features come as a folder with ``features.npy`` (N, E) and ``entries.json`` (a list of names,
or of objects with a ``name``), with optional ``*synonyms.json`` (name to list of names); or as
one ``.npz`` or ``.safetensors`` file of name to feature.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from semantic_field.teachers.household import Thing
from semantic_field.teachers.language import NO_NAMES, Calibration, embed_label_image
from semantic_field.teachers.naming import spoken

HINT = (
    "set teacher.path to a folder with features.npy and entries.json, or to a .npz or "
    ".safetensors file of name to feature"
)


class VocabularyTeacher:
    """Looks texts up among names with known features; nothing is computed.

    Args:
        path: see the module.
    Raises:
        ValueError: where the files are missing, damaged or do not fit together.
    """

    name = "vocabulary"
    footprint: tuple[float, ...] = ()

    def __init__(self, path: str) -> None:
        names, features, synonyms = _read(path)
        vectors = _unit(features, path)
        self._rows = _rows_of(names)
        merged = np.stack([vectors[rows].mean(0) for rows in self._rows.values()])
        merged /= np.linalg.norm(merged, axis=1, keepdims=True)
        self._features = torch.from_numpy(merged)
        self._index = {name: i for i, name in enumerate(self._rows)}
        groups = [[_key(n) for n in (name, *others)] for name, others in synonyms.items()]
        for group in groups:
            known = [n for n in group if n in self._index]
            if known:
                for other in group:
                    self._index.setdefault(other, self._index[known[0]])
        self.dim = merged.shape[1]
        digest = hashlib.sha256(json.dumps(list(self._rows)).encode() + merged.tobytes())
        self.fingerprint = f"vocabulary:{digest.hexdigest()[:16]}"
        self.things = tuple(Thing((name,)) for name in self._rows)
        self.calibration = Calibration(
            center=self._features.mean(0),
            distinct=0.45,
            same=0.65,
            floor=0.5,
            margin=0.3,
            sharpness=15.0,
        )

    def knows(self, text: str) -> bool:
        return self._find(text) is not None

    def embed_text(self, texts: list[str]) -> Float[Tensor, "Q E"]:
        """The stored L2-normalised feature of each text, which must be a known name."""
        rows = [self._find(text) for text in texts]
        unknown = [text for text, row in zip(texts, rows, strict=True) if row is None]
        if unknown:
            close = {t: difflib.get_close_matches(_key(t), list(self._index), 3) for t in unknown}
            raise ValueError(
                f"expected names of the vocabulary of {len(self._rows)}, got {unknown}; close "
                f"ones are {close}. For free text set teacher.kind to label_text"
            )
        return self._features[torch.tensor(rows, dtype=torch.long)]

    def embed_image(
        self,
        color: NDArray[np.uint8],
        labels: NDArray[np.int32] | None = None,
        label_names: Mapping[int, str] = NO_NAMES,
    ) -> Float[Tensor, "1 h w E"]:
        """The features of the label image's class names, one a cell; zeros where void."""
        return embed_label_image(self, labels, label_names)

    def _find(self, text: str) -> int | None:
        key = _key(text)
        for form in (key, spoken(text), key.removesuffix("s")):
            if form in self._index:
                return self._index[form]
        return None


def _key(name: str) -> str:
    return " ".join(name.replace("_", " ").lower().split())


def _rows_of(names: list[str]) -> dict[str, list[int]]:
    """Each distinct name with its rows."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(_key(name), []).append(row)
    return rows


def _unit(features: NDArray, path: str) -> NDArray[np.float32]:
    vectors = features.astype(np.float32)
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(vectors).all() or not (norm > 0).all():
        raise ValueError(f"expected finite features that are not zero in {path}; {HINT}")
    return vectors / norm


def _read(path: str) -> tuple[list[str], NDArray, dict[str, list[str]]]:
    """Names, their features (N, E) and synonyms."""
    where = Path(path).expanduser()
    if not path or not where.exists():
        raise ValueError(f"expected the features of the 'vocabulary' teacher, got {path!r}; {HINT}")
    try:
        if where.is_dir():
            names, features, synonyms = _read_folder(where)
        else:
            names, features = _read_file(where)
            synonyms = {}
    except (OSError, KeyError, json.JSONDecodeError, SafetensorError, ValueError) as error:
        raise ValueError(f"expected readable features in {path}, got: {error}; {HINT}") from error
    if features.ndim != 2 or len(names) != len(features) or not names:
        raise ValueError(
            f"expected one feature for each name in {path}, got {len(names)} names and features "
            f"of shape {features.shape}; {HINT}"
        )
    return names, features, synonyms


def _read_folder(folder: Path) -> tuple[list[str], NDArray, dict[str, list[str]]]:
    entries = json.loads((folder / "entries.json").read_text())
    names = [entry if isinstance(entry, str) else entry["name"] for entry in entries]
    features = np.load(folder / "features.npy", allow_pickle=False)
    synonyms: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*synonyms.json")):
        synonyms |= json.loads(file.read_text())
    return names, features, synonyms


def _read_file(file: Path) -> tuple[list[str], NDArray]:
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as archive:
            table = {name: archive[name] for name in archive.files}
    elif file.suffix == ".safetensors":
        table = load_file(file)
    else:
        raise ValueError(f"expected a folder, .npz or .safetensors, got {file.name}")
    return list(table), np.stack([np.asarray(v).reshape(-1) for v in table.values()])
