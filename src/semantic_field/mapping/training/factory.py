"""Choice of the training device and of the trainer for it."""

from __future__ import annotations

import torch

from semantic_field.config import Config, MappingConfig
from semantic_field.field.model import SemanticField
from semantic_field.mapping.training.step import Trainer


def training_device(config: Config) -> torch.device:
    """Return the device selected by ``mapping.device``.

    "auto" is a GPU if torch can use one, unless the selected kernels run only on the processor.

    Raises:
        ValueError: if a GPU is requested and torch has none, or if the kernels need one and the
            device is the CPU.
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
    """Return a new trainer for the device of the field."""
    if field.table.device.type == "cpu":
        return Trainer(field, config)
    from semantic_field.mapping.training.device_step import DeviceTrainer

    return DeviceTrainer(field, config)
