"""Repeated execution of a step: as a captured CUDA graph on a GPU, directly on other devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

PLAIN_STEPS = 3  # before the first capture, to compile kernels and let libraries reserve memory


class StepGraph:
    """Runs a step on a CUDA stream of its own.

    The first ``PLAIN_STEPS`` steps, and one after each change, run directly, as capturing
    requires. Then the step is captured, and replayed from there on: one launch and no memory
    allocation per step.

    Args:
        device: device of the step; nothing is captured unless this is a GPU.
        capturable: whether the step can be captured, that is, never waits for the device.
    """

    def __init__(self, device: torch.device, capturable: bool) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._generators: list[torch.Generator] = []
        self._graph: torch.cuda.CUDAGraph | None = None
        self._signature: tuple | None = None
        self._plain = PLAIN_STEPS  # number of steps that still have to run directly
        self.capturable = capturable

    def register(self, generator: torch.Generator) -> None:
        """Let replays advance a random generator that the step uses."""
        self._generators.append(generator)

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Context manager: work is launched on the step's stream, after the caller's stream."""
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            yield

    def settle(self) -> None:
        """Wait until all work on the step's stream is done."""
        if self._stream is not None:
            self._stream.synchronize()

    def forget(self) -> None:
        """Free the captured step and its memory; it is captured again after one direct step."""
        self._graph = self._signature = None

    def run(self, step: Callable[[], None], signature: tuple) -> None:
        """Run one step; must be called inside of ``stream``.

        Args:
            step: the work.
            signature: everything that a captured step depends on, except the contents of its
                tensors; when it changes, the step is captured again.
        """
        if self._stream is None or not self.capturable:
            step()
            return
        if signature != self._signature:
            self._graph, self._signature = None, signature
            self._plain = max(self._plain, 1)
        if self._plain:
            self._plain -= 1
            step()
            return
        if self._graph is None:
            self._graph = self._captured(step)
        self._graph.replay()

    def _captured(self, step: Callable[[], None]) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        # "thread_local": other threads may use the GPU during the capture, such as to render
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            step()
        return graph
