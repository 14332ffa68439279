"""Scores of methods that predict the same targets, in turns within one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from semantic_field.evaluation.generalizable.methods import Method
from semantic_field.evaluation.protocols.protocol import Protocol
from semantic_field.evaluation.scores.held_out_views import HeldOutFrames, ViewRecord, ViewScores
from semantic_field.evaluation.scores.off_path_scores import OffPathView
from semantic_field.field.views.blended_view import filled

EXAMPLES = 3  # targets that are kept with the views of all methods


@dataclass
class MethodScores:
    """Accumulates the scores of one method.

    Attributes:
        scores: of its views. unseen: shares of their pixels with confidence 0. cpu_s: processor
            time of all threads for each view, seconds.
    """

    scores: ViewScores
    unseen: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    @property
    def records(self) -> list[ViewRecord]:
        return self.scores.records

    def result(self) -> dict[str, Any]:
        """Return ``views`` (with ``unseen``), ``geometry``, ``semantics``, ``confidence``, and the
        medians of a view's time: ``render_ms`` and ``cpu_ms``.
        """
        found = self.scores.result()
        kept = {name: found[name] for name in ("views", "semantics", "confidence")}
        kept["views"] = kept["views"] | {"unseen": float(np.mean(self.unseen))}
        seconds = statistics.median(record.render_s for record in self.records)
        times = {"render_ms": 1e3 * seconds, "cpu_ms": 1e3 * statistics.median(self.cpu_s)}
        return kept | {"geometry": found["depth"]} | times


class Contest:
    """Scores methods by name on the same targets.

    Each method is asked once before time is taken, and they are asked in turns, so that other work
    on the machine falls on all alike. Pixels without a label get that of the nearest one with a
    label, for all methods: some say that an area is unseen, others guess.

    Args:
        label_names: class ids and names of the recording.
        protocol: conventions and classes.
    """

    def __init__(self, label_names: dict[int, str], protocol: Protocol) -> None:
        self._names, self._protocol = label_names, protocol
        self.methods: dict[str, MethodScores] = {}
        self.examples: list[OffPathView] = []

    def run(
        self,
        methods: Mapping[str, Method],
        targets: HeldOutFrames,
        progress: Callable[[float], None] = lambda share: None,
    ) -> None:
        """Let methods predict all targets; may be called again, for other draws of faults."""
        first, examples = targets[0], not self.examples
        for method in methods.values():
            method(first)
        kept = np.linspace(0, len(targets) - 1, min(EXAMPLES, len(targets))).round().astype(int)
        for number, position in enumerate(targets.positions):
            truth, views = targets[number], {}
            for name, method in methods.items():
                began, began_cpu = time.perf_counter(), time.process_time()
                view = method(truth)
                seconds = time.perf_counter() - began
                self._of(name).cpu_s.append(time.process_time() - began_cpu)
                view = replace(view, label=filled(view.label, view.label >= 0))
                self._of(name).scores.add(position, truth, view, seconds)
                self._of(name).unseen.append(float((view.confidence == 0).mean()))
                views[name] = view
            if examples and number in kept:
                seen = np.logical_or.reduce([view.confidence > 0 for view in views.values()])
                self.examples.append(OffPathView(f"frame {position}", truth, seen, views))
            progress((number + 1) / len(targets))

    def _of(self, name: str) -> MethodScores:
        if name not in self.methods:
            self.methods[name] = MethodScores(ViewScores(self._names, self._protocol))
        return self.methods[name]

    def results(self) -> dict[str, dict[str, Any]]:
        """Return the scores of each method by name, see ``MethodScores.result``."""
        return {name: item.result() for name, item in self.methods.items()}
