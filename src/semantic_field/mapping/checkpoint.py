"""Conversion of the training state to arrays for the map file, and back.

Keyframes are packed one at a time while training continues. A stored map is built and checked
before it replaces the current map. Until then memory holds the current map, the new one with all
its keyframes, and the arrays of the file (with compressed images); the raw bytes of the file have
been freed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from semantic_field.config import Config, FieldConfig
from semantic_field.field.map_state import MapState
from semantic_field.kernels.table_lines import fill_lines, lines_at, lines_of, used_lines
from semantic_field.mapping.keyframes.store import BYTES_PER_PIXEL, KeyframeStore
from semantic_field.mapping.memory import make_keyframes
from semantic_field.mapping.training.step import Trainer

JPEG_QUALITY = 95
Arrays = dict[str, NDArray]
# Serial, colour, depth, label rows, and doubts if there are any.
RawKeyframe = tuple[
    int, NDArray[np.uint8], NDArray[np.uint16], NDArray[np.int16], NDArray[np.uint8] | None
]


class KeyframePacker:
    """Compresses the images of keyframes one by one, so that training can continue meanwhile."""

    def __init__(self) -> None:
        self._packed: dict[int, list[NDArray[np.uint8]]] = {}

    def next_missing(self, store: KeyframeStore | None) -> RawKeyframe | None:
        """Return a copy of a keyframe that is not yet compressed; None if there is none."""
        for slot in range(store.count if store else 0):
            assert store is not None
            serial = int(store.serials[slot])
            if serial not in self._packed:
                width, height = store.cameras.sizes[slot]
                pixels = width * height
                size = (height, width, -1)
                color, depth, label = (
                    image[slot, :pixels].reshape(size).copy() for image in store.images
                )
                doubts = store.doubts
                if doubts is not None:
                    doubts = doubts[slot, :pixels].reshape(size).copy()
                return serial, color, depth, label, doubts
        return None

    def pack(self, keyframe: RawKeyframe) -> None:
        """Compress one keyframe: colour as JPEG, depth and labels losslessly as PNG."""
        serial, color, depth, label, doubts = keyframe
        fast = [cv2.IMWRITE_PNG_COMPRESSION, 1]
        bgr = cv2.cvtColor(color, cv2.COLOR_RGB2BGR)
        self._packed[serial] = [
            _encoded(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]),
            _encoded(".png", depth, fast),
            _encoded(".png", (label + 1).astype(np.uint16), fast),
        ]
        if doubts is not None:
            self._packed[serial].append(_encoded(".png", doubts, fast))

    def arrays(self, store: KeyframeStore) -> Arrays:
        """Return the keyframes of the store as arrays by name; all must be packed."""
        n = store.count
        arrays: Arrays = {
            "keyframes.stamps_ns": store.stamps_ns[:n].copy(),
            "keyframes.visits": store.visits[:n].copy(),
            "keyframes.slot_size": np.array(store.size),
        }
        kept = store.cameras._asdict() | store.learnt
        arrays |= {f"keyframes.{name}": array[:n].copy() for name, array in kept.items()}
        packed = [self._packed[serial] for serial in store.serials[:n].tolist()]
        kinds = ("color", "depth", "label")
        if store.doubts is not None:
            kinds += ("doubt",)
            none = _encoded(".png", np.zeros((1, 1), np.uint8), [])  # from before the first doubt
            packed = [images if len(images) == 4 else [*images, none] for images in packed]
        for kind, parts in zip(kinds, zip(*packed, strict=True), strict=True):
            arrays[f"keyframes.{kind}"] = np.concatenate(parts)
            arrays[f"keyframes.{kind}.ends"] = np.cumsum([len(p) for p in parts])
        return arrays


def pack_training(
    trainer: Trainer, keyframes: KeyframeStore | None, packer: KeyframePacker
) -> Arrays:
    """Return copies of optimiser moments, counters and packed keyframes, as arrays by name.

    Args:
        packer: must have packed all keyframes.
    """
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


def check_fits(state: MapState, config: FieldConfig, frame_id: str) -> None:
    """Raise a ValueError if a stored map has another world frame or other field settings."""
    if state.frame_id != frame_id:
        raise ValueError(
            f"expected a map in frame {frame_id!r}, got one in {state.frame_id!r}; "
            "poses must lead to the frame of the map"
        )
    if state.field.config != config:
        raise ValueError(
            f"expected a map made with the settings {config}, got one with "
            f"{state.field.config}; start with the settings of the map"
        )


def unpack_training(
    arrays: dict[str, Any], trainer: Trainer, config: Config, classes: int
) -> KeyframeStore | None:
    """Restore the moments and counters of a trainer, and the keyframes.

    Without a training state (the map of a snapshot), moments stay as they are.

    Args:
        arrays: as returned by ``pack_training``, or empty.
        classes: rows of the stored label head; label rows of the keyframes must be below.
    Returns:
        the keyframes; None if the map has none.
    Raises:
        ValueError: if an array is missing or damaged, or does not fit the trainer.
    """
    if not arrays:
        return None
    stored = _Stored(arrays)
    used, (lines, width) = (
        stored.get("moments.used", (None,)),
        lines_of(trainer.moments.first).shape,
    )
    stored.check("moments.used", used, "line numbers", ((used >= 0) & (used < lines)).all())
    for name in ("first", "second"):
        moments = stored.get(f"moments.{name}", (len(used), width))
        fill_lines(getattr(trainer.moments, name), used, moments)
    trainer.rays = int(stored.get("rays", ()))
    _unpack_optimizer(stored, trainer)
    if "keyframes.sizes" not in arrays:
        return None
    return _unpack_keyframes(stored, partial(make_keyframes, config), classes)


def stored_keyframes(state: MapState) -> KeyframeStore | None:
    """Return the keyframes of a state that was read from a file; None if it has none.

    Raises:
        ValueError: if an array is missing or damaged.
    """
    stored, classes = _Stored(state.training), len(state.class_ids)
    if "keyframes.sizes" not in state.training:
        return None
    count = len(stored.get("keyframes.sizes", (None, 2)))

    def just_enough(width: int, height: int) -> KeyframeStore:
        budget_mb = -(-count * width * height * BYTES_PER_PIXEL // (1 << 20))
        return KeyframeStore(width, height, budget_mb, (0.0, 0.0))

    return _unpack_keyframes(stored, just_enough, classes)


class _Stored:
    """Access to the arrays of a training state by name, with checks of shape and contents."""

    def __init__(self, arrays: dict[str, Any]) -> None:
        self.arrays = arrays

    def get(self, name: str, shape: tuple[int | None, ...]) -> NDArray:
        """Return an array after checking its shape (None = any length) and for finite numbers.

        Raises:
            ValueError: if it is missing, or does not pass the checks.
        """
        array = self.arrays.get(name)
        if array is None:
            raise _damaged(f"{name} in its training state", "none")
        sizes = zip(array.shape, shape, strict=False)
        fits = len(shape) == array.ndim and all(n == m or m is None for n, m in sizes)
        if not fits:
            raise _damaged(f"{name} of shape {shape}", f"one of {array.shape}")
        if array.dtype.kind == "f":
            self.check(name, array, "finite numbers", np.isfinite(array).all())
        return array

    def check(self, name: str, array: NDArray, expected: str, fits: Any) -> None:
        """Raise a ValueError with the range of an array, unless ``fits``."""
        if not fits:
            raise _damaged(f"{name} to hold {expected}", f"{array.min()} to {array.max()}")


def _damaged(expected: str, got: str) -> ValueError:
    return ValueError(f"expected {expected}, got {got}; the map is damaged, use an earlier copy")


def _pack_optimizer(trainer: Trainer) -> Arrays:
    arrays: Arrays = {}
    names: dict[torch.Tensor, str] = {p: n for n, p in trainer.field.named_parameters()}
    for parameter, values in trainer.optimizer.state.items():
        for kind, value in values.items():
            arrays[f"adam.{names[parameter]}.{kind}"] = value.cpu().numpy().copy()
    return arrays


def _unpack_optimizer(stored: _Stored, trainer: Trainer) -> None:
    for name, parameter in trainer.field.named_parameters():
        prefix, shape = f"adam.{name}.", tuple(parameter.shape)
        if f"{prefix}step" in stored.arrays:
            values = {"step": stored.get(f"{prefix}step", ())}
            values |= {kind: stored.get(prefix + kind, shape) for kind in ("exp_avg", "exp_avg_sq")}
            trainer.optimizer.state[parameter] = {
                kind: torch.from_numpy(np.array(value)).to(parameter.device)
                for kind, value in values.items()
            }


def _unpack_keyframes(
    stored: _Stored, make_store: Callable[[int, int], KeyframeStore], classes: int
) -> KeyframeStore:
    width, height = stored.get("keyframes.slot_size", (2,)).tolist()
    sizes = stored.get("keyframes.sizes", (None, 2))
    fits = (sizes > 0).all() and (sizes.prod(1) <= width * height).all()
    stored.check("keyframes.sizes", sizes, f"sizes of at most {width} x {height} pixels", fits)
    store = make_store(width, height)
    count, store.count = len(sizes), min(len(sizes), store.capacity)
    targets = {"stamps_ns": store.stamps_ns, "visits": store.visits}
    targets |= store.cameras._asdict() | store.learnt
    for name, target in targets.items():
        values = stored.get(f"keyframes.{name}", (count, *target.shape[1:]))
        target[: store.count] = values[: store.count]
    for slot in range(store.count):
        _unpack_images(stored, store, slot, classes)
    store.slots_changed()
    return store


def _unpack_images(stored: _Stored, store: KeyframeStore, slot: int, classes: int) -> None:
    width, height = store.cameras.sizes[slot].tolist()
    color, depth, label = (_decoded(stored, kind, slot) for kind in ("color", "depth", "label"))
    for name, image, shape in (
        ("color", color, (height, width, 3)),
        ("depth", depth, (height, width)),
        ("label", label, (height, width)),
    ):
        if image.shape != shape:
            raise _damaged(f"the {name} image {slot} of shape {shape}", f"one of {image.shape}")
    rows = (label.reshape(-1).astype(np.int32) - 1).astype(np.int16)
    stored.check(f"the label image {slot}", rows, f"rows below {classes}", rows.max() < classes)
    pixels = width * height
    store.images.colors[slot, :pixels] = cv2.cvtColor(color, cv2.COLOR_BGR2RGB).reshape(-1, 3)
    store.images.depths[slot, :pixels] = depth.reshape(-1)
    store.images.labels[slot, :pixels] = rows
    if "keyframes.doubt" in stored.arrays:
        doubts = _decoded(stored, "doubt", slot)
        if doubts.shape not in ((height, width), (1, 1)):
            raise _damaged(f"the doubt image {slot} of {(height, width)}", f"one of {doubts.shape}")
        store.doubted()[slot, :pixels] = np.broadcast_to(doubts, (height, width)).reshape(-1)
    store.note_contours(slot, width, height)


def _encoded(extension: str, image: NDArray, options: list[int]) -> NDArray[np.uint8]:
    fine, data = cv2.imencode(extension, image, options)
    assert fine
    return np.asarray(data).reshape(-1)


def _decoded(stored: _Stored, kind: str, slot: int) -> NDArray:
    ends = stored.get(f"keyframes.{kind}.ends", (None,))
    packed = stored.get(f"keyframes.{kind}", (None,))
    begin, end = ends[slot - 1] if slot else 0, ends[slot] if slot < len(ends) else -1
    if not 0 <= begin < end <= len(packed):
        raise _damaged(f"a {kind} image of keyframe {slot}", f"bytes {begin} to {end}")
    image = cv2.imdecode(packed[begin:end], cv2.IMREAD_UNCHANGED)
    if image is None:
        raise _damaged(f"a readable {kind} image of keyframe {slot}", f"{end - begin} bytes")
    return np.asarray(image)
