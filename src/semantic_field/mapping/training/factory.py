"""Chooses once where the field is trained, and by which step."""

from __future__ import annotations

import torch

from semantic_field.config import Config, MappingConfig
from semantic_field.field.model import SemanticField
from semantic_field.mapping.training.step import Trainer


def training_device(config: Config) -> torch.device:
    """The device that ``mapping.device`` names; "auto" is a GPU where torch can use one.

    The kernels that only run on the processor keep "auto" there.

    Raises:
        ValueError: where a GPU is asked for and torch has none, or the kernels need one.
    """
    wanted, has_gpu = config.mapping.device, torch.cuda.is_available()
    if wanted == "cuda" and not has_gpu:
        raise ValueError(
            "expected a GPU that torch can use for mapping.device 'cuda', got none; install the "
            "CUDA build of torch and the NVIDIA driver, or set mapping.device to 'auto' or 'cpu'"
        )
    if wanted == "auto":
        wanted = "cuda" if has_gpu and config.field.grid.kernels != "cpu" else "cpu"
    if wanted == "cpu" and config.field.grid.kernels == "tcnn":
        raise ValueError(
            "expected a GPU for field.grid.kernels 'tcnn', got the device cpu: there it can only "
            "read maps; set field.grid.kernels to 'auto'"
        )
    return torch.device(wanted)


def make_trainer(field: SemanticField, config: MappingConfig) -> Trainer:
    """The training step for the device that the field lies on."""
    if field.table.device.type == "cpu":
        return Trainer(field, config)
    from semantic_field.mapping.training.device_step import DeviceTrainer

    return DeviceTrainer(field, config)
