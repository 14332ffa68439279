"""torchvision beside a torch that it was not compiled for, in processes of their own."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

import semantic_field

pytestmark = pytest.mark.skipif(find_spec("torchvision") is None, reason="no torchvision here")


def run(program: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_whoever_imports_torchvision_gets_it():
    said = run(
        "import sys, semantic_field\n"
        "print('torch' in sys.modules)\n"
        "import torchmetrics, torch\n"
        "from torchvision.transforms import Resize\n"
        "print(tuple(Resize(4)(torch.zeros(3, 8, 8)).shape), hasattr(torch.ops.torchvision, 'nms'))"
    )
    assert said.splitlines() == ["False", "(3, 4, 4) True"]
    assert semantic_field.torchvision_operators is not None
