"""Runs a step over and over: as a captured CUDA graph on a GPU, plainly elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

PLAIN_STEPS = 3  # before the first capture: they compile kernels and let libraries get memory


class StepGraph:
    """Launches a step with its own stream.

    The first steps after a change run plainly, which is what capturing needs and also proper
    work; then the step is captured, and from there on replayed: one launch, no allocation.

    Args:
        device: where the step works; nothing is captured unless this is a GPU.
        capturable: whether the step never waits for the device.
    """

    def __init__(self, device: torch.device, capturable: bool) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._generators: list[torch.Generator] = []
        self._graph: torch.cuda.CUDAGraph | None = None
        self._signature: tuple | None = None
        self._plain = PLAIN_STEPS  # still to come
        self.capturable = capturable

    def register(self, generator: torch.Generator) -> None:
        """Let a generator that the step draws from go on from replay to replay."""
        self._generators.append(generator)

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Everything in here goes to the step's stream, after what the caller has launched."""
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            yield

    def settle(self) -> None:
        """Wait until all that was launched is done."""
        if self._stream is not None:
            self._stream.synchronize()

    def forget(self) -> None:
        """Give back the captured step and its memory; it is captured anew after a plain one."""
        self._graph = self._signature = None

    def run(self, step: Callable[[], None], signature: tuple) -> None:
        """One step. ``signature``: what a captured step relies on, besides its tensors' contents.

        To be called inside ``stream``.
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
        # other threads may render meanwhile: what they do is no error
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            step()
        return graph
