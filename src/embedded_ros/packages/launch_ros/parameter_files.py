"""From what a launch file says of parameters to files that a node reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from launch.launch_context import LaunchContext
from launch.substitution import SomeSubstitutionsType, text_of
from launch.utilities.type_utils import perform_typed_substitution

from launch_ros.parameter_descriptions import ParameterFile, ParameterValue

SomeParameters = Iterable[SomeSubstitutionsType | ParameterFile | Mapping[Any, Any]]


def parameter_file(context: LaunchContext, parameters: Any, node: str) -> Path:
    """One entry of a node's ``parameters`` as a file: the file itself, or a temporary one.

    ``node`` is the node's full name, or ``/**`` where it is not known.

    Raises:
        FileNotFoundError: a file that is named does not exist.
        TypeError, ValueError: a value cannot be a parameter.
    """
    if isinstance(parameters, Mapping):
        return _written(context, evaluate_dict(context, parameters), node)
    if not isinstance(parameters, ParameterFile):
        parameters = ParameterFile(parameters)
    return parameters.evaluate(context)


def evaluate_dict(
    context: LaunchContext, parameters: Mapping[Any, Any], prefix: str = ""
) -> dict[str, Any]:
    """The values by their dotted names, every substitution performed."""
    result: dict[str, Any] = {}
    for key, value in parameters.items():
        name = prefix + text_of(context, key)
        try:
            if isinstance(value, Mapping):
                result |= evaluate_dict(context, value, name + ".")
            elif isinstance(value, ParameterValue):
                result[name] = value.evaluate(context)
            else:
                result[name] = perform_typed_substitution(context, value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"parameter {name!r}: {error}") from error
    return result


def _written(context: LaunchContext, values: Mapping[str, Any], node: str) -> Path:
    """A temporary parameter file, which lives as long as the launch."""
    path = context.unused_file("launch_params")
    tree = {node: {"ros__parameters": dict(values)}}
    path.write_text(yaml.dump(tree, Dumper=_Dumper, allow_unicode=True), encoding="utf-8")
    return path


class _Dumper(yaml.SafeDumper):
    """Quotes every text, so that "1e-3" and "on" stay texts for whoever reads them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)
