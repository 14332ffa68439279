"""Actions that apply to all nodes launched after them in the same scope."""

from __future__ import annotations

from typing import Any

from launch.entities import Action
from launch.launch_context import LaunchContext
from launch.substitution import SomeSubstitutionsType, text_of

from launch_ros.parameter_descriptions import ParameterValue

NAMESPACE = "ros_namespace"
PARAMETERS = "global_params"


def absolute_namespace(base: str | None, namespace: str | None) -> str | None:
    """Return ``namespace`` relative to ``base`` unless it is absolute; None if both are None."""
    if base is None and namespace is None:
        return None
    joined = namespace or ""
    if not joined.startswith("/"):
        joined = f"{base or ''}/{joined}"
    return "/" + joined.strip("/")


class PushRosNamespace(Action):
    """Puts the following nodes into a namespace, below the current one unless it is absolute."""

    def __init__(self, namespace: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.namespace = namespace

    def execute(self, context: LaunchContext) -> None:
        settings = context.launch_configurations
        pushed = text_of(context, self.namespace)
        settings[NAMESPACE] = absolute_namespace(settings.get(NAMESPACE), pushed)


PushROSNamespace = PushRosNamespace


class SetParameter(Action):
    """Sets a parameter of all following nodes; their own parameters take precedence."""

    def __init__(self, name: SomeSubstitutionsType, value: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.value = ParameterValue(value)

    def execute(self, context: LaunchContext) -> None:
        value = self.value.evaluate(context)
        # Not in place: the old list belongs to the outer scope.
        settings = context.launch_configurations
        settings[PARAMETERS] = [*settings.get(PARAMETERS, []), {text_of(context, self.name): value}]
