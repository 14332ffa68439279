"""``semantic-field`` command line. Heavy imports are inside the commands, for a fast start."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from semantic_field.config import Config, MappingConfig, QueryConfig, TeacherConfig
from semantic_field.data.source_options import add_source_options, joined_axes, source_config
from semantic_field.settings import updated

Handler = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; expected errors are one line on stderr."""
    arguments = _parser().parse_args(joined_axes(sys.argv[1:] if argv is None else argv))
    try:
        return arguments.handler(arguments)
    except (ValueError, OSError, TimeoutError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="semantic-field", description="A live semantic field from posed RGB-D."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_precompute(commands)
    _add_query(commands)
    _add_complete(commands)
    _add_convert(commands)
    _add_annotation(commands)
    _add_export(commands)
    _add_training(commands)
    _add_evaluation(commands)
    _add_ros_tools(commands)
    return parser


def _add_demo(commands) -> None:
    command = commands.add_parser("demo", help="map a recording and ask it questions")
    command.add_argument(
        "--input", default="room", help="folder, rosbag2 or room[:seed=3] (default: %(default)s)"
    )
    command.add_argument("--out", type=Path, default=Path("demo_out"), help="output folder")
    command.add_argument(
        "--train-seconds",
        type=float,
        default=40.0,
        help="training after the recording has ended (default: %(default)s)",
    )
    command.add_argument(
        "--language", default="label_text", help="language teacher (default: %(default)s)"
    )
    command.add_argument("--checkpoint", default="", help="its weights: a file or a folder")
    command.add_argument(
        "--architecture",
        default=TeacherConfig.architecture,
        help="of the weights: open_clip's name or a JSON file (default: %(default)s)",
    )
    add_source_options(command)
    command.set_defaults(handler=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from semantic_field.nodes.commands.demo import run_demo

    teacher = TeacherConfig(
        kind=arguments.language, path=arguments.checkpoint, architecture=arguments.architecture
    )
    return run_demo(
        arguments.input,
        arguments.out,
        arguments.train_seconds,
        Console(),
        teacher,
        source_config(arguments),
    )


def _add_precompute(commands) -> None:
    command = commands.add_parser(
        "precompute", help="let the teachers look at a recording and keep what they say"
    )
    command.add_argument("input", help="folder, rosbag2 or room[:seed=3]")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting, as teacher.path=clip.safetensors or teacher.store=features",
    )
    add_source_options(command)
    command.set_defaults(handler=_precompute)


def _precompute(arguments: argparse.Namespace) -> int:
    from rich.progress import track

    from semantic_field.data.sources import open_source
    from semantic_field.mapping.language.teaching import precompute
    from semantic_field.teachers import make_language_teacher
    from semantic_field.teachers.image_teachers import make_image_teachers

    pairs = [entry.partition("=") for entry in arguments.set]
    values = {name: yaml.safe_load(value) for name, _, value in pairs}
    always = {"teacher.kind": "open_clip", "language.source": "images"}
    config = updated(updated(Config(), always), values)
    if not config.teacher.store:
        raise ValueError("expected a folder to keep features in: --set teacher.store=FOLDER")
    image_teachers = make_image_teachers(config, make_language_teacher(config.teacher))
    if image_teachers is None:
        raise ValueError(f"expected teachers of images, got teacher.kind {config.teacher.kind}")
    source = open_source(arguments.input, **source_config(arguments).options())
    frames = (source[i] for i in range(len(source)))
    for _ in track(
        precompute(frames, image_teachers, config.mapping), "looking", total=len(source)
    ):
        pass
    return 0


def _add_query(commands) -> None:
    command = commands.add_parser("query", help="ask the running query node")
    command.add_argument("text", nargs="*", help='one or more, for example "somewhere to sit"')
    command.add_argument(
        "--image", type=Path, help="PNG or JPEG of what is looked for, in place of texts"
    )
    command.add_argument("--negative", action="append", default=[], help="a text to beat")
    command.add_argument("--threshold", type=float, default=0.0, help="relevancy 0..1 of a hit")
    command.add_argument("--max-hits", type=int, default=0)
    command.add_argument(
        "--segment", action="store_true", help="texts are names: which one is each point?"
    )
    command.add_argument("--out", type=Path, help="with --segment: the new .ply of those points")
    command.add_argument("--timeout", type=float, default=30.0, help="seconds")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(handler=_query)


def _query(arguments: argparse.Namespace) -> int:
    from semantic_field.nodes.commands.query_command import run

    return run(arguments)


def _add_complete(commands) -> None:
    command = commands.add_parser(
        "complete", help="complete a hit to a whole object with parts: what was not seen, too"
    )
    command.add_argument("id", nargs="?", type=int, help="of a hit, as semantic-field query says")
    command.add_argument("--text", default="", help="what to complete, in place of an id")
    command.add_argument("--category", default="", help="what it is, if its label does not say so")
    command.add_argument("--out", type=Path, help="the new .ply with parts and observed flags")
    command.add_argument("--map", type=Path, help="a saved map, in place of the running nodes")
    command.add_argument("--priors", default="", help="with --map: folder of priors of your own")
    command.add_argument(
        "--up",
        default=QueryConfig.up,
        help="with --map: axis that points up (default: %(default)s)",
    )
    command.add_argument(
        "--language", default="label_text", help="with --map: its language teacher"
    )
    command.add_argument("--checkpoint", default="", help="with --map: the teacher's weights")
    command.add_argument(
        "--architecture", default=TeacherConfig.architecture, help="with --map: of these weights"
    )
    command.add_argument("--timeout", type=float, default=60.0, help="seconds")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(handler=_complete)


def _complete(arguments: argparse.Namespace) -> int:
    from semantic_field.nodes.commands.complete_command import run

    return run(arguments)


def _add_convert(commands) -> None:
    command = commands.add_parser("convert", help="write a recording as a rosbag2 or a folder")
    command.add_argument("input", help="folder, rosbag2 or room[:seed=3]")
    command.add_argument("output", type=Path, help="the new rosbag2 (or folder, with --to folder)")
    command.add_argument("--to", choices=("bag", "folder"), default="bag")
    command.add_argument("--storage", choices=("sqlite3", "mcap"), default="mcap")
    command.add_argument("--compressed", action="store_true", help="compressed images")
    command.add_argument("--rate", type=float, help="frames per second; else as recorded")
    command.add_argument("--lossless", action="store_true", help="colour of a folder as PNG")
    add_source_options(command)
    command.set_defaults(handler=_convert)


def _convert(arguments: argparse.Namespace) -> int:
    from rich.progress import track

    from semantic_field.data.bag_writer import write_bag
    from semantic_field.data.folder_writer import write_folder
    from semantic_field.data.sources import open_source

    source = open_source(arguments.input, **source_config(arguments).options())
    frames = track(range(len(source)), description=f"writing {arguments.output}")
    if arguments.to == "folder":
        suffix = ".png" if arguments.lossless else ".jpg"
        write_folder(source, arguments.output, suffix, frames)
    else:
        write_bag(
            source,
            arguments.output,
            storage=arguments.storage,
            compressed=arguments.compressed,
            rate_hz=arguments.rate,
            indices=frames,
        )
    return 0


def _add_annotation(commands) -> None:
    from semantic_field.annotation.commands import add_commands

    add_commands(commands)


def _add_export(commands) -> None:
    command = commands.add_parser("export", help="write a saved map as a mesh or a point cloud")
    command.add_argument("map", type=Path, help="map file, as save_map writes it")
    command.add_argument("--mesh", type=Path, help="the new .ply or .glb")
    command.add_argument("--cloud", type=Path, help="the new .ply or .pcd")
    command.add_argument(
        "--spacing", type=float, default=0.03, help="of the cloud's points, metres"
    )
    command.add_argument(
        "--texture",
        action="store_true",
        help="colour the mesh (.glb) by a texture made from the keyframes, not at its vertices",
    )
    command.add_argument(
        "--texel",
        type=float,
        metavar="METRES",
        help="edge of the texture's pixels; else as fine as the keyframes show the surface",
    )
    command.add_argument(
        "--appearance",
        choices=("views", "field"),
        default=MappingConfig.appearance,
        help="colours and labels by the map's keyframes or by the field (default: %(default)s)",
    )
    command.set_defaults(handler=_export)


def _export(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from semantic_field.field.map_file import load_map, read_map
    from semantic_field.mapping.exporting import Export, export

    wanted = Export(
        mesh=arguments.mesh,
        cloud=arguments.cloud,
        spacing_m=arguments.spacing,
        texture=arguments.texture,
        texel_m=arguments.texel,
        appearance=arguments.appearance,
    )
    state = load_map(read_map(arguments.map))
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("texture", total=1.0, visible=arguments.texture)
        export(state, wanted, print, lambda done: bar.update(task, completed=done))
    return 0


def _add_training(commands) -> None:
    from semantic_field.generalizable.training.train_commands import add_commands
    from semantic_field.object_prior.training.prior_commands import add_prior_commands

    add_commands(commands)
    add_prior_commands(commands)


def _add_evaluation(commands) -> None:
    from semantic_field.evaluation.commands import add_commands

    add_commands(commands)


def _add_ros_tools(commands) -> None:
    from semantic_field.nodes.commands.ros_tools import add_commands

    add_commands(commands)


if __name__ == "__main__":
    raise SystemExit(main())
