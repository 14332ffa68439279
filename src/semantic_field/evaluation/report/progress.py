"""The progress bar of the commands that evaluate."""

from __future__ import annotations


def progress_bar(console):
    """Return a context manager that shows a progress bar and yields its update function."""
    from contextlib import contextmanager

    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    @contextmanager
    def bar():
        columns = (TextColumn("{task.description:<18}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as shown:
            task = shown.add_task("", total=1.0)
            yield lambda text, share: shown.update(task, description=text, completed=share)

    return bar()
