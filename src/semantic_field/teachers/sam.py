"""Automatic mask generation with SAM and SAM 2, through transformers, from a local checkpoint.

Parameters are those of the default mask generator of Segment Anything (Kirillov et al. 2023):
a grid of 32 x 32 points, three masks for each, kept if the predicted IoU is above 0.88 and the
mask is stable under changes of its threshold, and non-maximum suppression over boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from semantic_field.geometry import Camera
from semantic_field.kernels.device_memory import Halving
from semantic_field.teachers.checkpoints import (
    MEMORY_REMEDY,
    choose_device,
    memory_for_image,
    on_device,
    pretrained,
)
from semantic_field.teachers.regions import Regions

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
REMEDY = (
    "get one with: semantic-field weights get sam2-tiny, and set teacher.regions_path to its name, "
    "or save your own with save_pretrained; teacher.regions depth needs none"
)


@dataclass(frozen=True)
class Rules:
    """Parameters of the mask generator.

    Attributes:
        points_per_side: of the grid.
        batch: points decoded at once.
        least_iou: masks with a lower predicted IoU are left out.
        least_stability: least IoU of the masks at thresholds ``offset`` below and above 0.
        most_overlap: boxes with a larger IoU than this suppress one another.
    """

    points_per_side: int = 32
    batch: int = 64
    least_iou: float = 0.88
    least_stability: float = 0.95
    offset: float = 1.0
    most_overlap: float = 0.7


class SamRegions:
    """Region proposer with SAM or SAM 2, whichever is in the folder.

    Args:
        path: folder in transformers' format.
        device: see ``TeacherConfig``.
    Raises:
        ValueError: if there is no such model in the folder.
    """

    name = "sam"

    def __init__(self, path: str, device: str = "auto", rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        found = pretrained(path, ("sam", "sam2"), "teacher.regions_path", REMEDY)
        self._device = choose_device(device)
        option = "teacher.regions_path"
        self._model = on_device(found.model, self._device, torch.float32, option)
        self._at_once = Halving(self._rules.batch, 1, "points of an image for SAM", MEMORY_REMEDY)
        self._second = found.kind == "sam2"
        self.fingerprint = f"{found.kind}:{found.fingerprint}:{self._rules}"
        config = found.model.config
        self._side = int(
            config.vision_config.backbone_config.image_size[0]
            if self._second
            else config.vision_config.image_size
        )

    @torch.inference_mode()
    def propose(
        self,
        color: NDArray[np.uint8],
        depth: NDArray[np.float32] | None = None,
        camera: Camera | None = None,
    ) -> Regions:
        """See ``RegionProposer``; ordered by descending predicted IoU. Depth is not used.

        Raises:
            DeviceMemoryError: if the device has not enough memory for the image.
        """
        with memory_for_image("SAM", color, "take a smaller model in teacher.regions_path"):
            return self._regions(color)

    def _regions(self, color: NDArray[np.uint8]) -> Regions:
        size = color.shape[:2]
        pixels, shown = self._pixels(color)
        embeddings = self._model.get_image_embeddings(pixels)
        points = self._points(shown)

        def decoded(part: slice) -> tuple[Tensor, Tensor]:
            return self._masks(embeddings, points[:, part], shown, size)

        kept = self._at_once.parts(decoded, points.shape[1])
        masks, ious = (torch.cat(parts) for parts in zip(*kept, strict=True))
        order = suppressed(boxes_of(masks), ious, self._rules.most_overlap)
        return Regions.from_masks(masks[order].cpu().numpy(), size, ious[order].cpu().numpy())

    def _pixels(self, color: NDArray[np.uint8]) -> tuple[Float[Tensor, "1 3 S S"], tuple]:
        """Return the model's input image, and the size of the part without padding.

        SAM scales the longer side and pads at the bottom and right; SAM 2 stretches.
        """
        height, width = color.shape[:2]
        scale = self._side / max(height, width)
        shown = (int(height * scale + 0.5), int(width * scale + 0.5))
        shown = (self._side, self._side) if self._second else shown
        image = torch.from_numpy(np.ascontiguousarray(color)).to(self._device)
        image = image.permute(2, 0, 1)[None].float() / 255.0
        image = functional.interpolate(image, shown, mode="bilinear", antialias=True)
        mean, std = (image.new_tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
        padding = (0, self._side - shown[1], 0, self._side - shown[0])
        return functional.pad((image - mean) / std, padding), shown

    def _points(self, shown: tuple) -> Float[Tensor, "1 N 1 2"]:
        """Return the grid of points (x, y) in pixels of the model's input."""
        side = self._rules.points_per_side
        steps = (torch.arange(side, dtype=torch.float32) + 0.5) / side
        y, x = torch.meshgrid(steps * shown[0], steps * shown[1], indexing="ij")
        return torch.stack([x, y], dim=-1).view(1, -1, 1, 2).to(self._device)

    def _masks(
        self, embeddings, points: Float[Tensor, "1 n 1 2"], shown: tuple, size: tuple
    ) -> tuple[Bool[Tensor, "m H W"], Float[Tensor, " m"]]:
        """Return the good and stable masks of some points, and their predicted IoUs."""
        rules = self._rules
        labels = torch.ones(points.shape[:3], dtype=torch.long, device=points.device)
        output = self._model(image_embeddings=embeddings, input_points=points, input_labels=labels)
        ious, logits = output.iou_scores[0].flatten(), output.pred_masks[0].flatten(0, 1)
        good = ious > rules.least_iou
        ious, logits = ious[good], logits[good][:, None].float()
        if not self._second:  # crop the padding at the model's input resolution
            side = (self._side, self._side)
            logits = functional.interpolate(logits, side, mode="bilinear", align_corners=False)
            logits = logits[..., : shown[0], : shown[1]]
        logits = functional.interpolate(logits, size, mode="bilinear", align_corners=False)[:, 0]
        inner = (logits > rules.offset).flatten(1).sum(1)
        outer = (logits > -rules.offset).flatten(1).sum(1)
        stable = inner >= rules.least_stability * outer.clamp_min(1)
        return logits[stable] > 0.0, ious[stable]


def boxes_of(masks: Bool[Tensor, "M H W"]) -> Float[Tensor, "M 4"]:
    """Return left, top, right, bottom (inclusive) of each mask; zeros for an empty one."""
    columns, rows = masks.any(1), masks.any(2)
    sides = []
    for line in (columns, rows):
        inside = line.int()
        first = inside.argmax(1)
        last = line.shape[1] - 1 - inside.flip(1).argmax(1)
        sides.append((first, torch.where(line.any(1), last, first)))
    (left, right), (top, bottom) = sides
    return torch.stack([left, top, right, bottom], dim=1).float()


def suppressed(
    boxes: Float[Tensor, "M 4"], scores: Float[Tensor, " M"], most_overlap: float
) -> Tensor:
    """Return the indices of boxes after greedy non-maximum suppression, best first."""
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    kept = []
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        kept.append(i)
        low = torch.maximum(boxes[i, :2], boxes[i + 1 :, :2])
        high = torch.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
        inner = (high - low).clamp_min(0.0).prod(1)
        union = (area[i] + area[i + 1 :] - inner).clamp_min(1e-6)
        alive[i + 1 :] &= inner / union <= most_overlap
    return order[torch.tensor(kept, dtype=torch.long, device=order.device)]
