"""Label images that come after their frame was delivered, as those of a slow segmenter do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from semantic_field.nodes.camera.label_images import LabelInput

Ids = NDArray[np.int32]
REMEMBERED = 300  # stamps of frames that were delivered without labels


class LateLabels:
    """Passes label images on to frames that did not wait for them, matched by stamp.

    Args:
        labels: buffers the label images.
        fit: fits class ids to the frames' size; returns None if they cannot be used.
        deliver: is called with the stamp of a delivered frame and its class ids (H, W), -1 = void.
    """

    def __init__(
        self,
        labels: LabelInput,
        fit: Callable[[Ids], Ids | None],
        deliver: Callable[[int, Ids], None],
    ) -> None:
        self._labels, self._fit, self._deliver = labels, fit, deliver
        self._stamps: deque[int] = deque(maxlen=REMEMBERED)

    def expect(self, stamp_ns: int) -> None:
        """A frame of this stamp was delivered without labels."""
        self._stamps.append(stamp_ns)

    def deliver_ready(self) -> None:
        """Pass on each buffered label image whose frame was delivered."""
        if not self._labels.is_named:
            return  # its names are still to come
        for stamp in self._labels.matching(self._stamps):
            self._stamps.remove(stamp)
            ids = self._labels.take(stamp)
            fitted = None if ids is None else self._fit(ids)
            if fitted is not None:
                self._deliver(stamp, fitted)

    def clear(self) -> None:
        """Forget the frames."""
        self._stamps.clear()
