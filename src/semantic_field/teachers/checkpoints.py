"""Local checkpoints of other people's models: found, read without running code, and named."""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

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


@dataclass(frozen=True)
class Pretrained:
    """A model of transformers in evaluation mode, without gradients, on the CPU.

    Attributes:
        kind: transformers' name of the architecture. fingerprint: of the weights.
    """

    model: Any  # its attributes depend on the kind
    kind: str
    fingerprint: str


def pretrained(path: str, kinds: tuple[str, ...], option: str, remedy: str) -> Pretrained:
    """The model in a folder that transformers' ``save_pretrained`` wrote; never from the net.

    Raises:
        ValueError: where there is none, or one of another kind, or it cannot be read safely.
    """
    weights = weights_file(path, option, remedy)
    folder = weights.parent
    try:
        from transformers import AutoModel
        from transformers.utils import logging

        logging.disable_progress_bar()
        kind = json.loads((folder / "config.json").read_text()).get("model_type")
    except (ImportError, OSError, json.JSONDecodeError) as error:
        raise ValueError(
            f"expected transformers and config.json beside {weights}, got: {error}; {remedy}"
        ) from error
    kind = {"sam2_video": "sam2"}.get(kind, kind)  # what Meta's own SAM 2 checkpoints call it
    if kind not in kinds:
        raise ValueError(f"expected one of {', '.join(kinds)} in {option}, got {kind!r}; {remedy}")
    try:
        load = _sam2 if kind == "sam2" else AutoModel.from_pretrained
        options = {"add_pooling_layer": False} if kind == "vit" else {}  # DINO has none
        model = load(folder, local_files_only=True, dtype=torch.float32, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"expected a readable model in {folder}, got: {error}; {remedy}"
        ) from error
    return Pretrained(model.eval().requires_grad_(False), kind, digest(weights))


def _sam2(folder: Path, **options) -> Any:
    from transformers import Sam2Model

    return Sam2Model.from_pretrained(folder, **options)
