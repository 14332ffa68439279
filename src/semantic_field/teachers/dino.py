"""Patch features of self-supervised vision transformers (DINO)."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from semantic_field.config import TeacherConfig
from semantic_field.teachers.checkpoints import (
    choose_device,
    memory_for_image,
    on_device,
    pretrained,
)

KINDS = ("vit", "dinov2", "dinov2_with_registers", "dinov3_vit")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
REMEDY = (
    "get one with: semantic-field weights get dinov2-small, and set teacher.dino_path to its name, "
    "or save your own with save_pretrained; '' works without"
)


class PatchTeacher(Protocol):
    """A frozen model of patch features, which are not aligned with texts.

    Attributes:
        name: short, for messages.
        dim: length D of a feature.
        patch: edge of a patch in pixels of the model's input image.
        fingerprint: equal if two teachers give equal features.
    """

    name: str
    dim: int
    patch: int
    fingerprint: str

    def patch_features(self, color: NDArray[np.uint8]) -> Float[Tensor, "h w D"]:
        """Return float32 features of an RGB image (H, W, 3) on a grid of h x w cells.

        Cells tile the image evenly, as those of ``LanguageTeacher.embed_image``."""
        ...


class DinoTeacher:
    """DINO, DINOv2 (with or without registers) or DINOv3, whichever is in the folder.

    Features of DINO are the output of its last block, before the final layer norm, as in 3D-OVS
    and OV-NeRF; those of the others are after it, as their authors use them.

    Args:
        path: folder in transformers' format.
        rows: patches along the image's shorter side.
        device: see ``TeacherConfig``.
    Raises:
        ValueError: if there is no such model in the folder.
    """

    name = "dino"

    def __init__(self, path: str, rows: int = 32, device: str = "auto") -> None:
        found = pretrained(path, KINDS, "teacher.dino_path", REMEDY)
        self._device, self._rows = choose_device(device), rows
        self._model = on_device(found.model, self._device, torch.float32, "teacher.dino_path")
        config = found.model.config
        self.patch, self.dim = int(config.patch_size), int(config.hidden_size)
        self.fingerprint = f"{found.kind}:{found.fingerprint}:{rows}"
        self._prefix = 1 + int(getattr(config, "num_register_tokens", 0))
        # DINOv2 interpolates its position embeddings by default; DINOv3 has none.
        self._options = {"interpolate_pos_encoding": True} if found.kind == "vit" else {}
        if found.kind == "vit":
            self._model.layernorm = nn.Identity()

    @torch.inference_mode()
    def patch_features(self, color: NDArray[np.uint8]) -> Float[Tensor, "h w D"]:
        """See ``PatchTeacher``.

        Raises:
            DeviceMemoryError: if the device has not enough memory for the image.
        """
        with memory_for_image("DINO", color, "lower teacher.dino_rows"):
            return self._features(color)

    def _features(self, color: NDArray[np.uint8]) -> Float[Tensor, "h w D"]:
        scale = self._rows / min(color.shape[:2])
        h, w = (max(1, round(side * scale)) for side in color.shape[:2])
        image = torch.from_numpy(np.ascontiguousarray(color)).to(self._device)
        image = functional.interpolate(
            image.permute(2, 0, 1)[None].float() / 255.0,
            (h * self.patch, w * self.patch),
            mode="bicubic",
            antialias=True,
        )
        mean, std = (image.new_tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
        output = self._model((image.clamp(0.0, 1.0) - mean) / std, **self._options)
        return output.last_hidden_state[0, self._prefix :].view(h, w, self.dim).float().cpu()


def make_patch_teacher(config: TeacherConfig) -> PatchTeacher | None:
    """Load the model in the folder ``config.dino_path``; None if that is empty.

    Raises:
        ValueError: if its files are missing or damaged.
    """
    if not config.dino_path:
        return None
    return DinoTeacher(config.dino_path, config.dino_rows, config.device)
