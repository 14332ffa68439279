#!/usr/bin/env python3
"""Imports what this package needs from pip; where that fails, names what is in the way.

An environment that sees the system's packages (``venv --system-site-packages``, as ROS 2 needs)
may mix pip's packages with older ones of the system that they cannot be loaded beside.

    .venv/bin/python scripts/check_environment.py [module ...]
"""

from __future__ import annotations

import importlib
import sys
import traceback
from importlib.metadata import packages_distributions
from pathlib import Path

MODULES = (
    "torch",
    "numba",
    "scipy.optimize",
    "cv2",
    "matplotlib.figure",
    "skimage.metrics",
    "safetensors.torch",
    "jaxtyping",
    "yaml",
    "rich",
    "tokenizers",
    "huggingface_hub",
    "rosbags.typesys",
    "cyclonedds",
    "semantic_field.torchvision_operators",  # what makes the next ones importable
    "torchmetrics.image",
    "open_clip",
    "transformers",
)


def main(modules: list[str]) -> int:
    """Import each; 0 where all can be."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    failed = [module for module in modules if not imported(module)]
    if failed:
        return 1
    print(f"environment: {len(modules)} modules can be imported")
    return 0


def imported(module: str) -> bool:
    """Whether a module can be imported; else a line on stderr with the remedy."""
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever a package raises while it is loaded
        told = "".join(traceback.format_exception(error))
        said = (str(error).splitlines() or [""])[0]
        print(f"{module} cannot be imported: {type(error).__name__}: {said}", file=sys.stderr)
        print(f"    {remedy(module, told)}", file=sys.stderr)
        return False
    return True


def remedy(module: str, told: str) -> str:
    """The command that brings newer ones of the system's packages the traceback tells of."""
    outside = [name for name in loaded_from_outside() if name in told]
    known = packages_distributions()
    wanted = sorted({known.get(name, [name])[0] for name in outside or [module.split(".")[0]]})
    names = " ".join(f"'{name}'" for name in wanted)
    where = "of the system, too old for the others; run" if outside else "run"
    return f"{names}: {where}: {sys.executable} -m pip install --upgrade {' '.join(wanted)}"


def loaded_from_outside() -> set[str]:
    """Top-level packages that are not this environment's own, nor Python's."""
    found = set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        installed = "dist-packages" in file or "site-packages" in file
        if installed and not Path(file).is_relative_to(sys.prefix):
            found.add(name.split(".")[0])
    return found


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:] or list(MODULES)))
