"""``Frame``: one posed RGB-D image, the output of all readers and the input of the mapper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semantic_field.geometry import Camera, check_transform

VOID_LABEL = -1
VOID_NAMES = frozenset({"void", "unlabelled", "unlabeled", "unknown", "ignore"})


@dataclass(frozen=True)
class Frame:
    """A colour image with registered depth, its camera and its pose.

    Attributes:
        stamp_ns: acquisition time in nanoseconds.
        color: uint8 RGB (H, W, 3).
        depth: float32 z-depth (H, W) in metres; 0 where there is no reading. NaN, infinite and
            negative values are turned into 0.
        camera: intrinsics, of the images' size.
        T_world_camera: rigid (4, 4), OpenCV camera axes, metres.
        labels: int32 class ids (H, W), -1 = void; None if the frame has no label image.
        instances: int32 object ids (H, W), -1 = none; ground truth, for scoring only.
        camera_id: which of several cameras took it.
    Raises:
        ValueError: if shapes differ from the camera's, types are wrong, or the pose is not rigid.
    """

    stamp_ns: int
    color: NDArray[np.uint8]
    depth: NDArray[np.float32]
    camera: Camera
    T_world_camera: NDArray[np.float64]
    labels: NDArray[np.int32] | None = None
    instances: NDArray[np.int32] | None = None
    camera_id: int = 0

    def __post_init__(self) -> None:
        size = (self.camera.height, self.camera.width)
        if self.color.shape != (*size, 3) or self.color.dtype != np.uint8:
            raise ValueError(
                f"expected colour uint8 {(*size, 3)} as the camera says, "
                f"got {self.color.dtype} {self.color.shape}"
            )
        for name in ("depth", "labels", "instances"):
            image = getattr(self, name)
            if image is not None and image.shape != size:
                raise ValueError(f"expected {name} of {size} like the colour, got {image.shape}")
        depth = np.asarray(self.depth, dtype=np.float32)
        valid = np.isfinite(depth) & (depth > 0)
        object.__setattr__(self, "depth", np.where(valid, depth, np.float32(0)))
        object.__setattr__(self, "T_world_camera", check_transform(self.T_world_camera))

    def resized(self, width: int, height: int) -> Frame:
        """Return the frame at another size.

        Colour is averaged over pixel areas; depth, labels and instances take the nearest pixel.
        """
        if (width, height) == (self.camera.width, self.camera.height):
            return self
        import cv2

        def nearest(image: NDArray | None) -> NDArray | None:
            if image is None:
                return None
            return cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)

        depth = nearest(self.depth)
        assert depth is not None
        return Frame(
            stamp_ns=self.stamp_ns,
            color=np.asarray(
                cv2.resize(self.color, (width, height), interpolation=cv2.INTER_AREA),
                dtype=np.uint8,
            ),
            depth=depth,
            camera=self.camera.resized(width, height),
            T_world_camera=self.T_world_camera,
            labels=nearest(self.labels),
            instances=nearest(self.instances),
            camera_id=self.camera_id,
        )

    def no_wider_than(self, width: int) -> Frame:
        """Return the frame, resized in proportion if it is wider than ``width`` pixels."""
        camera = self.camera
        if camera.width <= width:
            return self
        return self.resized(width, max(1, round(camera.height * width / camera.width)))


def split_void(names: dict[int, str]) -> tuple[dict[int, str], frozenset[int]]:
    """Split class names into real classes and the ids of names that mean "no class" (void).

    A class with an empty or blank name is called by its id, such as "class 17".

    Returns:
        The names without void ones, and the ids of the void ones.
    """
    names = {i: name if name.strip() else f"class {i}" for i, name in names.items()}
    void = frozenset(i for i, name in names.items() if name.strip().lower() in VOID_NAMES)
    return {i: name for i, name in names.items() if i not in void}, void
