"""Parameters of nodes as a launch file writes them down."""

from __future__ import annotations

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


__all__ = ["ParameterFile", "ParameterValue"]
__getattr__ = names_of(__name__, __all__)
