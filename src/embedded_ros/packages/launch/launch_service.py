"""Runs launch descriptions until everything in them has ended."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import traceback
from collections.abc import Iterable, Iterator

from launch.event import Event
from launch.event_handler import EventHandler
from launch.events import IncludeLaunchDescription, Shutdown
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.logging import get_logger, launch_config


class LaunchService:
    """Visits launch descriptions, handles events, waits for processes, stops them all."""

    def __init__(
        self,
        *,
        argv: Iterable[str] | None = None,
        noninteractive: bool = False,
        debug: bool = False,
    ) -> None:
        self.context = LaunchContext(argv=argv, noninteractive=noninteractive)
        self._debug = debug
        self._logger = get_logger()
        self._thread: int | None = None
        self._return_code = 0
        self._interrupts = 0
        self.context.register_event_handler(
            EventHandler(
                matcher=lambda event: isinstance(event, IncludeLaunchDescription),
                entities=lambda event, context: event.launch_description,
            )
        )
        self.context.register_event_handler(
            EventHandler(
                matcher=lambda event: isinstance(event, Shutdown), entities=self._on_shutdown
            )
        )

    @property
    def event_loop(self) -> asyncio.AbstractEventLoop | None:
        return self.context.asyncio_loop

    def include_launch_description(self, launch_description: LaunchDescription) -> None:
        """Have a description visited as soon as the service runs."""
        self.emit_event(IncludeLaunchDescription(launch_description))

    def emit_event(self, event: Event) -> None:
        """Queue an event, from any thread."""
        loop = self.context.asyncio_loop
        if loop is None or self._thread == threading.get_ident():
            self.context.emit_event_sync(event)
        else:
            loop.call_soon_threadsafe(self.context.emit_event_sync, event)

    def shutdown(self, force_sync: bool = False) -> None:
        """End the launch, from any thread."""
        self.emit_event(Shutdown(reason="LaunchService.shutdown() called"))

    def run(self, *, shutdown_when_idle: bool = True) -> int:
        """Run until all is done; 0, or 1 where the launch itself failed."""
        return asyncio.run(self.run_async(shutdown_when_idle=shutdown_when_idle))

    async def run_async(self, *, shutdown_when_idle: bool = True) -> int:
        """As ``run``, in a running event loop."""
        self.context.asyncio_loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        launch_config.on_screen_lost = self._on_screen_lost
        self._logger.info(f"log files can be found below {launch_config.log_dir}")
        try:
            with self._signals():
                await self._run(shutdown_when_idle)
                self._cleanup()
        finally:
            launch_config.on_screen_lost = None
            self.context.asyncio_loop = None
        return self._return_code

    async def _run(self, shutdown_when_idle: bool) -> None:
        while True:
            event = self.context.next_event()
            if event is not None:
                self._handle(event)
                # Lets what is ready run between events, so that none of them starves.
                await asyncio.sleep(0)
                continue
            self._check_futures()
            if not self.context.is_idle:
                await self.context.wait()
            elif self.context.is_shutdown:
                return
            elif shutdown_when_idle:
                self.context.emit_event_sync(Shutdown(reason="idle"))
            else:
                await self.context.wait()

    def _cleanup(self) -> None:
        guard = self.context.resources.pop("guard", None)
        if guard is not None:
            guard.close()
        self.context.cleanup()
        launch_config.close()

    # --- events ---

    def _handle(self, event: Event) -> None:
        for handler in tuple(self.context.event_handlers):
            try:
                if handler.matches(event):
                    self.context._push_locals()
                    for entity in handler.handle(event, self.context):
                        self._visit(entity)
                    self.context._pop_locals()
            except Exception as error:
                # Whatever a launch file does wrong ends the launch, and says so.
                self._fail(error)

    def _visit(self, entity: LaunchDescriptionEntity) -> None:
        for sub_entity in entity.visit(self.context) or ():
            self._visit(sub_entity)
        future = entity.get_asyncio_future()
        if future is not None:
            self.context.add_completion_future(future)

    def _check_futures(self) -> None:
        for future in self.context.finished_futures():
            if not future.cancelled() and future.exception() is not None:
                self._fail(future.exception())

    def _fail(self, error: BaseException | None) -> None:
        assert error is not None
        text = f"{type(error).__name__}: {error}"
        if self._debug:
            text += "\n" + "".join(traceback.format_exception(error))
        self._logger.error(f"Caught exception in launch: {text}{_where(error)}")
        self._return_code = 1
        if not self.context.is_shutdown:
            # At once, so that what this event would still have started is not started.
            self.context.is_shutdown = True
            self.context.emit_event_sync(Shutdown(reason="exception in launch"))

    def _on_shutdown(self, event: Event, context: LaunchContext) -> None:
        assert isinstance(event, Shutdown)
        if not context.is_shutdown and event.reason != "idle":
            self._logger.info(f"shutting down: {event.reason}")
        context.is_shutdown = True

    def _on_screen_lost(self) -> None:
        self._return_code = 1
        self.shutdown()

    # --- signals ---

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Signals ask for an orderly end; only the main thread can take them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
        for number in handled:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        self._interrupts += 1
        if self._interrupts == 1:
            how = "ctrl-c (SIGINT)" if number == signal.SIGINT else number.name
            self._logger.warning(f"interrupted by {how}: stopping all processes")
            self.context.emit_event_sync(
                Shutdown(reason=number.name, due_to_sigint=number == signal.SIGINT)
            )
            return
        self._logger.warning(f"interrupted again ({number.name}): next signal at once")
        for runner in tuple(self.context.resources.get("running", ())):
            runner.escalate()


def _where(error: BaseException) -> str:
    """The line of the user's launch file that the error came from, if it came from one."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.endswith((".launch.py", "_launch.py")):
            return f" ({frame.filename}:{frame.lineno})"
    return ""
