"""What tests of all floors share."""

from __future__ import annotations

import json
import os
import tempfile

import pytest

import embedded_ros

# What a map learns from depends on the weights on the machine: tests see none but their own.
os.environ["SEMANTIC_FIELD_WEIGHTS"] = os.path.join(tempfile.gettempdir(), "no-such-weights")

TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def pytest_collection_modifyitems(items):
    """Leave out, on a real ROS 2, the tests of what only embedded_ros has."""
    marked = [item for item in items if item.get_closest_marker("embedded_only")]
    if marked and not embedded_ros.install():
        for item in marked:
            reason = item.get_closest_marker("embedded_only").args[0]
            item.add_marker(pytest.mark.skip(reason=f"embedded_ros only: {reason}"))


@pytest.fixture(scope="session")
def clip_checkpoint(tmp_path_factory) -> str:
    """A folder with a small random CLIP model, as open_clip's are: it knows nothing."""
    open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
    import torch

    folder = tmp_path_factory.mktemp("clip")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY_CLIP}))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    torch.save(model.state_dict(), folder / "trained.pt")
    return str(folder)


@pytest.fixture
def short_memory(monkeypatch):
    """Lets a function run out of a device's memory: ``short_memory(owner, name, is_short)``.

    ``is_short`` is called with the function's arguments; a number stands for the first calls. The
    real function is called otherwise, and with ``after`` also before its memory runs out.
    """
    import torch

    said = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 8 GiB."

    def install(owner, name, is_short, after=False):
        real, calls = getattr(owner, name), []

        def limited(*args, **kwargs):
            calls.append(args)
            many = isinstance(is_short, int)
            short = len(calls) <= is_short if many else is_short(*args, **kwargs)
            if short and not after:
                raise torch.OutOfMemoryError(said)
            result = real(*args, **kwargs)
            if short:
                raise torch.OutOfMemoryError(said)
            return result

        monkeypatch.setattr(owner, name, limited)

    return install
