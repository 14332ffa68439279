"""Names of nodes, topics and services: validation, expansion, remapping."""

from __future__ import annotations

import re

from rclpy._arguments import Arguments
from rclpy.exceptions import (
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidServiceNameException,
    InvalidTopicNameException,
)

NODE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FULL_NAME = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)+")
SUBSTITUTIONS = re.compile(r"\{(node|ns|namespace)\}")


def check_node_name(name: str) -> str:
    """Return ``name``; raises InvalidNodeNameException if it is not a valid node name."""
    if not NODE_NAME.fullmatch(name):
        raise InvalidNodeNameException(
            name,
            "node name must not be empty, start with a number or contain characters other "
            "than alphanumerics and '_'",
        )
    return name


def check_namespace(namespace: str) -> str:
    """Return the absolute namespace; raises InvalidNamespaceException if it is not valid."""
    absolute = namespace if namespace.startswith("/") else "/" + namespace
    if absolute != "/" and not FULL_NAME.fullmatch(absolute):
        raise InvalidNamespaceException(
            namespace, "namespace must consist of names of alphanumerics and '_' between '/'"
        )
    return absolute


def full_node_name(namespace: str, name: str) -> str:
    """Return ``/ns/name``."""
    return f"{namespace.rstrip('/')}/{name}"


def expand(name: str, node_name: str, namespace: str, is_service: bool = False) -> str:
    """Return the absolute form of a topic or service name; ``~`` stands for the node's name."""
    wrong = InvalidServiceNameException if is_service else InvalidTopicNameException
    values = {"node": node_name, "ns": namespace, "namespace": namespace}
    text = SUBSTITUTIONS.sub(lambda match: values[match[1]].strip("/"), name)
    if text == "~" or text.startswith("~/"):
        text = full_node_name(namespace, node_name) + text[1:]
    elif not text.startswith("/"):
        text = f"{namespace.rstrip('/')}/{text}"
    if not FULL_NAME.fullmatch(text):
        raise wrong(
            name,
            "name must consist of tokens of alphanumerics and '_' between single '/', must "
            "not end with '/', and may start with '~/' or '/'",
        )
    return text


def remap(
    name: str,
    node_name: str,
    namespace: str,
    arguments: Arguments,
    is_service: bool = False,
) -> str:
    """Return the absolute name after applying the first matching remapping rule.

    A rule for a single node refers to its final (remapped) name, not the name in the code.
    """
    absolute = expand(name, node_name, namespace, is_service)
    for rule in arguments.remaps:
        if rule.name.startswith("__") or not rule.is_for(node_name):
            continue
        prefix, _, source = rule.name.rpartition("://")
        if prefix and prefix != ("rosservice" if is_service else "rostopic"):
            continue
        if expand(source, node_name, namespace, is_service) == absolute:
            return expand(rule.value, node_name, namespace, is_service)
    return absolute
