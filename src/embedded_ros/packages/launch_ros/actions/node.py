"""The action that runs a ROS node as a process."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from launch.actions import ExecuteProcess
from launch.launch_context import LaunchContext
from launch.substitution import SomeSubstitutionsType, text_of

from launch_ros.actions.scoping import NAMESPACE, PARAMETERS, absolute_namespace
from launch_ros.executables import Executable, executable_command
from launch_ros.parameter_descriptions import SomeParameters, parameter_file

_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_ANY_NODE = "/**"
Remapping = tuple[SomeSubstitutionsType, SomeSubstitutionsType]


class Node(ExecuteProcess):
    """Runs an executable of a package as a ROS node.

    Args:
        executable: name of the executable.
        package: its package; None = ``executable`` is a program or its path.
        name, namespace: of the node; None = its own name, and the current namespace.
        exec_name: name of the process in the output.
        parameters: files, mappings of names to values, or ``ParameterFile``; later ones win.
        remappings: pairs of old and new names.
        ros_arguments: further arguments after ``--ros-args``.
        arguments: further arguments before ``--ros-args``.
    """

    def __init__(
        self,
        *,
        executable: SomeSubstitutionsType,
        package: SomeSubstitutionsType | None = None,
        name: SomeSubstitutionsType | None = None,
        namespace: SomeSubstitutionsType | None = None,
        exec_name: SomeSubstitutionsType | None = None,
        parameters: SomeParameters | None = None,
        remappings: Iterable[Remapping] | None = None,
        ros_arguments: Iterable[SomeSubstitutionsType] | None = None,
        arguments: Iterable[SomeSubstitutionsType] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(cmd=[executable], name=exec_name, **kwargs)
        if isinstance(parameters, str | Mapping):
            raise TypeError(f"expected a list of parameters, got {parameters!r}: put it in [ ]")
        self.package = package
        self.executable = executable
        self.parameters = list(parameters or [])
        self.remappings = list(remappings or [])
        self.arguments = list(arguments or [])
        self.ros_arguments = list(ros_arguments or [])
        self._given_name = name
        self._given_namespace = namespace
        self._found = Executable([])

    def command(self, context: LaunchContext) -> list[str]:
        """Return program, arguments, ``--ros-args`` and the ROS arguments."""
        executable = text_of(context, self.executable)
        if self.package is None:
            self._found = Executable([executable])
        else:
            self._found = executable_command(text_of(context, self.package), executable)
        arguments = [text_of(context, argument) for argument in self.arguments]
        return [*self._found.command, *arguments, "--ros-args", *self._ros_arguments(context)]

    def environment(self, context: LaunchContext) -> dict[str, str]:
        """Return the environment variables; only valid after ``command``."""
        return super().environment(context) | self._found.env

    def _ros_arguments(self, context: LaunchContext) -> list[str]:
        settings = context.launch_configurations
        name = None if self._given_name is None else text_of(context, self._given_name)
        if name is not None and not _NAME.match(name):
            raise ValueError(f"expected a node name of letters, digits and _, got {name!r}")
        given = None if self._given_namespace is None else text_of(context, self._given_namespace)
        namespace = absolute_namespace(settings.get(NAMESPACE), given)
        result = [text_of(context, argument) for argument in self.ros_arguments]
        if name is not None:
            result += ["-r", f"__node:={name}"]
        if namespace is not None:
            result += ["-r", f"__ns:={namespace}"]
        known = name is not None and namespace is not None
        node = f"{namespace.rstrip('/')}/{name}" if known else _ANY_NODE
        result += self._parameter_arguments(context, node)
        for old, new in self.remappings:
            result += ["-r", f"{text_of(context, old)}:={text_of(context, new)}"]
        return result

    def _parameter_arguments(self, context: LaunchContext, node: str) -> list[str]:
        shared = context.launch_configurations.get(PARAMETERS, [])
        files = [parameter_file(context, entry, _ANY_NODE) for entry in shared]
        files += [parameter_file(context, entry, node) for entry in self.parameters]
        return [argument for path in files for argument in ("--params-file", str(path))]
