"""Parameters as a launch file writes them down, and the files of them that a node reads."""

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
    """A value, or substitutions for one, of the type asked for (None: by YAML's rules)."""

    def __init__(self, value: Any, *, value_type: Any = None) -> None:
        self.value = value
        self.value_type = value_type

    def evaluate(self, context: LaunchContext) -> Any:
        """Raises ValueError where the text is not of that type."""
        return perform_typed_substitution(context, self.value, self.value_type)


class ParameterFile:
    """A file of parameters; with ``allow_substs`` its ``$(var x)`` are filled in."""

    def __init__(
        self,
        param_file: SomeSubstitutionsType,
        *,
        allow_substs: bool | SomeSubstitutionsType = False,
    ) -> None:
        self.param_file = param_file
        self.allow_substs = allow_substs

    def evaluate(self, context: LaunchContext) -> Path:
        """The path of the file as it is given to the node.

        Raises:
            FileNotFoundError: there is no such file.
            SubstitutionFailure: it is not YAML, or a substitution in it cannot be performed.
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
    """The YAML text with every substitution in its values and names performed."""
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
            # Written without quotes: what comes out may be a number, a truth value or a list.
            return yaml.compose(text, Loader=yaml.SafeLoader) or _text_node("")
        node.value = text
    return node


def _text_node(text: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style='"')


# What a node's ``parameters`` are.
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


__all__ = ["ParameterFile", "ParameterValue"]
__getattr__ = names_of(__name__, __all__)
