"""What training needs to resume, as arrays for the map file."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.config import Config
from semantic_field.kernels.table_lines import fill_lines, lines_at, used_lines
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.memory import make_keyframes
from semantic_field.mapping.training.step import Trainer

JPEG_QUALITY = 95
Arrays = dict[str, NDArray]
RawKeyframe = tuple[int, NDArray[np.uint8], NDArray[np.uint16], NDArray[np.int16]]


class KeyframePacker:
    """Compresses the images of keyframes one by one, so that training can go on meanwhile."""

    def __init__(self) -> None:
        self._packed: dict[int, list[NDArray[np.uint8]]] = {}

    def next_missing(self, store: KeyframeStore | None) -> RawKeyframe | None:
        """A copy of a keyframe that is not compressed yet; None where all are."""
        for slot in range(store.count if store else 0):
            assert store is not None
            serial = int(store.serials[slot])
            if serial not in self._packed:
                width, height = store.cameras.sizes[slot]
                pixels = width * height
                size = (height, width, -1)
                images = (image[slot, :pixels].reshape(size).copy() for image in store.images)
                return serial, *images
        return None

    def pack(self, keyframe: RawKeyframe) -> None:
        """Compress one keyframe: colour as JPEG, depth and labels without loss."""
        serial, color, depth, label = keyframe
        fast = [cv2.IMWRITE_PNG_COMPRESSION, 1]
        bgr = cv2.cvtColor(color, cv2.COLOR_RGB2BGR)
        self._packed[serial] = [
            _encoded(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]),
            _encoded(".png", depth, fast),
            _encoded(".png", (label + 1).astype(np.uint16), fast),
        ]

    def arrays(self, store: KeyframeStore) -> Arrays:
        """The keyframes of the store, all of which must be packed."""
        n = store.count
        arrays: Arrays = {
            "keyframes.stamps_ns": store.stamps_ns[:n].copy(),
            "keyframes.visits": store.visits[:n].copy(),
            "keyframes.slot_size": np.array(store.size),
        }
        kept = store.cameras._asdict() | store.learnt
        arrays |= {f"keyframes.{name}": array[:n].copy() for name, array in kept.items()}
        packed = [self._packed[serial] for serial in store.serials[:n].tolist()]
        for kind, parts in zip(("color", "depth", "label"), zip(*packed, strict=True), strict=True):
            arrays[f"keyframes.{kind}"] = np.concatenate(parts)
            arrays[f"keyframes.{kind}.ends"] = np.cumsum([len(p) for p in parts])
        return arrays


def pack_training(
    trainer: Trainer, keyframes: KeyframeStore | None, packer: KeyframePacker
) -> Arrays:
    """Copies of optimiser moments and counters, and the keyframes as ``packer`` has them."""
    shape, moments = trainer.field.kernels.shape, trainer.moments
    used, second = used_lines(moments.second, shape)
    arrays = {
        "moments.used": used,
        "moments.first": lines_at(moments.first, used),
        "moments.second": second,
        "rays": np.array(trainer.rays),
    }
    arrays |= _pack_optimizer(trainer)
    if keyframes is not None and keyframes.count:
        arrays |= packer.arrays(keyframes)
    return arrays


def unpack_training(
    arrays: dict[str, Any], trainer: Trainer, config: Config
) -> KeyframeStore | None:
    """Give the trainer its moments and counters back; the keyframes, if the map has any.

    A map without training state (a snapshot) resumes with fresh moments and no keyframes.
    """
    if "moments.used" not in arrays:
        return None
    used = arrays["moments.used"]
    fill_lines(trainer.moments.first, used, arrays["moments.first"])
    fill_lines(trainer.moments.second, used, arrays["moments.second"])
    trainer.rays = int(arrays["rays"])
    _unpack_optimizer(arrays, trainer)
    return _unpack_keyframes(arrays, config) if "keyframes.sizes" in arrays else None


def _pack_optimizer(trainer: Trainer) -> Arrays:
    arrays: Arrays = {}
    names: dict[torch.Tensor, str] = {p: n for n, p in trainer.field.named_parameters()}
    for parameter, values in trainer.optimizer.state.items():
        for kind, value in values.items():
            arrays[f"adam.{names[parameter]}.{kind}"] = value.cpu().numpy().copy()
    return arrays


def _unpack_optimizer(arrays: dict[str, Any], trainer: Trainer) -> None:
    for name, parameter in trainer.field.named_parameters():
        kinds = ("step", "exp_avg", "exp_avg_sq")
        found = {k: arrays.get(f"adam.{name}.{k}") for k in kinds}
        if found["step"] is not None:
            trainer.optimizer.state[parameter] = {
                kind: torch.from_numpy(np.array(value)).to(parameter.device)
                for kind, value in found.items()
            }


def _unpack_keyframes(arrays: dict[str, Any], config: Config) -> KeyframeStore:
    width, height = (int(v) for v in arrays["keyframes.slot_size"])
    store = make_keyframes(config, width, height)
    store.count = n = min(len(arrays["keyframes.sizes"]), store.capacity)
    for name, array in store.cameras._asdict().items():
        array[:n] = arrays[f"keyframes.{name}"][:n]
    store.stamps_ns[:n] = arrays["keyframes.stamps_ns"][:n]
    store.visits[:n] = arrays["keyframes.visits"][:n]
    for name, array in store.learnt.items():
        array[:n] = arrays[f"keyframes.{name}"][:n]
    for slot in range(n):
        color, depth, label = (_decoded(arrays, kind, slot) for kind in ("color", "depth", "label"))
        pixels = depth.size
        store.images.colors[slot, :pixels] = cv2.cvtColor(color, cv2.COLOR_BGR2RGB).reshape(-1, 3)
        store.images.depths[slot, :pixels] = depth.reshape(-1)
        store.images.labels[slot, :pixels] = label.reshape(-1).astype(np.int32) - 1
        store.note_contours(slot, depth.shape[1], depth.shape[0])
    store.slots_changed()
    return store


def _encoded(extension: str, image: NDArray, options: list[int]) -> NDArray[np.uint8]:
    fine, data = cv2.imencode(extension, image, options)
    assert fine
    return np.asarray(data).reshape(-1)


def _decoded(arrays: dict[str, Any], kind: str, slot: int) -> NDArray:
    ends = arrays[f"keyframes.{kind}.ends"]
    begin = ends[slot - 1] if slot else 0
    data = arrays[f"keyframes.{kind}"][begin : ends[slot]]
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(
            f"expected a readable {kind} image of keyframe {slot}, got {len(data)} bytes that "
            "are none; the map is damaged, use an earlier copy"
        )
    return np.asarray(image)
