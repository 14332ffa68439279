"""Conversion of the elements of XML and YAML launch files to actions."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    SetEnvironmentVariable,
    SetLaunchConfiguration,
    Shutdown,
)
from launch.conditions import IfCondition, UnlessCondition, is_true
from launch.entities import Action, LaunchDescription
from launch.launch_description_source import InvalidLaunchFileError, LaunchDescriptionSource
from launch.substitution import TextSubstitution

from launch_ros.actions import Node, PushRosNamespace
from launch_ros.markup.elements import Element
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue
from launch_ros.text_substitutions import parse_substitution

_TYPES = {"bool": bool, "int": int, "float": float, "str": str}


def description_of(
    root: Element, source: Callable[[Any], LaunchDescriptionSource]
) -> LaunchDescription:
    """Return the launch description of a launch file's root element.

    Args:
        source: makes the source of an included file from its path as substitutions.
    Raises:
        InvalidLaunchFileError: if a tag or attribute is unknown, missing or contradicts another.
    """
    if root.tag != "launch":
        raise InvalidLaunchFileError(f"expected the root 'launch', got {root.tag!r}")
    root.take("version", None)
    tags = _Tags(source)
    actions = [tags.action(item) for item in root.take_below()]
    root.finish()
    return LaunchDescription(actions)


class _Tags:
    """Converts elements to actions."""

    def __init__(self, source: Callable[[Any], LaunchDescriptionSource]) -> None:
        self._source = source
        self._makers = {**_MAKERS, "include": self._include, "group": self._group}

    def action(self, element: Element) -> Action:
        """Return the action of an element.

        Raises:
            InvalidLaunchFileError: see ``description_of``.
        """
        make = self._makers.get(element.tag)
        if make is None:
            known = ", ".join(sorted(self._makers))
            raise InvalidLaunchFileError(
                f"no tag <{element.tag}> without ROS 2; there are: {known}"
            )
        action = make(element, **_condition(element))
        element.finish()
        return action

    def _include(self, element: Element, **given: Any) -> Action:
        pairs = [_pair(item, "name", "value") for item in element.take_below("arg")]
        source = self._source(_text(element.take("file")))
        return IncludeLaunchDescription(source, launch_arguments=pairs, **given)

    def _group(self, element: Element, **given: Any) -> Action:
        return GroupAction([self.action(item) for item in element.take_below()], **given)


def _condition(element: Element) -> dict[str, Any]:
    held, not_held = element.take("if", None), element.take("unless", None)
    if held is not None and not_held is not None:
        raise InvalidLaunchFileError(f"<{element.tag}>: expected 'if' or 'unless', got both")
    if held is not None:
        return {"condition": IfCondition(_text(held))}
    return {} if not_held is None else {"condition": UnlessCondition(_text(not_held))}


def _argument(element: Element, **given: Any) -> Action:
    choices = [item.only("value")[0] for item in element.take_below("choice")]
    return DeclareLaunchArgument(
        element.take("name"),
        description=element.take("description", None),
        choices=choices or None,
        **_optional(element, default_value="default"),
        **given,
    )


def _executable(element: Element, **given: Any) -> Action:
    return ExecuteProcess(
        cmd=_words(element.take("cmd")),
        **_optional(element, name="name"),
        **_process_options(element),
        **given,
    )


def _node(element: Element, **given: Any) -> Action:
    return Node(
        executable=_text(element.take("exec")),
        arguments=_words(element.take("args", "")),
        ros_arguments=_words(element.take("ros_args", "")),
        parameters=[_parameter(item) for item in element.take_below("param")],
        remappings=[_pair(item, "from", "to") for item in element.take_below("remap")],
        **_optional(element, package="pkg", name="name", namespace="namespace"),
        **_process_options(element),
        **given,
    )


def _process_options(element: Element) -> dict[str, Any]:
    on_exit = element.take("on_exit", None)
    if on_exit not in (None, "shutdown"):
        raise InvalidLaunchFileError(f"<{element.tag}>: expected on_exit=shutdown, got {on_exit!r}")
    return {
        "on_exit": [Shutdown()] if on_exit else None,
        **_optional(element, output="output"),
    }


def _parameter(element: Element) -> Any:
    file = element.take("from", None)
    if file is not None:
        substituted = is_true(str(element.take("allow_substs", False)))
        parameter = ParameterFile(_text(file), allow_substs=substituted)
    else:
        name, kind = element.take("name"), element.take("type", None)
        if kind not in (None, *_TYPES):
            raise InvalidLaunchFileError(f"expected a type of {', '.join(_TYPES)}, got {kind!r}")
        parameter = {name: _value(element.take("value"), _TYPES.get(kind))}
    element.finish()
    return parameter


def _value(value: Any, kind: type | None) -> Any:
    if isinstance(value, str):
        return ParameterValue(_text(value), value_type=kind)
    if isinstance(value, list):
        return [_text(item) if isinstance(item, str) else item for item in value]
    return value


def _text(value: Any) -> list:
    return parse_substitution(value if isinstance(value, str) else str(value))


def _words(value: Any) -> list[list]:
    """Split a command line into words like a shell; a substitution is part of one word.

    Raises:
        ValueError: if a quotation is not closed, or contains a substitution.
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
    """Return the attributes that exist as keyword arguments: ``argument="attribute"``."""
    found = {argument: element.take(name, None) for argument, name in names.items()}
    return {argument: _text(value) for argument, value in found.items() if value is not None}


def _pair(element: Element, *names: str) -> tuple[list, list]:
    first, second = element.only(*names)
    return _text(first), _text(second)


_MAKERS: dict[str, Callable[..., Action]] = {
    "arg": _argument,
    "let": lambda e, **given: SetLaunchConfiguration(
        _text(e.take("name")), _text(e.take("value")), **given
    ),
    "set_env": lambda e, **given: SetEnvironmentVariable(
        _text(e.take("name")), _text(e.take("value")), **given
    ),
    "push_ros_namespace": lambda e, **given: PushRosNamespace(_text(e.take("namespace")), **given),
    "executable": _executable,
    "node": _node,
}
