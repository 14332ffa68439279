"""The action that runs a program."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from launch._runner import Plan, Runner
from launch.action import Action
from launch.conditions import evaluate_condition_expression
from launch.event_handler import Entities, Handling, as_entities
from launch.event_handlers import OnProcessExit
from launch.launch_context import LaunchContext
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitutions import LaunchConfiguration
from launch.utilities import text_of
from launch.utilities.type_utils import get_typed_value

Environment = Mapping[SomeSubstitutionsType, SomeSubstitutionsType]
_OUTPUTS = {
    "screen": ({"screen"}, {"screen"}),
    "log": ({"log"}, {"log", "screen"}),
    "both": ({"screen", "log"}, {"screen", "log"}),
    "own_log": ({"own_log"}, {"own_log"}),
    "full": ({"screen", "log", "own_log"}, {"screen", "log", "own_log"}),
}


class ExecuteProcess(Action):
    """Runs a program; its lines come out behind its name, and it is stopped with the launch."""

    def __init__(
        self,
        *,
        cmd: Iterable[SomeSubstitutionsType],
        name: SomeSubstitutionsType | None = None,
        prefix: SomeSubstitutionsType | None = None,
        cwd: SomeSubstitutionsType | None = None,
        env: Environment | None = None,
        additional_env: Environment | None = None,
        shell: bool = False,
        sigterm_timeout: SomeSubstitutionsType | None = None,
        sigkill_timeout: SomeSubstitutionsType | None = None,
        emulate_tty: bool | SomeSubstitutionsType = False,
        output: SomeSubstitutionsType | dict[str, str] = "log",
        output_format: str | None = None,
        cached_output: bool = False,
        log_cmd: bool = False,
        on_exit: Entities | Handling | None = None,
        respawn: bool | SomeSubstitutionsType = False,
        respawn_delay: float | SomeSubstitutionsType | None = None,
        respawn_max_retries: int = -1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cmd = list(cmd)
        self.name = name
        self.prefix = prefix
        self.cwd = cwd
        self.env = env
        self.additional_env = additional_env
        self.shell = shell
        self.sigterm_timeout = sigterm_timeout or LaunchConfiguration("sigterm_timeout", default=5)
        self.sigkill_timeout = sigkill_timeout or LaunchConfiguration("sigkill_timeout", default=5)
        self.emulate_tty = emulate_tty
        self.output = output
        self.output_format = output_format
        self.cached_output = cached_output
        self.log_cmd = log_cmd
        self.on_exit = on_exit
        self.respawn = respawn
        self.respawn_delay = respawn_delay
        self.respawn_max_retries = respawn_max_retries
        self._runner: Runner | None = None
        self._task: asyncio.Task | None = None

    @property
    def process_details(self) -> dict[str, Any] | None:
        """Name, pid, cmd, cwd and env of the process; None before it was started."""
        return self._runner.details if self._runner else None

    @property
    def return_code(self) -> int | None:
        """The exit code, once the process has ended."""
        process = self._runner._process if self._runner else None
        return process.returncode if process else None

    def get_stdout(self) -> str:
        """What it wrote, with ``cached_output``."""
        return "".join(self._runner.output[0]) if self._runner else ""

    def get_stderr(self) -> str:
        """What it complained of, with ``cached_output``."""
        return "".join(self._runner.output[1]) if self._runner else ""

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        return [] if callable(self.on_exit) else as_entities(self.on_exit)

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity] | None:
        if context.is_shutdown:
            return None
        plan = self._plan(context)
        if self.on_exit is not None:
            context.register_event_handler(OnProcessExit(target_action=self, on_exit=self.on_exit))
        runner = self._runner = Runner(plan, self, context)
        if self.log_cmd:
            runner.log_command()
        assert context.asyncio_loop is not None
        self._task = context.asyncio_loop.create_task(runner.run())
        return None

    def get_asyncio_future(self) -> asyncio.Future | None:
        return self._task

    # --- what subclasses say differently ---

    def command(self, context: LaunchContext) -> list[str]:
        """Program and arguments."""
        return [text_of(context, part) for part in self.cmd]

    def label(self, context: LaunchContext, command: list[str]) -> str:
        """The name of the process in the output, without its number."""
        if self.name is not None:
            return text_of(context, self.name)
        return os.path.basename(command[0].split()[0]) if command else ""

    # --- making the plan ---

    def _plan(self, context: LaunchContext) -> Plan:
        command = self.command(context)
        if not command or not command[0]:
            raise ValueError(f"expected a command to execute, got {self.cmd!r}")
        label = self.label(context, command)
        number = context.resources["processes"] = context.resources.get("processes", 0) + 1
        delay = self.respawn_delay
        return Plan(
            label=f"{label}-{number}",
            command=[*self._prefix(context, label), *command],
            shell=self.shell,
            cwd=None if self.cwd is None else text_of(context, self.cwd),
            env=self._environment(context),
            emulate_tty=self._flag(context, self.emulate_tty, "emulate_tty"),
            routes=_routes(context, self.output),
            output_format=self.output_format,
            sigterm_timeout_s=_seconds(context, self.sigterm_timeout),
            sigkill_timeout_s=_seconds(context, self.sigkill_timeout),
            respawn=self._flag(context, self.respawn),
            respawn_delay_s=0.0 if delay is None else _seconds(context, delay),
            respawn_max_retries=self.respawn_max_retries,
        )

    def _prefix(self, context: LaunchContext, label: str) -> list[str]:
        """What is put before the command: ``prefix``, or launch-prefix for all processes."""
        prefix = self.prefix
        if prefix is None:
            prefix = LaunchConfiguration("launch-prefix", default="")
            wanted = text_of(context, LaunchConfiguration("launch-prefix-filter", default=""))
            if wanted and wanted not in label:
                return []
        return shlex.split(text_of(context, prefix))

    def _environment(self, context: LaunchContext) -> dict[str, str]:
        base: Environment = context.environment if self.env is None else self.env
        merged = [*base.items(), *(self.additional_env or {}).items()]
        return {text_of(context, name): text_of(context, value) for name, value in merged}

    def _flag(self, context: LaunchContext, value: Any, configuration: str = "") -> bool:
        if configuration in context.launch_configurations:
            value = LaunchConfiguration(configuration)
        return value if isinstance(value, bool) else evaluate_condition_expression(context, value)


def _seconds(context: LaunchContext, value: Any) -> float:
    if isinstance(value, int | float):
        return float(value)
    return get_typed_value(text_of(context, value), float)


def _routes(context: LaunchContext, output: Any) -> tuple[frozenset[str], frozenset[str]]:
    """Where stdout and stderr go: to the screen, the launch's log, a log of their own."""
    output = context.environment.get("OVERRIDE_LAUNCH_PROCESS_OUTPUT") or output
    if isinstance(output, dict):
        both = _destinations(output.get("both", ()))
        sides = (both | _destinations(output.get(side, ())) for side in ("stdout", "stderr"))
        first, second = sides
        return first, second
    name = text_of(context, output)
    if name not in _OUTPUTS:
        raise ValueError(f"expected output to be one of {', '.join(_OUTPUTS)}, got {name!r}")
    stdout, stderr = _OUTPUTS[name]
    return frozenset(stdout), frozenset(stderr)


def _destinations(names: str | Iterable[str]) -> frozenset[str]:
    found = frozenset([names] if isinstance(names, str) else names)
    if not found <= {"screen", "log", "own_log"}:
        raise ValueError(f"expected screen, log or own_log, got {sorted(found)}")
    return found
