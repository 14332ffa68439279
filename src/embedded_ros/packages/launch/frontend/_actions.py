"""The elements of XML and YAML launch files as actions."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    LogInfo,
    SetEnvironmentVariable,
    SetLaunchConfiguration,
    Shutdown,
    UnsetEnvironmentVariable,
)
from launch.conditions import IfCondition, UnlessCondition, evaluate_condition_text
from launch.frontend._markup import Element
from launch.frontend.parse_substitution import parse_substitution
from launch.invalid_launch_file_error import InvalidLaunchFileError
from launch.launch_description import LaunchDescription
from launch.substitutions import TextSubstitution

_TYPES = {"bool": bool, "int": int, "float": float, "str": str}


def description_of(root: Element) -> LaunchDescription:
    """What a launch file's root element describes.

    Raises:
        InvalidLaunchFileError: a tag or attribute is unknown, missing or contradicts another.
    """
    if root.tag != "launch":
        raise InvalidLaunchFileError(f"expected the root 'launch', got {root.tag!r}")
    root.take("version", None)
    reason = root.take("deprecated", None)
    actions = [_action(item) for item in root.take_below()]
    root.finish()
    return LaunchDescription(actions, deprecated_reason=reason)


def _action(element: Element) -> Action:
    make = _MAKERS.get(element.tag)
    if make is None:
        known = ", ".join(sorted(_MAKERS))
        raise InvalidLaunchFileError(f"no tag <{element.tag}> without ROS 2; there are: {known}")
    action = make(element, _condition(element))
    element.finish()
    return action


def _condition(element: Element) -> dict[str, Any]:
    held, not_held = element.take("if", None), element.take("unless", None)
    if held is not None and not_held is not None:
        raise InvalidLaunchFileError(f"<{element.tag}>: expected 'if' or 'unless', got both")
    if held is not None:
        return {"condition": IfCondition(_text(held))}
    return {} if not_held is None else {"condition": UnlessCondition(_text(not_held))}


def _text(value: Any) -> list:
    return parse_substitution(value if isinstance(value, str) else str(value))


def _words(value: Any) -> list[list]:
    """A command line as its words, by a shell's rules; a substitution never ends one.

    Raises:
        ValueError: a quotation is not closed, or goes around a substitution.
    """
    words: list[list] = [[]]
    for part in _text(value):
        if not isinstance(part, TextSubstitution):
            words[-1].append(part)
            continue
        words += [[]] if part.text[:1].isspace() else []
        for number, word in enumerate(shlex.split(part.text)):
            words += [[]] if number else []
            words[-1].append(TextSubstitution(text=word))
        words += [[]] if part.text[-1:].isspace() else []
    return [word for word in words if word]


def _optional(element: Element, **names: str) -> dict[str, Any]:
    """Attributes that are there, as keyword arguments: ``name_of_argument="attribute"``."""
    found = {argument: element.take(name, None) for argument, name in names.items()}
    return {argument: _text(value) for argument, value in found.items() if value is not None}


def _argument(element: Element, given: dict) -> Action:
    name = element.take("name")
    choices = [_finished(item, "value") for item in element.take_below("choice")]
    return DeclareLaunchArgument(
        name,
        description=element.take("description", None),
        choices=choices or None,
        **_optional(element, default_value="default"),
        **given,
    )


def _let(element: Element, given: dict) -> Action:
    return SetLaunchConfiguration(element.take("name"), _text(element.take("value")), **given)


def _include(element: Element, given: dict) -> Action:
    given_arguments = [*element.take_below("arg"), *element.take_below("let")]
    pairs = [_pair(item, "name", "value") for item in given_arguments]
    return IncludeLaunchDescription(_text(element.take("file")), launch_arguments=pairs, **given)


def _group(element: Element, given: dict) -> Action:
    flags = {name: element.take(name, True) for name in ("scoped", "forwarding")}
    kept = {item.take("name"): _text(item.take("value")) for item in element.take_below("keep")}
    return GroupAction(
        [_action(item) for item in element.take_below()],
        launch_configurations=kept,
        **{name: evaluate_condition_text(str(value)) for name, value in flags.items()},
        **given,
    )


def _process_options(element: Element) -> dict[str, Any]:
    options = _optional(
        element,
        output="output",
        prefix="launch-prefix",
        cwd="cwd",
        respawn="respawn",
        respawn_delay="respawn_delay",
        sigterm_timeout="sigterm_timeout",
        sigkill_timeout="sigkill_timeout",
    )
    on_exit = element.take("on_exit", None)
    if on_exit not in (None, "shutdown"):
        raise InvalidLaunchFileError(f"<{element.tag}>: expected on_exit=shutdown, got {on_exit!r}")
    environment = dict(
        (tuple(name), value)
        for name, value in (_pair(item, "name", "value") for item in element.take_below("env"))
    )
    return (
        options
        | ({"on_exit": [Shutdown()]} if on_exit else {})
        | ({"additional_env": environment} if environment else {})
    )


def _executable(element: Element, given: dict) -> Action:
    return ExecuteProcess(
        cmd=_words(element.take("cmd")),
        shell=evaluate_condition_text(str(element.take("shell", False))),
        **_optional(element, name="name"),
        **_process_options(element),
        **given,
    )


def _node(element: Element, given: dict) -> Action:
    from launch_ros.actions import Node

    return Node(
        executable=_text(element.take("exec")),
        arguments=_words(element.take("args", "")),
        ros_arguments=_words(element.take("ros_args", "")),
        parameters=[_parameter(item) for item in element.take_below("param")],
        remappings=[_pair(item, "from", "to") for item in element.take_below("remap")],
        **_optional(
            element, package="pkg", name="name", namespace="namespace", exec_name="exec_name"
        ),
        **_process_options(element),
        **given,
    )


def _parameter(element: Element) -> Any:
    from launch_ros.descriptions import ParameterFile

    file = element.take("from", None)
    if file is None:
        return _parameter_value(element)
    substituted = evaluate_condition_text(str(element.take("allow_substs", False)))
    element.finish()
    return ParameterFile(_text(file), allow_substs=substituted)


def _parameter_value(element: Element) -> dict[str, Any]:
    from launch_ros.descriptions import ParameterValue

    name, kind = element.take("name"), element.take("type", None)
    below = element.take_below("param")
    if below:
        nested = [_parameter_value(item) for item in below]
        element.finish()
        return {name: {key: value for item in nested for key, value in item.items()}}
    value = element.take("value")
    element.finish()
    if isinstance(value, str):
        return {name: ParameterValue(_text(value), value_type=_type(kind))}
    if isinstance(value, list):
        return {name: [parse_substitution(v) if isinstance(v, str) else v for v in value]}
    return {name: value}


def _type(kind: str | None) -> Any:
    if kind is None:
        return None
    word = kind.removeprefix("list_of_")
    if word not in _TYPES:
        raise InvalidLaunchFileError(f"expected a type of {', '.join(_TYPES)}, got {kind!r}")
    return list[_TYPES[word]] if word != kind else _TYPES[word]


def _pair(element: Element, first: str, second: str) -> tuple[list, list]:
    pair = _text(element.take(first)), _text(element.take(second))
    element.finish()
    return pair


def _finished(element: Element, name: str) -> Any:
    value = element.take(name)
    element.finish()
    return value


def _environment(element: Element, given: dict) -> Action:
    return SetEnvironmentVariable(*(_text(element.take(n)) for n in ("name", "value")), **given)


def _namespace(element: Element, given: dict) -> Action:
    from launch_ros.actions import PushRosNamespace

    return PushRosNamespace(_text(element.take("namespace")), **given)


def _set_parameter(element: Element, given: dict) -> Action:
    from launch_ros.actions import SetParameter

    value = element.take("value")
    return SetParameter(
        element.take("name"), _text(value) if isinstance(value, str) else value, **given
    )


def _sim_time(element: Element, given: dict) -> Action:
    from launch_ros.actions import SetUseSimTime

    return SetUseSimTime(evaluate_condition_text(str(element.take("value"))), **given)


def _remap(element: Element, given: dict) -> Action:
    from launch_ros.actions import SetRemap

    return SetRemap(_text(element.take("from")), _text(element.take("to")), **given)


_MAKERS: dict[str, Callable[[Element, dict], Action]] = {
    "arg": _argument,
    "let": _let,
    "include": _include,
    "group": _group,
    "node": _node,
    "executable": _executable,
    "set_env": _environment,
    "unset_env": lambda e, given: UnsetEnvironmentVariable(_text(e.take("name")), **given),
    "log": lambda e, given: LogInfo(msg=_text(e.take("message")), **given),
    "push_ros_namespace": _namespace,
    "push-ros-namespace": _namespace,
    "set_parameter": _set_parameter,
    "set_use_sim_time": _sim_time,
    "set_remap": _remap,
}
