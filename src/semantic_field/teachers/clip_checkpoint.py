"""Loads any open_clip architecture with weights from a local checkpoint, without network."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semantic_field.kernels.device_memory import Halving
from semantic_field.teachers.checkpoints import (
    MEMORY_REMEDY,
    check_content,
    digest,
    first_line,
    offline,
    weights_file,
)
from semantic_field.weights.local_weights import local_path

DESCRIPTION = "open_clip_config.json"
TEXTS_AT_ONCE = 64
REMEDY = (
    "get one with: semantic-field weights get clip-vit-b16, and set teacher.kind to its name; or "
    "train or fine-tune one with open_clip and take the .pt it writes: then set teacher.path to it "
    "and teacher.architecture to its architecture (docs/models.md). Without one, teacher.kind "
    "label_text works offline"
)


@dataclass(frozen=True)
class LoadedClip:
    """A loaded CLIP model.

    Attributes:
        model: in evaluation mode, without gradients, float32 on the CPU.
        tokenize: maps texts to token ids (Q, T).
        side: edge of the square images that the model was trained with, pixels.
        mean, std: normalisation of the three colour channels, 0..1.
        fingerprint: hash of weights, description and image preprocessing.
        texts_at_once: how many are encoded together.
    """

    model: Any
    tokenize: Callable[[list[str]], Tensor]
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    texts_at_once: Halving = field(
        default_factory=lambda: Halving(TEXTS_AT_ONCE, 1, "texts for CLIP", MEMORY_REMEDY)
    )


def load_clip(path: str, architecture: str) -> LoadedClip:
    """Load the model in ``path``: a checkpoint, or a folder with one and maybe its description.

    Args:
        path: .safetensors, or .pt, .pth or .bin that contains only tensors.
        architecture: an open_clip architecture name, or a JSON file in open_clip's model format;
            ignored if the folder has an ``open_clip_config.json``.
    Raises:
        ValueError: if a file is missing, damaged, unsafe to read, or does not fit.
    """
    weights = weights_file(path, "teacher.path", REMEDY)
    path = local_path(path, "teacher.path")
    try:
        import open_clip
    except ImportError as error:
        raise ValueError(
            f"expected open_clip for the teacher 'open_clip', got {error}: pip install "
            "open_clip_torch, or set teacher.kind to label_text"
        ) from error
    folder = Path(path).expanduser()
    described = folder.is_dir() and (folder / DESCRIPTION).is_file()
    name = f"local-dir:{folder}" if described else _known_name(architecture)
    about = folder / DESCRIPTION if described else Path(architecture).expanduser()
    try:
        with _quiet(), offline():  # suppress the warning that no weights are loaded yet
            model: Any = open_clip.create_model(name, load_weights=False, pretrained_text=False)
        open_clip.load_checkpoint(model, str(weights), weights_only=True)
        side, mean, std = _seen_as(open_clip.get_model_preprocess_cfg(model))
    except Exception as error:  # open_clip raises many types; translated by ``_refusal``
        check_content(weights)
        raise _refusal(error, weights, str(about) if described else architecture) from error
    text = "" if about.suffix != ".json" else about.read_text()
    known = "own" if described else Path(architecture).stem
    mark = digest(weights, about=json.dumps([text, side, mean, std]))
    model = model.eval().requires_grad_(False)
    return LoadedClip(model, _tokenizer(name), side, mean, std, fingerprint=f"{known}:{mark}")


def _seen_as(preprocess: dict[str, Any]) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    """Return side, mean and standard deviation of the images that a model was trained with."""
    size = preprocess["size"]
    mean, std = (tuple(float(v) for v in preprocess[name]) for name in ("mean", "std"))
    if len(mean) != 3 or len(std) != 3 or not all(std):
        raise ValueError(f"preprocess_cfg has {preprocess}, and not 3 means and 3 deviations")
    return size if isinstance(size, int) else min(size), mean, std


def _refusal(error: Exception, weights: Path, about: str) -> ValueError:
    """Translate an error of open_clip into one with the meaning and the remedy."""
    if isinstance(error, pickle.UnpicklingError):
        return ValueError(
            f"expected tensors only in {weights}, got a file that runs code when it is read: "
            "save its state_dict as .safetensors where you trust it"
        )
    if "huggingface.co" in str(error):
        return ValueError(
            f"expected the text tower that {about} names on this machine, got only its name, and "
            f"nothing is fetched from the net ({first_line(error)}): copy its folder here and let "
            "hf_model_name be that folder"
        )
    said = first_line(error)
    kind = "" if said == type(error).__name__ else f"{type(error).__name__}: "
    return ValueError(
        f"expected weights of {about} in {weights}, got: {kind}{said}; set teacher.architecture to "
        f"the checkpoint's own, or mend {DESCRIPTION} (a TorchScript file, as OpenAI's were, has "
        "to be saved as .safetensors before)"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Context manager that suppresses open_clip's warnings, which it sends to the root logger."""

    def elsewhere(record: logging.LogRecord) -> bool:
        return "open_clip" not in record.pathname

    root = logging.getLogger()
    root.addFilter(elsewhere)
    try:
        yield
    finally:
        root.removeFilter(elsewhere)


def _known_name(architecture: str) -> str:
    """Return open_clip's name of an architecture; a JSON file is registered first."""
    import open_clip

    if architecture.endswith(".json"):
        file = Path(architecture).expanduser()
        try:
            json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise ValueError(
                f"expected a JSON description in teacher.architecture, got {file}: {error}"
            ) from error
        open_clip.add_model_config(file)
        architecture = file.stem
    if architecture not in open_clip.list_models():
        raise ValueError(
            f"expected teacher.architecture to be one of open_clip's, got {architecture!r}: use a "
            f"JSON file of its description, or one of {', '.join(open_clip.list_models())}"
        )
    return architecture


def _tokenizer(name: str) -> Callable[[list[str]], Tensor]:
    """Return the model's tokenizer; Hugging Face ones only from the model's folder."""
    import open_clip

    text = (open_clip.get_model_config(name) or {}).get("text_cfg", {})
    if text.get("hf_tokenizer_name") and not name.startswith("local-dir:"):
        raise ValueError(
            f"expected the tokenizer of {name} beside its weights, got a checkpoint without: set "
            f"teacher.path to a folder with the weights, {DESCRIPTION} and the tokenizer's files"
        )
    try:
        with offline():
            return open_clip.get_tokenizer(name)
    except Exception as error:  # the libraries raise many types
        raise ValueError(
            f"expected a tokenizer for {name}, got: {first_line(error)}; copy its files beside "
            "the weights"
        ) from error


@torch.inference_mode()
def encode_texts(clip: LoadedClip, texts: list[str]) -> Tensor:
    """Return raw (not normalised) text features (Q, E), float32 on the CPU.

    Raises:
        DeviceMemoryError: if the model's device has not even memory for one text.
    """
    device = next(clip.model.parameters()).device

    def encoded(part: slice) -> Tensor:
        return clip.model.encode_text(clip.tokenize(texts[part]).to(device)).float().cpu()

    return torch.cat(clip.texts_at_once.parts(encoded, len(texts)))
