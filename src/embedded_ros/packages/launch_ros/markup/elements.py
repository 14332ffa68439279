"""Reading of XML and YAML launch files as a common tree of elements."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml
from launch.launch_description_source import InvalidLaunchFileError

_REQUIRED = object()


class Element:
    """A tag with attributes and child elements.

    Reading removes attributes and children, so that ``finish`` can report unknown ones.
    """

    def __init__(self, tag: str, attributes: dict[str, Any], below: list[Element]) -> None:
        self.tag = tag
        self._attributes = dict(attributes)
        self._below = list(below)

    def take(self, name: str, default: Any = _REQUIRED) -> Any:
        """Remove an attribute and return its value: text in XML, a typed value in YAML.

        If there is an attribute ``<name>-sep``, the value is split at that separator.

        Raises:
            InvalidLaunchFileError: if it is missing and there is no default.
        """
        if name not in self._attributes and default is _REQUIRED:
            raise InvalidLaunchFileError(f"<{self.tag}>: expected the attribute {name!r}")
        value = self._attributes.pop(name, default)
        separator = self._attributes.pop(f"{name}-sep", None)
        return value if separator is None else str(value).split(separator)

    def take_below(self, tag: str | None = None) -> list[Element]:
        """Remove and return the children with a tag, or all remaining ones."""
        taken = [item for item in self._below if tag in (None, item.tag)]
        self._below = [item for item in self._below if item not in taken]
        return taken

    def only(self, *names: str) -> list[Any]:
        """Return the values of these attributes; the element must have nothing else.

        Raises:
            InvalidLaunchFileError: if one is missing, or there is anything else.
        """
        values = [self.take(name) for name in names]
        self.finish()
        return values

    def finish(self) -> None:
        """Check that nothing is left that was not read, such as misspelt attributes.

        Raises:
            InvalidLaunchFileError: if there is.
        """
        left = [*self._attributes, *(f"<{item.tag}>" for item in self._below)]
        if left:
            raise InvalidLaunchFileError(f"<{self.tag}>: not known in it: {', '.join(left)}")


def read_xml(path: Path) -> Element:
    """Return the root of an XML launch file.

    Raises:
        InvalidLaunchFileError: if it is not XML.
    """
    try:
        return _from_xml(ElementTree.parse(path).getroot())
    except ElementTree.ParseError as error:
        raise InvalidLaunchFileError(f"not XML: {error}") from error


def read_yaml(path: Path) -> Element:
    """Return the root of a YAML launch file.

    Raises:
        InvalidLaunchFileError: if it is not YAML, or not a tree of elements.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InvalidLaunchFileError(f"not YAML: {error}") from error
    return _from_yaml(*_single(tree))


def _from_xml(node: ElementTree.Element) -> Element:
    below = [_from_xml(item) for item in node if isinstance(item.tag, str)]
    return Element(node.tag, node.attrib, below)


def _from_yaml(tag: str, content: Any) -> Element:
    """Return the element for a mapping of attributes, or for a list of child elements.

    In a mapping, "children" and lists of mappings are child elements, too.
    """
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
