"""Tensors with a description, as safetensors files: nothing in them is executed.

The description is JSON in the file's metadata, below the name of its format, and has a version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from semantic_field.atomic_files import check_space, write_atomically


@dataclass(frozen=True)
class FileKind:
    """A kind of files of tensors.

    Attributes:
        format: name of the description in the metadata.
        version: of the format.
        what: the files hold, for messages, such as "weights of a generalizable model".
        parts: what a description must have.
        maker: command that makes such files, for messages.
    """

    format: str
    version: int
    what: str
    parts: tuple[str, ...]
    maker: str

    def write(
        self, path: str | Path, about: Mapping[str, Any], tensors: Mapping[str, Tensor]
    ) -> None:
        """Write a file atomically, and the folders that it is in.

        Raises:
            OSError: if there is no room, or the file cannot be written.
        """
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        data = save(plain, {self.format: json.dumps({"version": self.version, **about})})
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        check_space(path, len(data))
        write_atomically(path, data)

    def read(self, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return a file's description and tensors.

        Raises:
            ValueError: if it is damaged, or of another format or version.
        """
        try:
            with safe_open(path, "pt") as file:
                text = (file.metadata() or {}).get(self.format)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(
                f"expected an intact file of weights, got a damaged {path}: {error}; train anew "
                "or copy it again"
            ) from error
        if text is None:
            raise ValueError(
                f"expected {self.what} in {path}, got a safetensors file without "
                f"{self.format!r}; files are made by {self.maker}"
            )
        return self._described(path, text), tensors

    def _described(self, path: Path, text: str) -> dict[str, Any]:
        """Return the description in a file, checked for its version and its parts."""
        try:
            about = json.loads(text)
            found = about["version"]
            missing = set(self.parts) - set(about)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"expected an intact header of weights in {path}: {error!r}"
            ) from error
        if found != self.version:
            raise ValueError(
                f"expected weights of format version {self.version} in {path}, got {found}; use "
                "the release that wrote them, or train anew"
            )
        if missing:
            raise ValueError(
                f"expected {', '.join(sorted(missing))} in the header of {path}, got none"
            )
        return about


def check_tensors(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise a ValueError that says how the tensors of a file differ from those wanted, if so."""
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    shapes = [
        f"{name} {tuple(wanted[name].shape)} and not {tuple(found[name].shape)}"
        for name in sorted(set(wanted) & set(found))
        if wanted[name].shape != found[name].shape
    ]
    wrong = [
        f"{what}: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
        for what, names in (("missing", missing), ("extra", extra), ("expected", shapes))
        if names
    ]
    if wrong:
        raise ValueError(
            f"expected the tensors of the settings in {path}, got others: {'; '.join(wrong)}; was "
            "the file changed, or written by another release? Train anew"
        )


def shipped_or_file(name_or_path: str | Path, shipped: Mapping[str, Path]) -> Path:
    """Return the file of that name among those that ship, or the file at a path.

    Raises:
        ValueError: if there is neither.
    """
    path = shipped.get(str(name_or_path), Path(name_or_path).expanduser())
    if not path.is_file():
        named = ", ".join(shipped) or "none ships; make them: make weights"
        raise ValueError(
            f"expected a file of weights or the name of shipped ones ({named}), "
            f"got {str(name_or_path)!r}"
        )
    return path


def halved(name: str, value: Tensor) -> Tensor:
    """Return a float32 tensor as float16, others as they are.

    Raises:
        ValueError: if a number is too large for float16.
    """
    if value.dtype != torch.float32:
        return value
    found = value.half()
    if not torch.isfinite(found).all():
        raise ValueError(
            f"expected weights below 65504 to store as float16, got {float(value.abs().max())} in "
            f"{name}; save them as float32"
        )
    return found
