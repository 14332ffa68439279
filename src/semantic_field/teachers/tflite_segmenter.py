"""Closed-set segmentation networks as TFLite files, through ai-edge-litert.

The network's input is an image (1, h, w, 3), uint8 or float; its output are class ids (1, h, w) or
scores (1, h, w, C). Where it puts out ids, their confidence is taken from the scores before the
argmax if the file has them.
"""

from __future__ import annotations

import threading
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.teachers.checkpoints import check_content, digest, first_line
from semantic_field.teachers.segmentation import Segmentation, doubts_of, names_in_words

SUFFIX = ".tflite"
INSTALL = "pip install ai-edge-litert"


def tflite_file(path: str) -> Path | None:
    """Return the network's file: ``path`` itself or the one in the folder; None = none there."""
    where = Path(path).expanduser()
    found = [where] if where.suffix == SUFFIX else sorted(where.glob(f"*{SUFFIX}"))
    if len(found) > 1:
        raise ValueError(
            f"expected one {SUFFIX} file in {where}, got {', '.join(f.name for f in found)}: set "
            "teacher.segmenter to the one that counts"
        )
    return found[0] if found and found[0].is_file() else None


class TfliteSegmenter:
    """A TFLite network; beside its file lies a text file ``*label*.txt``, one name a line.

    What follows an empty line in that file is not read. Images are resized by area averaging, and
    labels back to the image's size by the nearest pixel.

    Args:
        path: the file, or a folder with one.
        threads: of the network.
    Raises:
        ValueError: if ai-edge-litert is not installed, or the files do not fit together.
    """

    def __init__(self, path: str, threads: int = 1) -> None:
        file = tflite_file(path)
        if file is None:
            raise ValueError(f"expected a {SUFFIX} file in teacher.segmenter, got {path}")
        labels = sorted(file.parent.glob("*label*.txt"))
        if len(labels) != 1:
            got = ", ".join(label.name for label in labels) or "none"
            raise ValueError(f"expected one *label*.txt with class names by {file}, got {got}")
        self._network = _loaded(file, threads)
        (taken,) = self._network.get_input_details()
        given = self._network.get_output_details()[0]
        self._input, self._output = taken, given
        _, self._height, self._width, channels = taken["shape"].tolist()
        lines = labels[0].read_text(encoding="utf-8").split("\n\n")[0].splitlines()
        self.names = names_in_words(dict(enumerate(lines)), str(labels[0]))
        if channels != 3 or len(given["shape"]) not in (3, 4):
            raise ValueError(
                f"expected an image of 3 channels and labels of {file}, got {taken['shape']} and "
                f"{given['shape']}"
            )
        self._scores = given if len(given["shape"]) == 4 else self._before_argmax()
        self.name, self.fingerprint = file.stem, f"tflite:{digest(file, labels[0])}"
        self._one_by_one = threading.Lock()

    def _before_argmax(self) -> dict[str, Any] | None:
        """Return the last tensor that has one score for each class; None if there is none."""
        fitting = [
            tensor
            for tensor in self._network.get_tensor_details()
            if len(tensor["shape"]) == 4 and tensor["shape"][-1] == len(self.names)
            and tensor["shape"][1] == tensor["shape"][2] > 1 and "weights" not in tensor["name"]
        ]  # fmt: skip
        return fitting[-1] if fitting else None

    def segment(self, color: NDArray[np.uint8]) -> Segmentation:
        """See ``Segmenter``."""
        size = color.shape[1], color.shape[0]
        image = cv2.resize(color, (self._width, self._height), interpolation=cv2.INTER_AREA)
        with self._one_by_one:
            self._network.set_tensor(self._input["index"], self._fed(image))
            self._network.invoke()
            ids = self._network.get_tensor(self._output["index"])[0]
            scores = None if self._scores is None else self._read(self._scores)
        ids = ids.argmax(-1) if ids.ndim == 3 else ids
        labels = cv2.resize(ids.astype(np.int16), size, interpolation=cv2.INTER_NEAREST)
        if scores is None:
            return Segmentation(np.asarray(labels), np.zeros(color.shape[:2], np.uint8))
        best = torch.from_numpy(scores).softmax(-1).amax(-1).numpy()
        confidence = cv2.resize(best, size, interpolation=cv2.INTER_LINEAR)
        return Segmentation(np.asarray(labels), doubts_of(np.asarray(confidence, np.float32)))

    def _fed(self, image: NDArray) -> NDArray:
        kind = self._input["dtype"]
        if kind is np.uint8:
            return image[None]
        return (image.astype(np.float32) / 127.5 - 1.0).astype(kind)[None]

    def _read(self, tensor: dict[str, Any]) -> NDArray[np.float32]:
        """Return a tensor (h, w, C) as numbers, whatever its quantisation."""
        values = self._network.get_tensor(tensor["index"])[0].astype(np.float32)
        scale, zero = tensor["quantization"]
        return (values - zero) * scale if scale else values


def _loaded(file: Path, threads: int) -> Any:
    check_content(file)
    try:
        interpreter: Any = import_module("ai_edge_litert.interpreter")
    except ImportError as error:
        raise ValueError(
            f"expected ai-edge-litert for {file.name}, got {error}: {INSTALL}"
        ) from error
    # The default delegate refuses networks whose weights are quantised in the old way.
    plain = interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        network = interpreter.Interpreter(
            str(file),
            num_threads=threads,
            experimental_op_resolver_type=plain,
            experimental_preserve_all_tensors=True,
        )
        network.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"expected a readable network in {file}, got: {first_line(error)}; copy it again"
        ) from error
    return network
