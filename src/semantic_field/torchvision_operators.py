"""Makes torchvision importable with a build of torch that it was not compiled for.

open_clip, torchmetrics and transformers' vision models use torchvision's Python code (resizing,
normalising). Its compiled operators fit only one build of torch. If they cannot be loaded the
import itself fails, because it refers to two missing operators. These are declared here; calling
them still fails, but this library never does.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from pathlib import Path

_declared: list = []  # keeps the library alive, as its operators are removed with it


class TorchvisionFinder(MetaPathFinder):
    """Import hook that prepares the first import of torchvision; it never finds a module itself."""

    def find_spec(self, fullname, path=None, target=None) -> None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            _prepare()


def install() -> None:
    """Install the import hook; it has no cost until torchvision is imported."""
    if "torchvision" not in sys.modules:
        sys.meta_path.insert(0, TorchvisionFinder())


def _prepare() -> None:
    """Load the compiled operators, or declare the two that the import needs."""
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    import torch

    try:
        for file in Path(spec.origin).parent.glob("_C.*"):
            torch.ops.load_library(str(file))
    except OSError:  # compiled for another torch
        pass
    if not hasattr(torch.ops.torchvision, "nms"):
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)
