"""Parameters in launch files, and their conversion to parameter files for nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from launch.launch_context import LaunchContext
from launch.substitution import SomeSubstitutionsType, SubstitutionFailure, text_of
from launch.supported import names_of
from launch.utilities.type_utils import perform_typed_substitution

from launch_ros.text_substitutions import parse_substitution


class ParameterValue:
    """The value of a parameter, or substitutions for it.

    Args:
        value_type: type of the value; None = by the rules of YAML.
    """

    def __init__(self, value: Any, *, value_type: Any = None) -> None:
        self.value = value
        self.value_type = value_type

    def evaluate(self, context: LaunchContext) -> Any:
        """Return the value with substitutions performed, see ``perform_typed_substitution``.

        Raises:
            TypeError, ValueError: if the value is not of that type.
        """
        return perform_typed_substitution(context, self.value, self.value_type)


class ParameterFile:
    """A parameter file; ``allow_substs`` performs the substitutions in it, such as ``$(var x)``."""

    def __init__(
        self,
        param_file: SomeSubstitutionsType,
        *,
        allow_substs: bool | SomeSubstitutionsType = False,
    ) -> None:
        self.param_file = param_file
        self.allow_substs = allow_substs

    def evaluate(self, context: LaunchContext) -> Path:
        """Return the path of the file for the node: a temporary copy if there are substitutions.

        Raises:
            FileNotFoundError: if there is no such file.
            SubstitutionFailure: if it is not YAML, or a substitution in it cannot be performed.
        """
        path = Path(text_of(context, self.param_file))
        if not path.is_file():
            raise FileNotFoundError(f"parameter file {path} does not exist")
        if not perform_typed_substitution(context, self.allow_substs, bool):
            return path
        text = path.read_text(encoding="utf-8")
        if "$(" not in text:
            return path
        filled = context.unused_file(path.stem)
        filled.write_text(_filled(context, text, path), encoding="utf-8")
        return filled


def _filled(context: LaunchContext, text: str, path: Path) -> str:
    """Return the YAML text with the substitutions in its names and values performed."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise SubstitutionFailure(f"parameter file {path} is not YAML: {error}") from error
    return yaml.serialize(_performed(context, node), Dumper=yaml.SafeDumper, allow_unicode=True)


def _performed(context: LaunchContext, node: yaml.Node | None) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        node.value = [(_performed(context, k), _performed(context, v)) for k, v in node.value]
    elif isinstance(node, yaml.SequenceNode):
        node.value = [_performed(context, item) for item in node.value]
    elif isinstance(node, yaml.ScalarNode) and "$(" in node.value:
        text = text_of(context, parse_substitution(node.value))
        if node.style is None:
            # Not quoted: the text may be read as a number, a truth value or a list.
            return yaml.compose(text, Loader=yaml.SafeLoader) or _text_node("")
        node.value = text
    return node


def _text_node(text: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style='"')


# The type of a node's ``parameters``.
SomeParameters = Iterable[SomeSubstitutionsType | ParameterFile | Mapping[Any, Any]]


def parameter_file(context: LaunchContext, parameters: Any, node: str) -> Path:
    """Return the path of a file with one entry of a node's ``parameters``.

    It is the file of the entry itself, or a temporary one.

    Args:
        node: full name of the node, or ``/**`` if it is not known.
    Raises:
        FileNotFoundError: if the file of the entry does not exist.
        TypeError, ValueError: if a value cannot be a parameter.
    """
    if isinstance(parameters, Mapping):
        return _written(context, evaluate_dict(context, parameters), node)
    if not isinstance(parameters, ParameterFile):
        parameters = ParameterFile(parameters)
    return parameters.evaluate(context)


def evaluate_dict(
    context: LaunchContext, parameters: Mapping[Any, Any], prefix: str = ""
) -> dict[str, Any]:
    """Return the values by their dotted names, with all substitutions performed.

    Args:
        prefix: is put in front of the names.
    Raises:
        TypeError, ValueError: if a value cannot be a parameter.
    """
    result: dict[str, Any] = {}
    for key, value in parameters.items():
        name = prefix + text_of(context, key)
        if isinstance(value, Mapping):
            result |= evaluate_dict(context, value, name + ".")
            continue
        typed = value if isinstance(value, ParameterValue) else ParameterValue(value)
        try:
            result[name] = typed.evaluate(context)
        except (TypeError, ValueError) as error:
            raise type(error)(f"parameter {name!r}: {error}") from error
    return result


def _written(context: LaunchContext, values: Mapping[str, Any], node: str) -> Path:
    """Write a temporary parameter file, which exists until the launch ends; returns its path."""
    path = context.unused_file("launch_params")
    tree = {node: {"ros__parameters": dict(values)}}
    path.write_text(yaml.dump(tree, Dumper=_Dumper, allow_unicode=True), encoding="utf-8")
    return path


class _Dumper(yaml.SafeDumper):
    """Quotes all texts, so that "1e-3" and "on" are read as texts."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


__all__ = ["ParameterFile", "ParameterValue"]
__getattr__ = names_of(__name__, __all__)
