"""``semantic-field demo``: runs the whole system on a recording, as a user would.

Starts ``demo.launch.py`` (replay, mapping, query and inference node as processes), shows mapping
progress, asks questions through the query service, compares the answers with ground truth, and
writes pictures, clouds, the map and a report.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from std_msgs.msg import Float32

from semantic_field.config import SourceConfig, TeacherConfig
from semantic_field.data.placed import placed
from semantic_field.data.sources import FrameSource, open_source
from semantic_field.evaluation.truth.known_answers import (
    Judgement,
    Question,
    fitting_questions,
    judge,
)
from semantic_field.evaluation.truth.true_objects import ReferenceObject, reference_objects
from semantic_field.msg import FieldStatus
from semantic_field.nodes.commands import demo_pictures, query_client
from semantic_field.nodes.commands.complete_command import parts_table
from semantic_field.nodes.commands.demo_object import complete_one
from semantic_field.nodes.commands.query_command import hits_table
from semantic_field.nodes.ros.client import Client, connected
from semantic_field.nodes.ros.qos import LATCHED
from semantic_field.settings import walk
from semantic_field.srv import MapFile, Query
from semantic_field.teachers import make_language_teacher

STOP_TIMEOUT_S = 40.0
STALL_TIMEOUT_S = 60.0
LEAST_STEPS = 1500  # on a busy machine, training time alone is not enough
LOG_NAME = "launch.log"
MAP_NAME = "map.safetensors"


@dataclass
class Watch:
    """The newest status and progress of the running nodes."""

    status: FieldStatus = field(default_factory=FieldStatus)
    progress: float = 0.0
    first_frame: float = 0.0  # monotonic seconds of the first published frame

    def listen(self, client: Client) -> None:
        """Subscribe to the status and the progress of the replay."""
        client.subscribe(FieldStatus, "status", self._on_status, LATCHED)
        client.subscribe(Float32, "replay_node/progress", self._on_progress, LATCHED)

    def _on_status(self, message: FieldStatus) -> None:
        self.status = message

    def _on_progress(self, message: Float32) -> None:
        self.progress = message.data
        self.first_frame = self.first_frame or time.monotonic()


def run_demo(
    location: str,
    out: Path,
    train_s: float,
    console: Console,
    teacher: TeacherConfig | None = None,
    reading: SourceConfig | None = None,
) -> int:
    """Run the demo; returns 0 if every question was answered correctly, else 1.

    ``train_s`` is the training time after the end of the recording, seconds.

    Raises:
        ValueError: if the recording or the teacher's weights cannot be read.
        RuntimeError: if a node ends, or the replay and the training stall.
    """
    teacher = teacher or TeacherConfig()
    if teacher.kind == "open_clip":
        make_language_teacher(teacher)  # fail early if weights are missing
    out.mkdir(parents=True, exist_ok=True)
    reading = reading or SourceConfig()
    source = placed(open_source(location, **reading.options()), origin=np.zeros(3))
    console.print(f"[bold]{source.name}[/]: {len(source)} frames")
    started = time.monotonic()
    up = up_axis(source)
    with launched(location, up, out, teacher, reading) as process, connected("demo") as client:
        watch = Watch()
        watch.listen(client)
        first_answer_s = _watch_mapping(client, watch, process, out / LOG_NAME, train_s, console)
        reference = reference_objects(source)
        questions = fitting_questions(reference)
        answers = {q.text: _ask(client, q.text) for q in questions}
        pictures, not_inferred = demo_pictures.write(client, source, answers, up, out)
        completed = complete_one(client, answers, out)
        saved = client.call(MapFile, "save_map", MapFile.Request())
        status = watch.status
    if completed["success"]:
        pictures += ["completed.png", "completed.ply"]
    judgements = _judge(questions, answers, reference)
    _print_answers(console, answers, judgements, reference)
    report = {
        "input": location,
        "seconds": round(time.monotonic() - started, 1),
        "seconds_to_first_answer": first_answer_s,
        "answers": [query_client.to_dict(text, answer) for text, answer in answers.items()],
        "judgements": [asdict(j) | {"right": j.right} for j in judgements],
        "mapping": _status_dict(status),
        "map": saved.message,
        "not_inferred": not_inferred,
        "completed": completed,
        "files": sorted(pictures),
    }
    (out / "report.json").write_text(json.dumps(report, indent=2))
    console.print(f"{saved.message}\nwritten to [bold]{out}/[/]: " + ", ".join(sorted(pictures)))
    if completed["success"]:
        console.print(parts_table(completed))
    else:
        console.print(f"[yellow]no whole object: {completed['message']}[/]")
    if not_inferred:
        console.print(f"[yellow]no view of the inference node: {not_inferred}[/]")
    wrong = [j.text for j in judgements if not j.right]
    if wrong:
        console.print(f"[red]wrong: {', '.join(wrong)}[/]")
    return 1 if wrong else 0


def up_axis(source: FrameSource) -> str:
    """Return the world axis nearest to up, such as "+z", assuming the camera is held upright."""
    indices = range(0, len(source), max(1, len(source) // 10))
    up = -np.mean([source[i].T_world_camera[:3, 1] for i in indices], axis=0)
    axis = int(np.abs(up).argmax())
    return ("+" if up[axis] > 0 else "-") + "xyz"[axis]


@contextmanager
def launched(
    location: str, up: str, out: Path, teacher: TeacherConfig, reading: SourceConfig
) -> Iterator[subprocess.Popen]:
    """Run ``demo.launch.py`` in its own process group; stop it with SIGINT at the end."""
    command = [
        sys.executable,
        "-m",
        "semantic_field.cli",
        "launch",
        "--with-parent",
        "demo.launch.py",
    ]
    command += [
        "inference:=true",
        f"input:={location}",
        f"up:={up}",
        f"map_path:={out.absolute() / MAP_NAME}",
    ]
    command += [f"teacher:={teacher.kind}", f"checkpoint:={_absolute(teacher.path)}"]
    command += [f"architecture:={_absolute(teacher.architecture)}"]
    command += [f"language_source:={'images' if teacher.kind == 'open_clip' else 'labels'}"]
    command += [f"{n}:={v}" for n, item, v in walk(reading) if v != item.default]
    command += [f"sigterm_timeout:={STOP_TIMEOUT_S / 2:.0f}"]
    log = out / LOG_NAME
    with log.open("w") as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
                try:
                    process.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    raise


def _absolute(name: str) -> str:
    """Return the absolute path of an existing file or folder; anything else unchanged."""
    path = Path(name).expanduser()
    return str(path.absolute()) if name and path.exists() else name


def _watch_mapping(
    client: Client,
    watch: Watch,
    process: subprocess.Popen,
    log: Path,
    train_s: float,
    console: Console,
) -> float | None:
    """Show progress until the recording has ended and ``train_s`` more have passed.

    Returns the seconds from the first frame to the first answer, or None if there was none.
    """
    first_answer: float | None = None
    ended = 0.0
    stalled = Stall(watch)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        replay = bar.add_task("replaying", total=1.0)
        while not ended or time.monotonic() - ended < train_s or watch.status.steps < LEAST_STEPS:
            time.sleep(0.25)
            now = time.monotonic()
            died = [line for line in log.read_text().splitlines() if "process has died" in line]
            if died or process.poll() is not None or stalled.for_long(now):
                reason = died[0].partition(" [pid")[0] if died else "the nodes do not go on"
                raise RuntimeError(f"{reason}: see {log}")
            if watch.first_frame and first_answer is None:
                first_answer = _try_answer(client, watch.first_frame)
            if watch.status.state == "failed":
                raise RuntimeError(f"{watch.status.error}: see {log}")
            if watch.progress >= 1.0 and not ended:
                ended = now
            bar.update(replay, completed=watch.progress, description=_describe(watch, bool(ended)))
    return first_answer


class Stall:
    """Detects that neither the replay nor the training progresses, after the first frame.

    Before that, the replay waits for compiled kernels and has its own timeout.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch, self._seen, self._since = watch, (-1.0, -1), time.monotonic()

    def for_long(self, now: float) -> bool:
        """Return True after ``STALL_TIMEOUT_S`` without progress; ``now``: monotonic seconds."""
        seen = (self._watch.progress, self._watch.status.steps)
        if seen != self._seen or not self._watch.first_frame:
            self._seen, self._since = seen, now
        return now - self._since > STALL_TIMEOUT_S


def _try_answer(client: Client, first_frame: float) -> float | None:
    answered = query_client.ask(client, "floor", timeout_s=60.0).success
    return round(time.monotonic() - first_frame, 1) if answered else None


def _ask(client: Client, text: str) -> Query.Response:
    """Return the answer with its cloud, which the pictures need."""
    return query_client.ask(client, text, timeout_s=60.0, with_cloud=True)


def _describe(watch: Watch, ended: bool) -> str:
    status = watch.status
    losses = {entry.name: entry.value for entry in status.losses}
    return (
        f"{'training ' if ended else 'replaying'}  keyframes {status.keyframes:3d}  "
        f"steps {status.steps:5d}  {status.rays_per_second / 1000:5.1f}k rays/s  "
        f"colour loss {losses.get('color', 0.0):.4f}"
    )


def _judge(
    questions: list[Question],
    answers: dict[str, Query.Response],
    reference: list[ReferenceObject],
) -> list[Judgement]:
    return [
        judge(
            question,
            answers[question.text].found,
            [hit["position"] for hit in query_client.to_dict("", answers[question.text])["hits"]],
            reference,
        )
        for question in questions
    ]


def _print_answers(
    console: Console,
    answers: dict[str, Query.Response],
    judgements: list[Judgement],
    reference: list[ReferenceObject],
) -> None:
    for text, answer in answers.items():
        console.print(hits_table(query_client.to_dict(text, answer)))
    truth = Table(title="what is really there", title_justify="left")
    for column in ("question", "there", "found", "best hit's error (m)", "nearest object", ""):
        truth.add_column(column)
    for j in judgements:
        error = f"{j.errors_m[0]:.2f}" if j.errors_m else "-"
        near = j.nearest[0] if j.nearest else "-"
        verdict = "[green]right[/]" if j.right else "[red]wrong[/]"
        truth.add_row(j.text, _yes(j.expected), _yes(j.found), error, near, verdict)
    console.print(truth)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _status_dict(status: FieldStatus) -> dict:
    return {
        "frames_received": int(status.frames_received),
        "keyframes": int(status.keyframes),
        "steps": int(status.steps),
        "rays_per_second": round(float(status.rays_per_second)),
        "losses": {entry.name: round(float(entry.value), 5) for entry in status.losses},
        "dropped": {entry.cause: int(entry.count) for entry in status.dropped},
        "memory_mb": round(status.memory_bytes / 1e6),
        "kernels": status.kernels,
        "teacher": status.teacher,
        "teacher_state": status.teacher_state,
        "teacher_keyframes": int(status.teacher_keyframes),
        "teacher_backlog": int(status.teacher_backlog),
        "teacher_rate": round(float(status.teacher_rate), 3),
    }
