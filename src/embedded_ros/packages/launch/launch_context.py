"""The state of a running launch: configurations, environment, events, what it waits for."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.event import Event
from launch.substitution import Substitution

if TYPE_CHECKING:
    from launch.event_handler import EventHandler


class Locals:
    """Values of the entity that is being visited, read as attributes."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the launch context has no local value {name!r} here")


class LaunchContext:
    """What actions and substitutions see of the launch they are part of."""

    def __init__(self, *, argv: Iterable[str] | None = None, noninteractive: bool = False) -> None:
        self.argv = list(argv or [])
        self.noninteractive = noninteractive
        self.launch_configurations: dict[str, Any] = {}
        self.is_shutdown = False
        self.asyncio_loop: asyncio.AbstractEventLoop | None = None
        self._scopes: list[dict[str, Any]] = []
        self._first_environment = dict(os.environ)
        self._environments: list[dict[str, str]] = []
        self._locals: list[dict[str, Any]] = [{}]
        self._handlers: deque[EventHandler] = deque()
        self._events: deque[Event] = deque()
        self._futures: set[asyncio.Future] = set()
        self._wake = asyncio.Event()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.resources: dict[str, Any] = {}

    @property
    def environment(self) -> os._Environ[str]:
        """The environment of processes started from now on: this process' own."""
        return os.environ

    # --- values ---

    @property
    def locals(self) -> Locals:
        return Locals(self.get_locals_as_dict())

    def get_locals_as_dict(self) -> dict[str, Any]:
        return dict(self._locals[-1])

    def extend_locals(self, values: dict[str, Any]) -> None:
        self._locals[-1].update(values)

    def extend_globals(self, values: dict[str, Any]) -> None:
        for scope in self._locals:
            scope.update(values)

    def _push_locals(self) -> None:
        self._locals.append(dict(self._locals[-1]))

    def _pop_locals(self) -> None:
        self._locals.pop()

    def _push_launch_configurations(self) -> None:
        self._scopes.append(dict(self.launch_configurations))

    def _pop_launch_configurations(self) -> None:
        _restore(self.launch_configurations, self._scopes.pop())

    def _push_environment(self) -> None:
        self._environments.append(dict(os.environ))

    def _pop_environment(self) -> None:
        _restore(os.environ, self._environments.pop())

    def _reset_environment(self) -> None:
        _restore(os.environ, self._first_environment)

    def perform_substitution(self, substitution: Substitution) -> str:
        return substitution.perform(self)

    def temporary_folder(self) -> Path:
        """A folder that lives as long as the launch, for parameter files."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="launch_params_")
        return Path(self._folder.name)

    # --- events ---

    @property
    def event_handlers(self) -> deque[EventHandler]:
        return self._handlers

    def register_event_handler(self, event_handler: EventHandler, append: bool = False) -> None:
        """Put a handler in place, before those that are there already unless ``append``."""
        if append:
            self._handlers.append(event_handler)
        else:
            self._handlers.appendleft(event_handler)

    def unregister_event_handler(self, event_handler: EventHandler) -> None:
        """Raises ValueError where the handler is not registered."""
        self._handlers.remove(event_handler)

    def would_handle_event(self, event: Event) -> bool:
        return any(handler.matches(event) for handler in self._handlers)

    def emit_event_sync(self, event: Event) -> None:
        """Queue an event, from the launch's own thread."""
        self._events.append(event)
        self._wake.set()

    async def emit_event(self, event: Event) -> None:
        self.emit_event_sync(event)

    # --- what the launch waits for ---

    def add_completion_future(self, future: asyncio.Future) -> None:
        """The launch does not end before ``future`` is done."""
        self._futures.add(future)
        future.add_done_callback(lambda _: self._wake.set())

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def finished_futures(self) -> list[asyncio.Future]:
        """Those done since the last call."""
        done = [future for future in self._futures if future.done()]
        self._futures.difference_update(done)
        return done

    @property
    def is_idle(self) -> bool:
        return not self._events and not self._futures

    async def wait(self) -> None:
        """Until an event comes or a future is done."""
        await self._wake.wait()
        self._wake.clear()

    def cleanup(self) -> None:
        """Remove temporary files."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _restore(mapping: Any, values: dict[str, Any]) -> None:
    for name in set(mapping) - set(values):
        del mapping[name]
    mapping.update(values)
