"""``open_clip`` teacher: CLIP models, which embed texts and images in one space."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from semantic_field.config import TeacherConfig
from semantic_field.kernels.device_memory import Halving
from semantic_field.teachers.checkpoints import (
    MEMORY_REMEDY,
    choose_device,
    first_line,
    memory_for_image,
    on_device,
)
from semantic_field.teachers.clip_checkpoint import encode_texts, load_clip
from semantic_field.teachers.clip_dense import crop_features, patch_features, patch_size, shrunk
from semantic_field.teachers.embedding_cache import TextCache
from semantic_field.teachers.feature_store import FeatureStore, image_key
from semantic_field.teachers.household import HOUSEHOLD
from semantic_field.teachers.language import CLIP_MARGIN, CROP, NO_NAMES, Calibration
from semantic_field.teachers.naming import spoken
from semantic_field.teachers.prompts import sentences

BATCH = {"cpu": 32, "cuda": 256}
PATCHES_SIDE = 2  # images are encoded at twice the size that the model was trained with


class OpenClipTeacher:
    """Any open_clip model with a local checkpoint; see ``config.TeacherConfig``.

    Thread-safe. With a store, images that were embedded before, in this run or another, are read
    by memory map.

    Raises:
        ValueError: see ``clip_checkpoint.load_clip`` and ``feature_store.FeatureStore``.
    """

    name = "open_clip"
    things = HOUSEHOLD

    def __init__(self, config: TeacherConfig) -> None:
        self._config, self._device = config, choose_device(config.device)
        self._clip = load_clip(config.path, config.architecture)
        half = self._device.type == "cuda"
        self._type = torch.float16 if half else torch.float32
        self._model = on_device(self._clip.model, self._device, self._type, "teacher.path")
        batch = BATCH[self._device.type]
        self._at_once = Halving(batch, 1, "crops of an image for CLIP", MEMORY_REMEDY)
        self._average = config.prompts == "average"
        self.fingerprint = f"open_clip:{self._clip.fingerprint}:{config.prompts}"
        self.dim = self._tried()
        self.footprint = ()
        if config.dense == "crops":
            self.footprint = tuple(CROP / d for d in sorted(config.crop_divisors, reverse=True))
        self._texts = TextCache(self._encode, self.fingerprint)
        self._store = FeatureStore(config.store, self.dense_fingerprint) if config.store else None
        if config.dense == "store" and self._store is None:
            raise ValueError(
                "expected a folder in teacher.store for teacher.dense store, got ''; see "
                "docs/models.md for how features of other models are stored"
            )

    def _tried(self) -> int:
        """Embed a text to check the model; returns the length of an embedding."""
        try:
            return int(encode_texts(self._clip, ["a"]).shape[1])
        except Exception as error:  # the libraries raise many types
            raise ValueError(
                f"expected a model in {self._config.path} that embeds texts, got: "
                f"{first_line(error)}; its tokenizer and its description must be the model's own"
            ) from error

    @property
    def dense_fingerprint(self) -> str:
        """Fingerprint of image features in the store: of the model and the dense method."""
        config = self._config
        if config.dense == "crops":
            how = f"crops:{config.crop_divisors}:{config.crop_shrink}"
        else:
            how = config.dense
        return f"open_clip:{self._clip.fingerprint}:{how}"

    @property
    def calibration(self) -> Calibration:
        """Centred on the mean of common things, as uncentred CLIP texts are all similar."""
        return self._calibration

    @cached_property
    def _calibration(self) -> Calibration:
        center = self.embed_text([thing.names[0] for thing in self.things]).mean(0)
        return Calibration(
            center,
            distinct=0.45,
            same=0.65,
            floor=0.5,
            margin=CLIP_MARGIN,
            sharpness=15.0,
            relative=True,
        )

    def knows(self, text: str) -> bool:
        return bool(text.strip())

    def embed_text(self, texts: list[str]) -> Float[Tensor, "Q E"]:
        """Return one L2-normalised embedding per text; class names are normalised by ``spoken``."""
        if not texts:
            return torch.zeros(0, self.dim)
        if not all(text.strip() for text in texts):
            raise ValueError(f"expected texts with words in them, got {texts!r}")
        return self._texts.embed([spoken(text) for text in texts])

    def _encode(self, texts: list[str]) -> Float[Tensor, "Q E"]:
        """Each text's mean over its sentences, each of unit length."""
        said = [sentences(text, self._average) for text in texts]
        rows = encode_texts(self._clip, [one for group in said for one in group])
        rows = functional.normalize(rows, dim=-1).view(len(texts), -1, self.dim)
        return functional.normalize(rows.mean(1), dim=-1)

    def embed_image(
        self,
        color: NDArray[np.uint8],
        labels: NDArray[np.int32] | None = None,
        label_names: Mapping[int, str] = NO_NAMES,
    ) -> Float[Tensor, "S h w E"]:
        """Return dense float16 embeddings; see ``LanguageTeacher``. Labels are ignored.

        Raises:
            ValueError: with ``teacher.dense`` "store", if the store does not contain the image;
                if the device has not enough memory for the image.
        """
        if self._store is None:
            return torch.from_numpy(self._dense(color)["language"])
        key = image_key(color)
        if self._config.dense == "store":
            self._store.refresh()
            stored = self._store.get(key)
            if stored is None or "language" not in stored:
                raise ValueError(
                    f"expected the features of image {key} in {self._store.folder}, got none "
                    f"among {len(self._store)}: precompute them, or set teacher.dense to patches"
                )
        else:
            stored = self._store.get_or_compute(key, lambda: self._dense(color))
        return torch.from_numpy(np.array(stored["language"]))

    @torch.inference_mode()
    def recognise(self, color: NDArray[np.uint8], texts: list[str]) -> Float[Tensor, " Q"]:
        """See ``ImageRecogniser``; uses the model's trained temperature."""
        size = (self._clip.side, self._clip.side)
        with memory_for_image("CLIP", color):
            image = functional.interpolate(
                self._tensor(color)[None], size, mode="bicubic", antialias=True, align_corners=False
            )
            shown = self._model.encode_image(self._normalised(image.clamp(0.0, 1.0))).float().cpu()
        logits = self.embed_text(texts) @ functional.normalize(shown[0], dim=0)
        return (logits * self._model.logit_scale.float().exp().cpu()).softmax(0)

    @torch.inference_mode()
    def _dense(self, color: NDArray[np.uint8]) -> dict[str, NDArray]:
        crops = self._config.dense == "crops"
        option = "raise teacher.crop_shrink" if crops else ""
        with memory_for_image("CLIP", color, option):
            features = self._by_crops(color) if crops else self._by_patches(color)
            return {"language": features.half().cpu().numpy()}

    def _by_crops(self, color: NDArray[np.uint8]) -> Float[Tensor, "S h w E"]:
        config = self._config
        small = shrunk(color, config.crop_shrink)
        seed = int(image_key(small)[:16], 16)  # the same crops for the same image
        return crop_features(
            lambda crops: self._model.encode_image(self._normalised(crops)).float(),
            self._tensor(small),
            config.crop_divisors,
            self._clip.side,
            self._at_once,
            np.random.default_rng(seed),
        )

    def _by_patches(self, color: NDArray[np.uint8]) -> Float[Tensor, "1 h w E"]:
        patch = patch_size(self._model.visual)
        height, width = color.shape[:2]
        scale = PATCHES_SIDE * self._clip.side / min(height, width) / patch
        size = tuple(max(1, round(side * scale)) * patch for side in (height, width))
        image = functional.interpolate(
            self._tensor(color)[None], size, mode="bicubic", antialias=True, align_corners=False
        )
        features = patch_features(self._model.visual, self._normalised(image.clamp(0.0, 1.0)))
        return features[None]

    def _tensor(self, color: NDArray[np.uint8]) -> Float[Tensor, "3 H W"]:
        image = torch.from_numpy(np.ascontiguousarray(color)).to(self._device)
        return image.permute(2, 0, 1).float() / 255.0

    def _normalised(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 3 H W"]:
        mean, std = (
            torch.tensor(values, device=images.device).view(1, 3, 1, 1)
            for values in (self._clip.mean, self._clip.std)
        )
        return ((images - mean) / std).to(self._type)
