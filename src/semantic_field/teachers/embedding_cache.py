"""Embeddings of texts, kept in memory and, for long lists, on disk: once a machine, not a start."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

log = logging.getLogger(__name__)
WORTH_KEEPING = 100  # fewer texts are embedded faster than a file is read
CACHE_SIZE = 20_000
Embed = Callable[[list[str]], Float[Tensor, "Q E"]]


class TextCache:
    """Embeds each text once; calls from several threads are safe.

    Args:
        encode: the model. fingerprint: of the model.
    """

    def __init__(self, encode: Embed, fingerprint: str) -> None:
        self._encode, self._fingerprint = encode, fingerprint
        self._known: dict[str, Tensor] = {}
        self._lock = threading.Lock()

    def embed(self, texts: list[str]) -> Float[Tensor, "Q E"]:
        """One row for each text, of which there must be one at least."""
        with self._lock:
            missing = _ordered({text for text in texts if text not in self._known})
            if len(self._known) + len(missing) > CACHE_SIZE:
                self._known.clear()
                missing = _ordered(set(texts))
            if missing:
                rows = cached_embeddings(missing, self._fingerprint, self._encode)
                self._known.update(zip(missing, rows, strict=True))
            return torch.stack([self._known[text] for text in texts])


def _ordered(texts: set[str]) -> list[str]:
    """By length, so that a batch needs little padding; the same in every process."""
    return sorted(texts, key=lambda text: (len(text), text))


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/semantic_field``, by default below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "semantic_field"


def cached_embeddings(texts: list[str], fingerprint: str, embed: Embed) -> Float[Tensor, "Q E"]:
    """``embed(texts)``, from the cache where this teacher embedded just these texts before.

    A cache that cannot be read or written only costs the time it would have saved.
    """
    if len(texts) < WORTH_KEEPING:
        return embed(texts)
    key = hashlib.sha256("\n".join([fingerprint, *texts]).encode()).hexdigest()[:24]
    path = cache_folder() / f"texts-{key}.safetensors"
    try:
        return load_file(path)["embeddings"]
    except (OSError, SafetensorError, KeyError):
        embeddings = embed(texts)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"embeddings": embeddings.contiguous()}, partial)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        log.info("embeddings are not kept for the next start: %s", error)
        if partial.exists():
            partial.unlink()
    return embeddings
