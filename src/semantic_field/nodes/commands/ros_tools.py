"""``semantic-field launch | topic | service``: ROS 2's own commands, for people without ROS 2.

Everything heavy is imported by the command that needs it.
"""

from __future__ import annotations

import argparse
from typing import Any


def add_commands(commands: Any) -> None:
    """Add launch, topic and service to the subparsers of ``semantic-field``.

    Every parser's ``handler`` takes the parsed arguments and returns an exit code.
    """
    _add_launch(commands)
    _add_topic(commands)
    _add_service(commands)


def _add_launch(commands: Any) -> None:
    command = commands.add_parser(
        "launch",
        help="start the nodes of a launch file",
        description="Start the nodes of a launch file, each as a process of its own. Ctrl-C stops "
        "them all; a second one does not wait for them to finish.",
    )
    command.add_argument(
        "file", metavar="FILE", help="a path, or demo.launch.py, mapping.launch.py"
    )
    command.add_argument(
        "arguments", nargs="*", metavar="name:=value", help="arguments of the launch file"
    )
    command.add_argument(
        "-s", "--show-args", action="store_true", help="list the arguments and start nothing"
    )
    command.add_argument("-d", "--debug", action="store_true", help="show where an error came from")
    command.add_argument(
        "--with-parent",
        action="store_true",
        help="for scripts: end as soon as the process that started this one does (Linux)",
    )
    command.set_defaults(handler=_launch)


def _launch(arguments: argparse.Namespace) -> int:
    from semantic_field.nodes.commands import launch_tool

    file, given = launch_tool.file_and_arguments(arguments.file, arguments.arguments)
    if arguments.show_args:
        return launch_tool.show_arguments(file)
    if arguments.with_parent:
        launch_tool.end_with_parent()
    return launch_tool.launch_file(file, given, debug=arguments.debug)


def _add_topic(commands: Any) -> None:
    topic = commands.add_parser("topic", help="list, measure and print topics")
    actions = topic.add_subparsers(title="commands", required=True, metavar="COMMAND")
    listing = actions.add_parser("list", help="names of all topics")
    listing.add_argument("-t", "--show-types", action="store_true", help="with their types")
    listing.set_defaults(handler=_topic_list)

    rate = actions.add_parser("hz", help="messages per second, until Ctrl-C")
    rate.add_argument("topic")
    rate.add_argument("--window", type=int, default=10000, help="messages (default: %(default)s)")
    rate.add_argument("--duration", type=float, default=None, help="stop after so many seconds")
    _add_wait(rate)
    rate.set_defaults(handler=_topic_hz)

    echo = actions.add_parser("echo", help="print the messages, until Ctrl-C")
    echo.add_argument("topic")
    echo.add_argument("type", nargs="?", help="for example sensor_msgs/msg/Image")
    echo.add_argument("--once", action="store_true", help="print one message")
    echo.add_argument("--field", help="print only this field, for example pose.position")
    echo.add_argument("--no-arr", action="store_true", help="leave out the content of arrays")
    echo.add_argument("-f", "--full-length", action="store_true", help="print long arrays whole")
    _add_wait(echo)
    echo.set_defaults(handler=_topic_echo)


def _add_service(commands: Any) -> None:
    service = commands.add_parser("service", help="list and call services")
    actions = service.add_subparsers(title="commands", required=True, metavar="COMMAND")
    listing = actions.add_parser("list", help="names of all services")
    listing.add_argument("-t", "--show-types", action="store_true", help="with their types")
    listing.set_defaults(handler=_service_list)

    call = actions.add_parser("call", help="call a service and print its answer")
    call.add_argument("name")
    call.add_argument("type", help="for example semantic_field/srv/Query")
    call.add_argument(
        "values", nargs="?", default="{}", help="the request as YAML: \"{text: 'red mug'}\""
    )
    call.add_argument("--timeout", type=float, default=30.0, help="seconds (default: %(default)s)")
    call.set_defaults(handler=_service_call)


def _add_wait(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--wait",
        type=float,
        default=10.0,
        help="seconds to wait for the topic to appear (default: %(default)s)",
    )


def _topic_list(arguments: argparse.Namespace) -> int:
    from semantic_field.nodes.commands import graph_tools

    return graph_tools.list_topics(arguments.show_types)


def _topic_hz(arguments: argparse.Namespace) -> int:
    from semantic_field.nodes.commands import graph_tools

    return graph_tools.measure_rate(
        arguments.topic, arguments.window, arguments.duration, arguments.wait
    )


def _topic_echo(arguments: argparse.Namespace) -> int:
    from semantic_field.nodes.commands import graph_tools

    return graph_tools.echo(
        arguments.topic,
        arguments.type,
        once=arguments.once,
        field=arguments.field,
        truncate=None if arguments.full_length else graph_tools.TRUNCATED,
        no_arr=arguments.no_arr,
        wait_s=arguments.wait,
    )


def _service_list(arguments: argparse.Namespace) -> int:
    from semantic_field.nodes.commands import graph_tools

    return graph_tools.list_services(arguments.show_types)


def _service_call(arguments: argparse.Namespace) -> int:
    from semantic_field.nodes.commands import graph_tools

    return graph_tools.call_service(
        arguments.name, arguments.type, arguments.values, arguments.timeout
    )
