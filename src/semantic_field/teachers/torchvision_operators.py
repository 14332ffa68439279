"""Lets torchvision be imported beside a build of torch that it was not compiled for.

open_clip and transformers' vision models use torchvision's Python code (resizing, normalising). Its
compiled operators fit one build of torch alone, and where they cannot be loaded the import itself
fails, because it registers shapes for two operators that are not there. Declared by hand they
are: calling them still fails, and nothing here does.
"""

from __future__ import annotations

import importlib
import importlib.util

import torch

_declared: list[torch.library.Library] = []  # a library's operators vanish with it


def prepare_torchvision() -> None:
    """Declare what the import needs; nothing where torchvision is complete or absent.

    To be called before the first import of open_clip or of transformers' vision models.
    """
    if _declared or importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    else:
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
