"""The action that runs a program."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import Any

from launch.entities import Action, Entities, LaunchDescriptionEntity, as_entities
from launch.event_handlers import Handling, OnProcessExit
from launch.launch_context import LaunchContext
from launch.processes.runner import Runner
from launch.substitution import SomeSubstitutionsType, text_of
from launch.substitutions import LaunchConfiguration
from launch.utilities.type_utils import perform_typed_substitution

# Destinations of stdout and stderr for each value of ``output``.
_ROUTES = {
    "screen": (("screen",), ("screen",)),
    "log": (("log",), ("screen", "log")),
    "both": (("screen", "log"), ("screen", "log")),
}


class ExecuteProcess(Action):
    """Runs a program until it ends or the launch is shut down; its output lines get its name.

    At shutdown it gets SIGINT, SIGTERM after ``sigterm_timeout``, and SIGKILL after
    ``sigkill_timeout``, both launch configurations in seconds, by default 5.

    Args:
        cmd: program and arguments.
        name: name in the output; by default the program's file name.
        output: "screen", "log" or "both".
        on_exit: entities to launch when the program has ended, or a function of event and context
            that returns them.
    """

    def __init__(
        self,
        *,
        cmd: Iterable[SomeSubstitutionsType],
        name: SomeSubstitutionsType | None = None,
        output: SomeSubstitutionsType = "log",
        on_exit: Entities | Handling | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cmd = list(cmd)
        self.name = name
        self.output = output
        self.on_exit = on_exit
        self._task: asyncio.Task | None = None

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        return [] if callable(self.on_exit) else as_entities(self.on_exit)

    def execute(self, context: LaunchContext) -> None:
        if context.is_shutdown:
            return
        runner = self._runner(context)
        if self.on_exit is not None:
            handler = OnProcessExit(target_action=self, on_exit=self.on_exit)
            context.event_handlers.insert(0, handler)
        self._task = asyncio.get_running_loop().create_task(runner.run())

    def get_asyncio_future(self) -> asyncio.Task | None:
        return self._task

    # --- overridden by subclasses ---

    def command(self, context: LaunchContext) -> list[str]:
        """Return program and arguments."""
        return [text_of(context, part) for part in self.cmd]

    def environment(self, context: LaunchContext) -> dict[str, str]:
        """Return the environment variables of the process."""
        return dict(context.environment)

    def _runner(self, context: LaunchContext) -> Runner:
        command = self.command(context)
        if not any(command[:1]):
            raise ValueError(f"expected a command to execute, got {self.cmd!r}")
        output = text_of(context, self.output)
        if output not in _ROUTES:
            raise ValueError(f"expected output to be one of {', '.join(_ROUTES)}, got {output!r}")
        label = os.path.basename(text_of(context, self.name or self.cmd[0]))
        return Runner(
            self,
            context,
            label=f"{label}-{context.next_process_number()}",
            command=command,
            env=self.environment(context),
            routes=_ROUTES[output],
            patience_s=(_seconds(context, "sigterm_timeout"), _seconds(context, "sigkill_timeout")),
        )


def _seconds(context: LaunchContext, name: str) -> float:
    return perform_typed_substitution(context, LaunchConfiguration(name, default=5), float)
