"""Embeddings of a fixed list of texts, kept on disk: the model runs once a machine, not a start."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

log = logging.getLogger(__name__)
WORTH_KEEPING = 100  # fewer texts are embedded faster than a file is read


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/semantic_field``, by default below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "semantic_field"


def cached_embeddings(
    texts: list[str], fingerprint: str, embed: Callable[[list[str]], Float[Tensor, "Q E"]]
) -> Float[Tensor, "Q E"]:
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
