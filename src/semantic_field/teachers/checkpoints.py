"""Local checkpoints of other people's models: found, read without running code, and named."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


def weights_file(path: str, option: str, remedy: str) -> Path:
    """The file with weights that ``path`` is, or that lies in the folder ``path``.

    In a folder .safetensors is preferred; of several files of one kind the first by name.

    Raises:
        ValueError: where there is none, naming the option and the remedy.
    """
    where = Path(path).expanduser()
    if path and where.is_file() and where.suffix in SUFFIXES:
        return where
    if path and where.is_dir():
        for suffix in SUFFIXES:
            found = sorted(where.glob(f"*{suffix}"))
            if found:
                return found[0]
    got = "nothing" if not path else "no such file in " + path if where.is_dir() else path
    raise ValueError(
        f"expected a checkpoint ({', '.join(SUFFIXES)}) in {option}, got {got}; {remedy}"
    )


def digest(file: Path) -> str:
    """16 hex digits that tell checkpoints apart: a hash over the whole file."""
    hasher = hashlib.blake2b(digest_size=8)
    with file.open("rb") as stream:
        while block := stream.read(1 << 22):
            hasher.update(block)
    return hasher.hexdigest()


def choose_device(name: str) -> torch.device:
    """The device that ``teacher.device`` names; "auto" is the GPU where there is one.

    Raises:
        ValueError: where "cuda" is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("expected a GPU for teacher.device cuda, got none: set it to auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
