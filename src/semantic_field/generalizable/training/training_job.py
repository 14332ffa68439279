"""A whole training: from settings to a file of weights, begun or resumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
import yaml

from semantic_field.atomic_files import write_atomically
from semantic_field.generalizable.training.data_parallel import Workers, joined
from semantic_field.generalizable.training.held_out_figures import figures_by_kind
from semantic_field.generalizable.training.learning_rate import make_optimizer
from semantic_field.generalizable.training.scene_episodes import (
    SceneEpisodes,
    held_out_episodes,
)
from semantic_field.generalizable.training.scenes import SceneSet, expand_locations
from semantic_field.generalizable.training.training_loop import Report, TrainingLoop, moved
from semantic_field.generalizable.training.training_run import (
    CHECKPOINT,
    CONFIG,
    LOG,
    WEIGHTS,
    TrainingRun,
    read_log,
)
from semantic_field.generalizable.training.training_settings import DataSettings, TrainingConfig
from semantic_field.generalizable.training.weight_files import (
    ModelCard,
    begin_with,
    build_model,
    save_model,
)

OF_THE_RECORDINGS = "of the recordings"
"""As a setting of the model: the names of all classes that the training recordings show."""
Preparing = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TrainingJob:
    """A training and where it goes.

    Args:
        folder: of the log, the checkpoints and the weights.
        resume: go on from the folder's checkpoint (from the beginning if there is none yet).
        device: ``auto``, ``cpu`` or ``cuda``.
        report: see ``TrainingLoop``; called in the first process only.
        preparing: told what scene is prepared, the number done and the number to do; called in
            every process.
    """

    config: TrainingConfig
    folder: Path
    resume: bool = False
    device: str = "auto"
    report: Report = lambda entry: None
    preparing: Preparing = lambda text, done, count: None

    def run(self) -> Path:
        """Train to the end and return the file of weights.

        Raises:
            ValueError: on bad settings or recordings, if the folder holds another training, or if
                the loss is not finite.
            OSError: if a disk is full.
        """
        self._check_folder()
        with joined(self.device) as workers:
            scenes, held_out = self._scenes(workers)
            run = self._state(scenes, workers)
            loop = self._loop(scenes, held_out, run, workers)
            loop.run(run)
            workers.wait()
            if workers.is_first:
                half = self.config.training.half_weights
                save_model(run.model, self.folder / WEIGHTS, self._card(run), half)
        return self.folder / WEIGHTS

    def _check_folder(self) -> None:
        if (self.folder / CHECKPOINT).exists() and not self.resume:
            raise ValueError(
                f"expected a new folder for the training, {self.folder} holds one already; add "
                "--resume to go on with it, or give another --out"
            )

    def _scenes(self, workers: Workers) -> tuple[SceneSet, SceneSet | None]:
        """Return the scenes of training and those of the held-out figures, all prepared."""
        data = self.config.data
        scenes = scene_set(data.recordings, data)
        wanted = self.config.training.held_out_episodes > 0
        held_out = scene_set(data.held_out, data) if wanted else None
        both = sorted(set(scenes.locations) & set(held_out.locations if held_out else ()))
        if both:
            raise ValueError(
                f"expected held-out recordings that are not trained on, got {', '.join(both)} in "
                "both; change data.held_out (or set training.held_out_episodes to 0)"
            )
        for each in (scenes, held_out):
            if each is not None:
                each.prepare(self.preparing, workers.local_rank, workers.local_world)
        workers.wait()
        return scenes, held_out

    def _state(self, scenes: SceneSet, workers: Workers) -> TrainingRun:
        """Return the state at the beginning, or that of the checkpoint."""
        config = with_class_names(self.config, scenes)
        torch.manual_seed(config.training.seed)
        model = build_model(config.model)
        if config.training.begin_with:
            begin_with(model, config.training.begin_with)
        model = model.to(workers.device)
        optimizer = make_optimizer(model, config.training, config.rates)
        run = TrainingRun(model, optimizer, config.as_dict())
        if (self.folder / CHECKPOINT).exists():
            run.restore(self.folder)
        elif workers.is_first:
            self.folder.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(run.settings, sort_keys=False, allow_unicode=True)
            write_atomically(self.folder / CONFIG, text.encode())
        return run

    def _loop(
        self, scenes: SceneSet, held_out: SceneSet | None, run: TrainingRun, workers: Workers
    ) -> TrainingLoop:
        config, training = self.config, self.config.training
        names = run.model.class_names
        episodes = {}
        if held_out is not None and workers.is_first:
            count = training.held_out_episodes
            episodes = held_out_episodes(held_out, config.episodes, names, count, training.seed)
        known = {k: [moved(e, workers.device) for e in v] for k, v in episodes.items()}
        return TrainingLoop(
            make=self._episodes(scenes, names),
            held_out=partial(figures_by_kind, run.model, known) if known else None,
            settings=training,
            folder=self.folder,
            workers=workers,
            report=self.report if workers.is_first else lambda entry: None,
        )

    def _episodes(self, scenes: SceneSet, names: tuple[str, ...]) -> SceneEpisodes:
        data, training = self.config.data, self.config.training
        return SceneEpisodes(
            scenes,
            self.config.episodes,
            names,
            seed=training.seed,
            batch=training.batch,
            active=data.active_scenes,
            episodes_per_scene=data.episodes_per_scene,
            shares=data.shares,
            memory_mb=data.memory_mb,
        )

    def _card(self, run: TrainingRun) -> ModelCard:
        found = [line["held_out"] for line in read_log(self.folder / LOG) if "held_out" in line]
        return ModelCard(
            steps=run.step,
            data=self.config.data.recordings,
            figures=found[-1] if found else {},
            began_with=self.config.training.begin_with,
        )


def scene_set(recordings: Sequence[str], data: DataSettings) -> SceneSet:
    """Return scenes with the sizes and bounds of the settings."""
    return SceneSet(
        expand_locations(recordings),
        (data.width, data.height),
        Path(data.cache).expanduser() if data.cache else None,
        data.most_frames,
    )


def with_class_names(config: TrainingConfig, scenes: SceneSet) -> TrainingConfig:
    """Return settings with the names in place of ``OF_THE_RECORDINGS``."""
    if OF_THE_RECORDINGS not in config.model.values():
        return config
    names = scenes.class_names()
    model = {n: names if v == OF_THE_RECORDINGS else v for n, v in config.model.items()}
    return replace(config, model=model)
