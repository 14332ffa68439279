"""Adam of the networks beside torch's own."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from semantic_field.mapping.training.adam import Adam

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=NO_GPU)]


def parameters_and_gradients(device: str) -> tuple[list[torch.nn.Parameter], list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(7, 5), (5,), (1, 3)]
    values = [torch.randn(shape, generator=generator).to(device) for shape in shapes]
    gradients = [torch.randn(10, *shape, generator=generator).to(device) for shape in shapes]
    return [torch.nn.Parameter(value) for value in values], gradients


@pytest.mark.parametrize("device", DEVICES)
def test_steps_are_those_of_torch(device: str) -> None:
    ours, gradients = parameters_and_gradients(device)
    theirs, _ = parameters_and_gradients(device)
    adam = Adam(ours, (0.9, 0.99), eps=1e-8)
    oracle = torch.optim.Adam(theirs, betas=(0.9, 0.99), eps=1e-8)
    for step in range(10):
        rate = 0.1 / (1 + step)
        adam.rate.fill_(rate)
        oracle.param_groups[0]["lr"] = rate
        for parameters in (ours, theirs):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient[step].clone()
            if step % 2:
                parameters[1].grad = None  # an embedding that no ray met
        adam.step()
        oracle.step()
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
    for mine, other in zip(ours, theirs, strict=True):
        assert float(adam.state[mine]["step"]) == float(oracle.state[other]["step"])
        for name in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(adam.state[mine][name], oracle.state[other][name])


def test_parameters_without_a_gradient_stay_where_they_are() -> None:
    parameters, _ = parameters_and_gradients("cpu")
    before = [parameter.detach().clone() for parameter in parameters]
    adam = Adam(parameters)
    adam.step()
    parameters[0].grad = torch.ones_like(parameters[0])
    adam.step()
    assert not torch.equal(parameters[0], before[0])
    assert torch.equal(parameters[1], before[1]) and parameters[1] not in adam.state
    adam.zero_grad()
    assert parameters[0].grad is None


def test_a_mapper_does_not_import_torchs_compiler() -> None:
    """It would cost every process 140 MB and a second."""
    script = (
        "import sys; from semantic_field.config import Config; "
        "from semantic_field.mapping import Mapper; Mapper(Config()); "
        "print(sorted({'torch._dynamo', 'sympy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
