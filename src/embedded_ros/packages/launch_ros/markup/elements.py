"""XML and YAML launch files as one tree of elements."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml
from launch.launch_description_source import InvalidLaunchFileError

_REQUIRED = object()


class Element:
    """A tag with attributes and elements below it; whoever reads it says when all was read."""

    def __init__(self, tag: str, attributes: dict[str, Any], below: list[Element]) -> None:
        self.tag = tag
        self._attributes = dict(attributes)
        self._below = list(below)

    def take(self, name: str, default: Any = _REQUIRED) -> Any:
        """An attribute; texts of XML are texts, YAML's values have their type.

        Raises:
            InvalidLaunchFileError: it is missing and has no default.
        """
        if name not in self._attributes and default is _REQUIRED:
            raise InvalidLaunchFileError(f"<{self.tag}>: expected the attribute {name!r}")
        value = self._attributes.pop(name, default)
        separator = self._attributes.pop(f"{name}-sep", None)
        return value if separator is None else str(value).split(separator)

    def take_below(self, tag: str | None = None) -> list[Element]:
        """The elements of a tag, or all that are left."""
        taken = [item for item in self._below if tag in (None, item.tag)]
        self._below = [item for item in self._below if item not in taken]
        return taken

    def only(self, *names: str) -> list[Any]:
        """Attributes of an element that has no others."""
        values = [self.take(name) for name in names]
        self.finish()
        return values

    def finish(self) -> None:
        """Raises InvalidLaunchFileError where something was not read: misspelt perhaps."""
        left = [*self._attributes, *(f"<{item.tag}>" for item in self._below)]
        if left:
            raise InvalidLaunchFileError(f"<{self.tag}>: not known in it: {', '.join(left)}")


def read_xml(path: Path) -> Element:
    """The root of an XML launch file; InvalidLaunchFileError where it is not XML."""
    try:
        return _from_xml(ElementTree.parse(path).getroot())
    except ElementTree.ParseError as error:
        raise InvalidLaunchFileError(f"not XML: {error}") from error


def read_yaml(path: Path) -> Element:
    """The root of a YAML launch file; InvalidLaunchFileError where it is no such tree."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InvalidLaunchFileError(f"not YAML: {error}") from error
    return _from_yaml(*_single(tree))


def _from_xml(node: ElementTree.Element) -> Element:
    below = [_from_xml(item) for item in node if isinstance(item.tag, str)]
    return Element(node.tag, node.attrib, below)


def _from_yaml(tag: str, content: Any) -> Element:
    """A mapping of attributes; its lists of mappings, and a list itself, are elements below."""
    if isinstance(content, list):
        return Element(tag, {}, [_from_yaml(*_single(item)) for item in content])
    if not isinstance(content, dict):
        raise InvalidLaunchFileError(f"{tag}: expected a mapping or a list, got {content!r}")
    attributes, below = {}, []
    for name, value in content.items():
        if name == "children":
            below += [_from_yaml(*_single(item)) for item in value]
        elif isinstance(value, list) and all(isinstance(item, dict) for item in value):
            below += [_from_yaml(name, item) for item in value]
        else:
            attributes[name] = value
    return Element(tag, attributes, below)


def _single(item: Any) -> tuple[str, Any]:
    if not isinstance(item, dict) or len(item) != 1:
        raise InvalidLaunchFileError(f"expected one name with what belongs to it, got {item!r}")
    return next(iter(item.items()))
