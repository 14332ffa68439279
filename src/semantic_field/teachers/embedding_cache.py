"""Cache of text embeddings in memory and, for larger batches, on disk.

On disk each teacher has a folder of blocks. A block is written as soon as it is embedded, so that
an interrupted long list is continued at the next start.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

log = logging.getLogger(__name__)
WORTH_KEEPING = 8  # fewer texts at once are typed queries, which are not worth a file each
BLOCK = 32  # texts per file; with 85 sentences each, CLIP needs minutes for them on a CPU
CACHE_SIZE = 20_000
Embed = Callable[[list[str]], Float[Tensor, "Q E"]]


class TextCache:
    """Embeds each text once. Thread-safe.

    If the disk cache cannot be read or written, it is ignored.

    Args:
        encode: the model.
        fingerprint: of the model.
    """

    def __init__(self, encode: Embed, fingerprint: str) -> None:
        self._encode, self._fingerprint = encode, fingerprint
        self._known: dict[str, Tensor] = {}
        self._read = False
        self._lock = threading.Lock()

    def embed(self, texts: list[str]) -> Float[Tensor, "Q E"]:
        """Return one embedding per text; there must be at least one text."""
        with self._lock:
            folder = cache_folder() / f"texts-{_hash(self._fingerprint)}"
            if not self._read:
                self._known, self._read = read_blocks(folder), True
            missing = _ordered({text for text in texts if text not in self._known})
            if len(self._known) + len(missing) > CACHE_SIZE:
                self._known.clear()
                missing = _ordered(set(texts))
            for start in range(0, len(missing), BLOCK):
                block = missing[start : start + BLOCK]
                rows = self._encode(block)
                self._known.update(zip(block, rows, strict=True))
                if len(missing) >= WORTH_KEEPING:
                    write_block(folder, block, rows)
            return torch.stack([self._known[text] for text in texts])


def _ordered(texts: set[str]) -> list[str]:
    """Sort by length, so that batches need little padding; deterministic."""
    return sorted(texts, key=lambda text: (len(text), text))


def cache_folder() -> Path:
    """Return ``$XDG_CACHE_HOME/semantic_field``, by default below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "semantic_field"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def read_blocks(folder: Path) -> dict[str, Tensor]:
    """Read the texts and embeddings of a folder, at most ``CACHE_SIZE``; skips damaged blocks."""
    known: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                texts, rows = json.loads(file.metadata()["texts"]), file.get_tensor("embeddings")
            block = dict(zip(texts, rows, strict=True))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            log.info("embeddings in %s are not read: %s", path, error)
            continue
        if len(known) + len(block) <= CACHE_SIZE:
            known |= block
    return known


def write_block(folder: Path, texts: list[str], rows: Float[Tensor, "Q E"]) -> None:
    """Write the embeddings of some texts as a block; failures are only logged."""
    content = json.dumps(texts)
    path = folder / f"{_hash(content)}.safetensors"
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"embeddings": rows.contiguous()}, partial, {"texts": content})
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        log.info("embeddings are not kept for the next start: %s", error)
        with suppress(OSError):
            partial.unlink()
