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
    """``name`` where it may be a node's; InvalidNodeNameException where not."""
    if not NODE_NAME.fullmatch(name):
        raise InvalidNodeNameException(
            name,
            "node name must not be empty, start with a number or contain characters other "
            "than alphanumerics and '_'",
        )
    return name


def check_namespace(namespace: str) -> str:
    """The absolute namespace; InvalidNamespaceException where it cannot be one."""
    absolute = namespace if namespace.startswith("/") else "/" + namespace
    if absolute != "/" and not FULL_NAME.fullmatch(absolute):
        raise InvalidNamespaceException(
            namespace, "namespace must consist of names of alphanumerics and '_' between '/'"
        )
    return absolute


def full_node_name(namespace: str, name: str) -> str:
    """``/ns/name``."""
    return f"{namespace.rstrip('/')}/{name}"


def expand(name: str, node_name: str, namespace: str, is_service: bool = False) -> str:
    """The absolute form of a topic or service name: ``~`` is the node, relative the namespace."""
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
    """The absolute name after the first remapping rule that matches.

    A rule for one node names it as it is called in the end, not as its code calls it.
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
