"""Converts messages to ordered dictionaries, YAML and CSV."""

from __future__ import annotations

import array
from collections import OrderedDict
from typing import Any

import numpy as np
import yaml

ELLIPSIS = "..."


def message_to_ordereddict(
    msg: Any,
    *,
    truncate_length: int | None = None,
    no_arr: bool = False,
    no_str: bool = False,
) -> OrderedDict[str, Any]:
    """Return the fields as plain Python values by name.

    ``truncate_length`` shortens strings and arrays; ``no_arr`` and ``no_str`` replace their
    content by their length.
    """
    result: OrderedDict[str, Any] = OrderedDict()
    for name, kind in msg.get_fields_and_field_types().items():
        result[name] = _plain(getattr(msg, name), kind, truncate_length, no_arr, no_str)
    return result


def message_to_yaml(
    msg: Any,
    *,
    truncate_length: int | None = None,
    no_arr: bool = False,
    no_str: bool = False,
    flow_style: bool = False,
) -> str:
    """Return the message as printed by ``ros2 topic echo``."""
    content = message_to_ordereddict(
        msg, truncate_length=truncate_length, no_arr=no_arr, no_str=no_str
    )
    return yaml.dump(
        _without_order(content),
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=flow_style,
        allow_unicode=True,
        width=float("inf"),
    )


def message_to_csv(
    msg: Any, *, truncate_length: int | None = None, no_arr: bool = False, no_str: bool = False
) -> str:
    """Return the values of all fields, including nested ones, separated by commas."""
    content = message_to_ordereddict(
        msg, truncate_length=truncate_length, no_arr=no_arr, no_str=no_str
    )
    return ",".join(str(value) for value in _leaves(content))


class _Dumper(yaml.SafeDumper):
    """Repeats equal lists instead of writing anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _plain(value: Any, kind: str, limit: int | None, no_arr: bool, no_str: bool) -> Any:
    if hasattr(value, "get_fields_and_field_types"):
        return message_to_ordereddict(value, truncate_length=limit, no_arr=no_arr, no_str=no_str)
    if isinstance(value, str):
        if no_str:
            return f"<string length: <{len(value)}>>"
        return value if limit is None or len(value) <= limit else value[:limit] + ELLIPSIS
    if isinstance(value, bytes):
        return value[0] if len(value) == 1 else list(value)
    if isinstance(value, list | tuple | array.array | np.ndarray):
        return _plain_array(value, kind, limit, no_arr, no_str)
    return value


def _plain_array(value: Any, kind: str, limit: int | None, no_arr: bool, no_str: bool) -> Any:
    if no_arr and kind.startswith("sequence<"):
        inner, _, bound = kind.removeprefix("sequence<").removesuffix(">").partition(", ")
        return f"<sequence type: {inner}{bound and f'[{bound}]'}, length: {len(value)}>"
    if no_arr:
        return f"<array type: {kind}>"
    cut = limit is not None and len(value) > limit
    items = [_plain(item, "", limit, no_arr, no_str) for item in (value[:limit] if cut else value)]
    items = [item.item() if isinstance(item, np.generic) else item for item in items]
    return [*items, ELLIPSIS] if cut else items


def _without_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_order(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_order(item) for item in value]
    return value


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)] or [""]
    return [value]
