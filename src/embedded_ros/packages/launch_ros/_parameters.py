"""From what a launch file says of parameters to files that a node reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from launch.launch_context import LaunchContext
from launch.substitution import Substitution
from launch.utilities import text_of
from launch.utilities.type_utils import SCALARS, get_typed_value, uniform

from launch_ros.parameter_descriptions import Parameter, ParameterFile, ParameterValue


def parameter_file(context: LaunchContext, parameters: Any, node: str) -> Path:
    """One entry of a node's ``parameters`` as a file: the file itself, or a temporary one.

    ``node`` is the node's full name, or ``/**`` where it is not known.

    Raises:
        FileNotFoundError: a file that is named does not exist.
        TypeError, ValueError: a value cannot be a parameter.
    """
    if isinstance(parameters, Mapping):
        return write_parameters(context, evaluate_dict(context, parameters), node)
    if isinstance(parameters, Parameter):
        return write_parameters(context, dict([parameters.evaluate(context)]), node)
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
        if isinstance(value, Mapping):
            result |= evaluate_dict(context, value, name + ".")
            continue
        try:
            result[name] = _evaluated(context, value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"parameter {name!r}: {error}") from error
    return result


def write_parameters(context: LaunchContext, values: Mapping[str, Any], node: str) -> Path:
    """A temporary parameter file, which lives as long as the launch."""
    folder = context.temporary_folder()
    path = folder / f"launch_params_{sum(1 for _ in folder.iterdir())}.yaml"
    tree = {node: {"ros__parameters": dict(values)}}
    path.write_text(yaml.dump(tree, Dumper=_Dumper, allow_unicode=True), encoding="utf-8")
    return path


def _evaluated(context: LaunchContext, value: Any) -> Any:
    if isinstance(value, ParameterValue):
        return value.evaluate(context)
    if isinstance(value, Substitution):
        return get_typed_value(text_of(context, value))
    if isinstance(value, list | tuple):
        return _evaluated_list(context, list(value))
    if type(value) not in SCALARS:
        raise TypeError(
            f"expected bool, int, float, str, a list of these or substitutions, got {value!r} "
            f"({type(value).__name__})"
        )
    return value


def _evaluated_list(context: LaunchContext, values: list) -> Any:
    """A list of values. Substitutions among texts are one text; of lists, a list of texts."""
    if any(isinstance(value, Substitution) for value in values):
        return get_typed_value(text_of(context, values))
    nested = [
        get_typed_value(text_of(context, value)) if isinstance(value, list | tuple) else value
        for value in values
    ]
    return uniform(nested)


class _Dumper(yaml.SafeDumper):
    """Quotes every text, so that "1e-3" and "on" stay texts for whoever reads them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')


_Dumper.add_representer(str, _quoted)
