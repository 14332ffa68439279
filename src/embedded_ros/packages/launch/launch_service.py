"""The service that runs launch descriptions until all of their processes have ended."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import traceback
from collections.abc import Iterable, Iterator

from launch.entities import LaunchDescription, visit
from launch.launch_context import LaunchContext
from launch.logging import get_logger, output

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class LaunchService:
    """Launches descriptions, waits for their processes, and stops them on signals and errors.

    Args:
        argv: arguments of the launch.
        debug: whether to log tracebacks of errors of the launch.
    """

    def __init__(self, *, argv: Iterable[str] | None = None, debug: bool = False) -> None:
        self.context = LaunchContext(argv=argv)
        self._debug = debug
        self._descriptions: list[LaunchDescription] = []
        self._return_code = 0
        self._interrupted = False

    def include_launch_description(self, launch_description: LaunchDescription) -> None:
        """Add a description, which is launched by ``run``."""
        self._descriptions.append(launch_description)

    def run(self) -> int:
        """Run until everything has ended; must be called in the main thread.

        Returns 0, or 1 if the launch itself failed; exit codes of processes do not count.
        """
        return asyncio.run(self._run())

    async def _run(self) -> int:
        output.on_screen_lost = self._on_screen_lost
        get_logger().info(f"log files can be found below {output.folder}")
        try:
            with self._signals():
                try:
                    await self._visit_and_wait()
                finally:
                    self.context.cleanup()
        finally:
            output.close()
            output.on_screen_lost = None
        return self._return_code

    async def _visit_and_wait(self) -> None:
        for description in self._descriptions:
            try:
                visit(description, self.context)
            except Exception as error:
                # Any error in a launch file is logged and ends the launch.
                self._fail(error)
        tasks = self.context.tasks
        while tasks:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            tasks -= done
            for task in done:
                if task.exception() is not None:
                    self._fail(task.exception())

    def _fail(self, error: BaseException) -> None:
        text = f"{type(error).__name__}: {error}"
        if self._debug:
            text += "\n" + "".join(traceback.format_exception(error))
        get_logger().error(f"Caught exception in launch: {text}{_where(error)}")
        self._return_code = 1
        self.context.shut_down("exception in launch")

    def _on_screen_lost(self) -> None:
        self._return_code = 1
        self.context.shut_down("the screen is gone")

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Context manager in which signals shut the launch down."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._interrupted:
            get_logger().warning(f"interrupted again ({number.name}): next signal at once")
            for process in tuple(self.context.processes):
                process.escalate()
            return
        self._interrupted = True
        how = "ctrl-c (SIGINT)" if number == signal.SIGINT else number.name
        get_logger().warning(f"interrupted by {how}: stopping all processes")
        self.context.shut_down(number.name)


def _where(error: BaseException) -> str:
    """Return the line of the launch file in which an error was raised; "" if in none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.endswith((".launch.py", "_launch.py")):
            return f" ({frame.filename}:{frame.lineno})"
    return ""
