"""Actions that hold for all nodes started after them in the same scope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch.action import Action
from launch.launch_context import LaunchContext
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.utilities import text_of

from launch_ros.parameter_descriptions import Parameter, ParameterFile

NAMESPACE = "ros_namespace"
PARAMETERS = "global_params"
REMAPPINGS = "ros_remaps"


def absolute_namespace(base: str | None, namespace: str | None) -> str | None:
    """``namespace`` below ``base`` unless it is absolute; None where neither is given."""
    if base is None and namespace is None:
        return None
    joined = namespace or ""
    if not joined.startswith("/"):
        joined = f"{base or ''}/{joined}"
    return "/" + joined.strip("/")


class PushRosNamespace(Action):
    """Puts the nodes that follow into a namespace."""

    def __init__(self, namespace: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.namespace = namespace

    def execute(self, context: LaunchContext) -> None:
        settings = context.launch_configurations
        pushed = text_of(context, self.namespace)
        settings[NAMESPACE] = absolute_namespace(settings.get(NAMESPACE), pushed)


PushROSNamespace = PushRosNamespace


class SetParameter(Action):
    """Sets a parameter of all nodes that follow; their own parameters win."""

    def __init__(self, name: SomeSubstitutionsType, value: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parameter = Parameter(name, value)

    def execute(self, context: LaunchContext) -> None:
        _append(context, PARAMETERS, dict([self.parameter.evaluate(context)]))


class SetUseSimTime(SetParameter):
    """Sets ``use_sim_time`` of all nodes that follow."""

    def __init__(self, value: bool | SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__("use_sim_time", value, **kwargs)


class SetParametersFromFile(Action):
    """Gives a parameter file to all nodes that follow."""

    def __init__(
        self,
        filename: SomeSubstitutionsType,
        node_name: SomeSubstitutionsType | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.file = ParameterFile(filename)

    def execute(self, context: LaunchContext) -> None:
        _append(context, PARAMETERS, self.file.evaluate(context))


class SetRemap(Action):
    """Remaps a name of all nodes that follow."""

    def __init__(
        self, src: SomeSubstitutionsType, dst: SomeSubstitutionsType, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.src = src
        self.dst = dst

    def execute(self, context: LaunchContext) -> None:
        _append(context, REMAPPINGS, (text_of(context, self.src), text_of(context, self.dst)))


def _append(
    context: LaunchContext, name: str, value: Mapping[str, Any] | tuple[str, str] | Any
) -> None:
    # A new list: the old one belongs to the scope outside.
    settings = context.launch_configurations
    settings[name] = [*settings.get(name, []), value]
