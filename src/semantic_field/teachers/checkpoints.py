"""Local checkpoints of other people's models: found, read without running code, and named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
PRETRAINED = ("model.safetensors", "pytorch_model.bin")  # in transformers' own order
DESCRIPTION = "config.json"  # of transformers
LFS_POINTER = b"version https://git-lfs"


def weights_file(path: str, option: str, remedy: str) -> Path:
    """The file with weights that ``path`` is, or that lies in the folder ``path``.

    In a folder ``open_clip_*`` is preferred, then .safetensors, .pt, .pth and .bin in that order.

    Raises:
        ValueError: where there is none, or several of one kind, naming the option and the remedy.
    """
    where = Path(path).expanduser()
    if path and where.is_file() and where.suffix in SUFFIXES:
        return where
    lying = [f for f in sorted(where.glob("*")) if f.is_file()] if path and where.is_dir() else []
    named = [file for file in lying if file.name.startswith("open_clip_")]
    for candidates in (named, lying):
        for suffix in SUFFIXES:
            found = [file for file in candidates if file.suffix == suffix]
            if len(found) > 1:
                raise ValueError(
                    f"expected one checkpoint in the folder {option}, got "
                    f"{', '.join(file.name for file in found)} in {where}: set {option} to the "
                    "one that counts"
                )
            if found:
                return found[0]
    got = "nothing" if not path else "no such file in " + path if where.is_dir() else path
    raise ValueError(
        f"expected a checkpoint ({', '.join(SUFFIXES)}) in {option}, got {got}; {remedy}"
    )


def check_content(file: Path) -> None:
    """Tell files without weights in them, which no library names as what they are.

    Raises:
        ValueError: where the file cannot be read, is empty or a pointer of git-lfs, with the
            remedy.
    """
    try:
        with file.open("rb") as stream:
            start = stream.read(len(LFS_POINTER))
    except OSError as error:
        raise ValueError(f"expected weights in {file}, got: {error}; let it be read") from error
    if not start:
        raise ValueError(f"expected weights in {file}, got an empty file: copy it again")
    if start == LFS_POINTER:
        raise ValueError(
            f"expected weights in {file}, got a pointer of git-lfs: run git lfs pull where it was "
            "cloned, and copy it again"
        )


def digest(*files: Path, about: str = "") -> str:
    """16 hex digits that tell checkpoints apart: a hash over whole files and what is known of
    them besides."""
    hasher = hashlib.blake2b(about.encode(), digest_size=8)
    for file in files:
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


def on_device(model: Any, device: torch.device, kind: torch.dtype, option: str) -> Any:
    """The model that ``option`` names, moved.

    Raises:
        ValueError: where the device has no room for it, or does not work.
    """
    try:
        return model.to(device, kind)
    except (RuntimeError, AssertionError) as error:  # torch's words for full and for missing
        raise ValueError(
            f"expected room for the model of {option} on {device}, got: {first_line(error)}; set "
            "teacher.device to cpu, or end what else uses the device"
        ) from error


def first_line(error: BaseException) -> str:
    """What an error says, in a line; its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return " ".join(lines[:2]) if lines else type(error).__name__


@contextmanager
def offline() -> Iterator[None]:
    """Keeps the libraries of Hugging Face from asking the hub, as HF_HUB_OFFLINE=1 would."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@dataclass(frozen=True)
class Pretrained:
    """A model of transformers in evaluation mode, without gradients, on the CPU.

    Attributes:
        kind: transformers' name of the architecture.
        fingerprint: of the description and of all files with weights.
    """

    model: Any  # its attributes depend on the kind
    kind: str
    fingerprint: str


def pretrained(path: str, kinds: tuple[str, ...], option: str, remedy: str) -> Pretrained:
    """The model in a folder that transformers' ``save_pretrained`` wrote; never from the net.

    Raises:
        ValueError: where there is none, or one of another kind, or it cannot be read safely, or
            its files leave some of its weights out.
    """
    where = Path(path).expanduser()
    folder = where.parent if path and where.is_file() else where
    files = _weights_of_pretrained(folder) if path else []
    if not files:
        raise ValueError(
            f"expected a folder with {' or '.join(PRETRAINED)} in {option}, got "
            f"{path or 'nothing'}; {remedy}"
        )
    kind = _kind(folder, remedy)
    if kind not in kinds:
        raise ValueError(f"expected one of {', '.join(kinds)} in {option}, got {kind!r}; {remedy}")
    try:
        model, missing = _load(folder, kind)
        fingerprint = digest(folder / DESCRIPTION, *files)
    except Exception as error:  # said as what it means: the model cannot be read
        for file in files:
            check_content(file)
        raise ValueError(
            f"expected a readable model in {folder}, got: {first_line(error)}; {remedy}"
        ) from error
    if missing:
        raise ValueError(
            f"expected all weights of {kind} in {folder}, got none for {len(missing)} of them "
            f"({', '.join(missing[:3])}): copy the files again, or correct {DESCRIPTION}; {remedy}"
        )
    return Pretrained(model.eval().requires_grad_(False), kind, fingerprint)


def _weights_of_pretrained(folder: Path) -> list[Path]:
    """The files that transformers reads: one, or the parts that an index names."""
    for name in PRETRAINED:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            try:
                parts = sorted(set(json.loads(index.read_text())["weight_map"].values()))
                files = [folder / part for part in parts]
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"expected the names of the files with weights in {index}, got: {error!r}; "
                    "copy it again"
                ) from error
            if absent := [file.name for file in files if not file.is_file()]:
                raise ValueError(
                    f"expected all files of {index}, got no {', '.join(absent)}: copy them too"
                )
            return files
    return []


def _kind(folder: Path, remedy: str) -> str | None:
    """The architecture that the description beside the weights names."""
    try:
        described = json.loads((folder / DESCRIPTION).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"expected {DESCRIPTION} beside the weights in {folder}, got: {error}; {remedy}"
        ) from error
    if not isinstance(described, dict):
        raise ValueError(
            f"expected a JSON object in {folder / DESCRIPTION}, got a "
            f"{type(described).__name__}; {remedy}"
        )
    kind = described.get("model_type")
    return "sam2" if kind == "sam2_video" else kind  # what Meta's own SAM 2 checkpoints call it


def _load(folder: Path, kind: str) -> tuple[Any, list[str]]:
    """The model, and the names of weights that its files do not hold."""
    from transformers import AutoModel, Sam2Model
    from transformers.utils import logging

    logging.disable_progress_bar()
    load: Any = Sam2Model.from_pretrained if kind == "sam2" else AutoModel.from_pretrained
    options = {"add_pooling_layer": False} if kind == "vit" else {}  # DINO has none
    model, about = load(
        folder, local_files_only=True, dtype=torch.float32, output_loading_info=True, **options
    )
    return model, sorted(about["missing_keys"])
