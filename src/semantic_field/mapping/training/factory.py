"""Chooses once where the field is trained, and by which step."""

from __future__ import annotations

import torch

from semantic_field.config import Config, MappingConfig
from semantic_field.field.model import SemanticField
from semantic_field.mapping.training.step import Trainer


def training_device(config: Config) -> torch.device:
    """The device that ``mapping.device`` names; "auto" is a GPU where torch can use one.

    What only runs on the processor keeps "auto" there: its kernels, and ``only_on_processor``.

    Raises:
        ValueError: where a GPU is asked for and torch has none.
    """
    wanted, has_gpu = config.mapping.device, torch.cuda.is_available()
    if wanted == "cuda" and not has_gpu:
        raise ValueError(
            "expected a GPU that torch can use for mapping.device 'cuda', got none; install the "
            "CUDA build of torch and the NVIDIA driver, or set mapping.device to 'auto' or 'cpu'"
        )
    on_host = only_on_processor(config)
    if wanted == "auto":
        on_gpu = has_gpu and not on_host and config.field.grid.kernels != "cpu"
        wanted = "cuda" if on_gpu else "cpu"
    if wanted == "cuda" and on_host:
        raise ValueError(
            f"expected mapping.device 'cpu' or 'auto' with {' and '.join(on_host)}, got 'cuda': "
            "they are part of the processor's step alone"
        )
    if wanted == "cpu" and config.field.grid.kernels == "tcnn":
        raise ValueError(
            "expected a GPU for field.grid.kernels 'tcnn', got the device cpu: there it can only "
            "read maps; set field.grid.kernels to 'auto'"
        )
    return torch.device(wanted)


def only_on_processor(config: Config) -> list[str]:
    """The settings that are on and that the step for a GPU does not have."""
    mapping = config.mapping
    settings = {
        "mapping.refine_poses": mapping.refine_poses,
        "mapping.adapt_exposure": mapping.adapt_exposure,
        "language.source 'images'": config.language.source == "images",
    }
    return [name for name, is_on in settings.items() if is_on]


def make_trainer(field: SemanticField, config: MappingConfig) -> Trainer:
    """The training step for the device that the field lies on."""
    if field.table.device.type == "cpu":
        return Trainer(field, config)
    from semantic_field.mapping.training.device_step import DeviceTrainer

    return DeviceTrainer(field, config)
