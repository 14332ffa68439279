"""Loading of local model checkpoints without executing code from them, and their fingerprints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.kernels.device_memory import memory_for
from semantic_field.weights.local_weights import local_path

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
PRETRAINED = ("model.safetensors", "pytorch_model.bin")  # in transformers' own order
DESCRIPTION = "config.json"  # of transformers
LOADERS = {"sam2": "Sam2Model"}
LFS_POINTER = b"version https://git-lfs"
MEMORY_REMEDY = "set teacher.device to cpu, or end what else uses the device"


def weights_file(path: str, option: str, remedy: str) -> Path:
    """Return the weights file: ``path`` itself, or one in the folder ``path``.

    In a folder ``open_clip_*`` is preferred, then .safetensors, .pt, .pth and .bin in that order.

    Args:
        option, remedy: for error messages: the name of the setting, and what to do.
    Raises:
        ValueError: if there is none, or several of one kind.
    """
    where = Path(local_path(path, option)).expanduser()
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
    """Check that a weights file has content, for clearer errors than those of the libraries.

    Raises:
        ValueError: if the file cannot be read, is empty or a git-lfs pointer.
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
    """Return a hash (16 hexadecimal digits) of the contents of files and the text ``about``."""
    hasher = hashlib.blake2b(about.encode(), digest_size=8)
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                hasher.update(block)
    return hasher.hexdigest()


def memory_for_image(
    teacher: str, color: NDArray[np.uint8], option: str = ""
) -> AbstractContextManager[None]:
    """Context manager that says which teacher has no memory for an image; see ``memory_for``.

    Args:
        teacher: for the message. color: the image (H, W, 3).
        option: which setting lowers the need, if any.
    """
    height, width = color.shape[:2]
    remedy = f"{option}, or {MEMORY_REMEDY}" if option else MEMORY_REMEDY
    return memory_for(f"{teacher} on an image of {width}x{height}", remedy)


def choose_device(name: str) -> torch.device:
    """Return the device for ``teacher.device``; "auto" is a GPU if there is one.

    Raises:
        ValueError: on "cuda" without a GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("expected a GPU for teacher.device cuda, got none: set it to auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def on_device(model: Any, device: torch.device, kind: torch.dtype, option: str) -> Any:
    """Move a model to a device and dtype, and return it; ``option`` names it in errors.

    Raises:
        ValueError: if the device has not enough memory, or does not work.
    """
    try:
        return model.to(device, kind)
    except (RuntimeError, AssertionError) as error:  # out of memory, or no such device
        raise ValueError(
            f"expected room for the model of {option} on {device}, got: {first_line(error)}; "
            f"{MEMORY_REMEDY}"
        ) from error


def first_line(error: BaseException) -> str:
    """Return an error's message in one line; its type if it has no message."""
    lines = str(error).strip().splitlines()
    return " ".join(lines[:2]) if lines else type(error).__name__


@contextmanager
def offline() -> Iterator[None]:
    """Context manager that keeps Hugging Face libraries offline, like HF_HUB_OFFLINE=1."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@dataclass(frozen=True)
class Pretrained:
    """A transformers model in evaluation mode, without gradients, on the CPU.

    Attributes:
        kind: transformers' name of the architecture.
        fingerprint: hash of config.json and all weights files.
    """

    model: Any  # its attributes depend on the kind
    kind: str
    fingerprint: str


def pretrained(
    path: str,
    kinds: tuple[str, ...],
    option: str,
    remedy: str,
    loaders: Mapping[str, str] | None = None,
) -> Pretrained:
    """Load a model from a local folder written by ``save_pretrained``; never from the network.

    Args:
        path: the folder, or the name of weights in the registry.
        kinds: accepted architectures.
        option, remedy: for error messages: the name of the setting, and what to do.
        loaders: transformers' class that loads an architecture, where it is not ``AutoModel``.
    Raises:
        ValueError: if there is no model, its kind is not accepted, it cannot be read safely, or
            weights are missing.
    """
    where = Path(local_path(path, option)).expanduser()
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
        model, missing = _load(folder, kind, (loaders or LOADERS).get(kind, "AutoModel"))
        fingerprint = digest(folder / DESCRIPTION, *files)
    except Exception as error:  # of any library: all mean that the model cannot be read
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
    """Return the files that transformers reads: one, or the parts listed in an index."""
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
    """Return the architecture named in config.json next to the weights."""
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


def _load(folder: Path, kind: str, loader: str) -> tuple[Any, list[str]]:
    """Load the model; also return the names of weights that are missing in its files."""
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    load: Any = getattr(transformers, loader).from_pretrained
    options = {"add_pooling_layer": False} if kind == "vit" else {}  # DINO has none
    model, about = load(
        folder, local_files_only=True, dtype=torch.float32, output_loading_info=True, **options
    )
    return model, sorted(about["missing_keys"])
