"""Runs ``triton_kernels.py`` in a process of its own, and compiles the kernels for real GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from semantic_field.kernels import grid_shape, make_kernels

CASES = Path(__file__).with_name("triton_kernels.py")
needs_triton = pytest.mark.skipif(
    find_spec("triton") is None,
    reason="Triton is not installed: pip install triton (CUDA builds of torch bring it along)",
)
SIZES = {"size": 1 << 19, "features": 4, "padded": 4, "block": 128}
ENCODE = {
    "points": "*fp32",
    "table": "*fp16",
    "scales": "*fp32",
    "masks": "*i32",
    "out": "*fp16",
    "number": "i32",
}
BACKWARD = {
    "points": "*fp32", "scales": "*fp32", "masks": "*i32", "grad": "*fp32", "table_grad": "*fp16",
    "touched": "*u8", "number": "i32", "grad_scale": "fp32",
}  # fmt: skip
POINTS = {
    "points": "*fp32", "table": "*fp16", "scales": "*fp32", "masks": "*i32", "grad": "*fp32",
    "out": "*fp32", "number": "i32",
}  # fmt: skip
ADAM = {
    "table": "*fp32", "working": "*fp16", "grad": "*fp16", "first": "*fp32", "second": "*fp32",
    "touched": "*u8", "rates": "*fp32", "unscale": "fp32", "number": "i32",
}  # fmt: skip
WALK_SIZES = {"nudge": 1e-3, "never": 1e30, "block": 128}
ASK = {
    **dict.fromkeys(("points", "normals", "matrix", "position", "last", "focal"), "*fp32"),
    "width": "*i64", "trust": "*fp32", "slots": "*i64", "depths": "*i16", "labels": "*i16",
    **dict.fromkeys(("shown", "votes", "past", "off", "facing"), "*fp32"),
    "index": "*i64", "number": "i32", "room": "i32", "target_focal": "fp32", "doubted": "fp32",
}  # fmt: skip
ASK_SIZES = {
    "color_sine2": 5e-4, "label_sine2": 0.1, "per_border": 40.0, "per_cosine": 2.0,
    "nearest": 0.05, "noise": 0.01, "noise_per_m": 0.015, "flattest": 0.35, "unread": 0.5,
    "behind": 0.1, "clearly": 6.0, "slack": 2.0, "off_share": 0.8, "unit": 5e-4, "masked": -2,
    "tiny": 1e-9, "block": 256,
}  # fmt: skip
BLEND = {
    "directions": "*fp32", "depth": "*fp32", "normals": "*fp32", "color": "*u8", "label": "*i32",
    **dict.fromkeys(("shown", "votes", "past", "off", "facing", "matrix", "last"), "*fp32"),
    "width": "*i64", "slots": "*i64", "exposures": "*fp32", "colors": "*u8", "labels": "*i16",
    "class_ids": "*i32", "names": "*i32", "ballots": "*fp32", "out_depth": "*fp32",
    "out_color": "*u8", "out_label": "*i32", "out_confidence": "*fp32", "number": "i32",
    "room": "i32", "keyframes": "i32",
}  # fmt: skip
BLEND_SIZES = {
    "field_depth": 0.3, "field_color": 0.02, "field_label": 0.1, "negligible": 0.02,
    "flattest_slope": -0.1, "longest_move": 2.0, "noise": 0.01, "noise_per_m": 0.015,
    "least_seen": 1e-3, "block": 128,
}  # fmt: skip
ADAM_SIZES = {"has_working": True, "is_half": True, "lanes": 16, "padded": 16, "block": 64}


@needs_triton
def test_cases_pass_on_the_gpu_or_under_the_interpreter() -> None:
    environment = dict(os.environ)
    if not torch.cuda.is_available():
        environment["TRITON_INTERPRET"] = "1"
        environment["OMP_NUM_THREADS"] = "1"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


WALK = {
    "origin": "*fp32", "directions": "*fp32", "start": "*fp32", "rays": "*i64", "low": "*i64",
    "shape": "*i64", "index": "*i32", "counts": "*i16", "number": "i32", "far": "fp32",
    "per_metre": "fp32",
}  # fmt: skip

TRACE = {
    "origin": "*fp32", "directions": "*fp32", "low": "*i64", "shape": "*i64", "index": "*i32",
    "counts": "*i16", "table": "*fp32", "scales": "*fp32", "masks": "*i32", "first": "*fp32",
    "bias": "*fp32", "second": "*fp32", "hit": "*fp32", "number": "i32", "near": "fp32",
    "far": "fp32", "per_metre": "fp32", "truncation": "fp32", "last_bias": "fp32",
}  # fmt: skip
TRACE_SIZES = {
    "levels": 8, "level_room": 8, "size": 1 << 19, "features": 4, "padded": 4, "hidden": 32,
    "waves": 60, "share": 0.8, "extra": 4e-3, "bracket": 0.08, "nudge": 1e-3, "never": 1e30,
    "block": 32,
}  # fmt: skip


def _ptx(name: str, arguments: dict[str, str], sizes: dict, capability: int) -> str:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from semantic_field.kernels import (
        triton_asking,
        triton_blending,
        triton_grid,
        triton_trace,
        triton_walk,
    )

    modules = {
        "advance": triton_walk,
        "trace": triton_trace,
        "ask": triton_asking,
        "blend": triton_blending,
    }
    aligned = {
        (i,): [["tt.divisibility", 16]] for i, kind in enumerate(arguments.values()) if "*" in kind
    }
    source = ASTSource(
        fn=getattr(modules.get(name, triton_grid), name),
        signature={**arguments, **dict.fromkeys(sizes, "constexpr")},
        constexprs=sizes,
        attrs=aligned,
    )
    return triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["ptx"]


@needs_triton
@pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing"
)
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(
    ("name", "arguments", "sizes", "wide"),
    [
        ("encode", ENCODE, SIZES, {80: "ld.global.v2.b32", 90: "ld.global.v2.b32"}),
        ("backward_table", BACKWARD, SIZES, {80: "add.noftz.f16x2", 90: "add.noftz.v4.f16"}),
        ("backward_points", POINTS, {**SIZES, "levels": 8}, {80: "v2.b32", 90: "v2.b32"}),
        ("adam", ADAM, ADAM_SIZES, {80: "st.global.v4.b32", 90: "st.global.v4.b32"}),
        ("advance", WALK, WALK_SIZES, {80: "ld.global.b16", 90: "ld.global.b16"}),
        ("ask", ASK, ASK_SIZES, {80: "ld.global.b16", 90: "ld.global.b16"}),
        ("blend", BLEND, BLEND_SIZES, {80: "ld.global.b8", 90: "ld.global.b8"}),
        ("trace", TRACE, TRACE_SIZES, {80: "ld.global.v4.b32", 90: "ld.global.v4.b32"}),
    ],
)
def test_kernels_compile_for_gpus_and_entries_move_as_vectors(
    name, arguments, sizes, wide, capability, monkeypatch, tmp_path
) -> None:
    """No GPU is needed to compile: an entry of four features is one access, or packed atomics."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    ptx = _ptx(name, arguments, sizes, capability)
    assert f".target sm_{capability}" in ptx
    assert wide[capability] in ptx


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_factory_says_that_there_is_no_gpu(name: str) -> None:
    with pytest.raises(ValueError, match="CUDA build of torch"):
        make_kernels(name, grid_shape(2, 2, 8, 0.4, 0.2), "cuda")
