"""Closed-set segmentation networks through transformers, from a local folder."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from semantic_field.teachers.checkpoints import (
    choose_device,
    digest,
    first_line,
    memory_for_image,
    offline,
    on_device,
    pretrained,
)
from semantic_field.teachers.segmentation import (
    NO_LABEL,
    Segmentation,
    doubts_of,
    names_in_words,
)
from semantic_field.weights.local_weights import local_path

OPTION = "teacher.segmenter"
SEMANTIC, UNIVERSAL = "AutoModelForSemanticSegmentation", "AutoModelForUniversalSegmentation"
REMEDY = (
    "get weights with: semantic-field weights get segformer-b0, or save a model of your own with "
    "save_pretrained, model and image processor in one folder"
)


class TransformersSegmenter:
    """A model for semantic or universal segmentation: SegFormer, UPerNet, Mask2Former, OneFormer,
    EoMT and others of the two families.

    Labels are those of the model's own post-processing. The confidence of a label is its softmax
    probability; for universal models, whose scores need not add up to one, it is its share of
    all scores, or the score itself where they are small.

    Args:
        path: folder in transformers' format, with the image processor, or a name of weights.
        device: see ``TeacherConfig``.
        with_instances: whether things of a class are told apart, where the model does so.
    Raises:
        ValueError: if there is no such model in the folder, or its classes have no names.
    """

    def __init__(self, path: str, device: str = "auto", with_instances: bool = False) -> None:
        from transformers.models.auto import modeling_auto

        semantic: Any = modeling_auto.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES
        universal: Any = modeling_auto.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES
        loaders: dict[str, str] = dict.fromkeys(universal, UNIVERSAL) | dict.fromkeys(
            semantic, SEMANTIC
        )
        found = pretrained(path, tuple(loaders), OPTION, REMEDY, loaders)
        folder = Path(local_path(path, OPTION)).expanduser()
        folder = folder.parent if folder.is_file() else folder
        self.name = f"{found.kind} in {folder.name}"
        self.names = names_in_words(found.model.config.id2label, f"id2label of {folder}")
        self._universal = loaders[found.kind] == UNIVERSAL
        self._instances = with_instances and self._universal
        self._device = choose_device(device)
        self._model = on_device(found.model, self._device, torch.float32, OPTION)
        self._processor, self._tasks = _processor_of(folder, found.kind)
        seen = digest(about=f"{self._processor.to_json_string()}{self._instances}")
        self.fingerprint = f"{found.kind}:{found.fingerprint}:{seen}"

    @torch.inference_mode()
    def segment(self, color: NDArray[np.uint8]) -> Segmentation:
        """See ``Segmenter``.

        Raises:
            DeviceMemoryError: if the device has not enough memory for the image.
        """
        with memory_for_image("the segmenter", color, "take a smaller model"):
            size = color.shape[:2]
            outputs = self._model(**self._inputs(color))
            scores, labels = self._scored(outputs, size)
            confidence = self._confidence(outputs, scores, size)
            # Parts of an image (EoMT's way to semantic labels) do not tell things apart.
            apart = self._instances and not getattr(outputs, "patch_offsets", None)
            instances = self._told_apart(outputs, size) if apart else None
        ids = labels.to(torch.int16).cpu().numpy()
        return Segmentation(ids, doubts_of(confidence.float().cpu().numpy()), instances)

    def _inputs(self, color: NDArray[np.uint8]) -> dict[str, Any]:
        image = np.ascontiguousarray(color)
        inputs = self._processor(images=image, return_tensors="pt", **self._tasks)
        return {
            name: value.to(self._device) if isinstance(value, Tensor) else value
            for name, value in inputs.items()
        }

    def _scored(self, outputs: Any, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the scores (C, H, W) and the labels (H, W) of the model's post-processing."""
        (result,) = self._processor.post_process_semantic_segmentation(
            outputs, target_sizes=[size], return_segmentation_scores=True
        )
        return result.segmentation_scores, result.segmentation

    def _confidence(self, outputs: Any, scores: Tensor, size: tuple[int, int]) -> Tensor:
        if self._universal:
            return scores.amax(0) / scores.sum(0).clamp_min(1.0)
        # At the model's own resolution: the softmax of all classes at the image's would take
        # longer than the network.
        best = outputs.logits.softmax(1).amax(1, keepdim=True)
        return functional.interpolate(best, size, mode="bilinear", align_corners=False)[0, 0]

    def _told_apart(self, outputs: Any, size: tuple[int, int]) -> NDArray[np.int16]:
        (result,) = self._processor.post_process_instance_segmentation(outputs, target_sizes=[size])
        if result["segmentation"] is None:
            return np.full(size, NO_LABEL, np.int16)
        numbers = result["segmentation"].cpu().numpy().astype(np.int16)
        return np.where(numbers < 0, np.int16(NO_LABEL), numbers)


def _processor_of(folder: Path, kind: str) -> tuple[Any, dict[str, Any]]:
    """Return the image processor of a folder, and what it has to be given besides images.

    Raises:
        ValueError: if there is none, or its version cannot return scores.
    """
    import transformers

    loader: Any = transformers.AutoImageProcessor
    if kind == "oneformer":
        loader = transformers.AutoProcessor
    try:
        with offline():
            processor: Any = loader.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # of any library: all mean that the processor cannot be read
        raise ValueError(
            f"expected an image processor (preprocessor_config.json) in {folder}, got: "
            f"{first_line(error)}; {REMEDY}"
        ) from error
    images = getattr(processor, "image_processor", processor)
    post = getattr(images, "post_process_semantic_segmentation", None)
    if post is None or "return_segmentation_scores" not in inspect.signature(post).parameters:
        raise ValueError(
            f"expected a version of transformers whose {type(images).__name__} returns scores, "
            f"got {transformers.__version__}: pip install --upgrade 'transformers>=5.24'"
        )
    return processor, {"task_inputs": ["semantic"]} if kind == "oneformer" else {}
