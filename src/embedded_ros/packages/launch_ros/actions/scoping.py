"""Actions that hold for all nodes started after them in the same scope."""

from __future__ import annotations

from typing import Any

from launch.entities import Action
from launch.launch_context import LaunchContext
from launch.substitution import SomeSubstitutionsType, text_of

from launch_ros.parameter_descriptions import ParameterValue

NAMESPACE = "ros_namespace"
PARAMETERS = "global_params"


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
        self.name = name
        self.value = ParameterValue(value)

    def execute(self, context: LaunchContext) -> None:
        value = self.value.evaluate(context)
        # A new list: the old one belongs to the scope outside.
        settings = context.launch_configurations
        settings[PARAMETERS] = [*settings.get(PARAMETERS, []), {text_of(context, self.name): value}]
