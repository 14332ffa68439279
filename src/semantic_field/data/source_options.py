"""Command line options for reading recordings, shared by all commands."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields

from semantic_field.config import SourceConfig
from semantic_field.settings import updated

_AXES = ("+x", "-x", "+y", "-y", "+z", "-z")


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each field of ``SourceConfig``."""
    group = parser.add_argument_group(
        "how the recording is read", "where it does not say so itself; see docs/data.md"
    )
    for item in fields(SourceConfig):
        flag, meta = "--" + item.name.replace("_", "-"), item.metadata
        if item.name == "register":
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=meta["doc"])
            continue
        group.add_argument(
            flag,
            type=type(item.default),
            choices=meta["choices"] or None,
            metavar="FX,FY,CX,CY,W,H" if item.name == "camera" else None,
            help=meta["doc"],
        )


def source_config(arguments: argparse.Namespace) -> SourceConfig:
    """Return the values of ``add_source_options``; ValueError if one is out of range."""
    given = {item.name: getattr(arguments, item.name) for item in fields(SourceConfig)}
    if given["register"] is not None:
        given["register"] = str(given["register"]).lower()
    return updated(SourceConfig(), {n: v for n, v in given.items() if v is not None})


def joined_axes(argv: Sequence[str]) -> list[str]:
    """Replace ``--up -y`` by ``--up=-y``; argparse would take ``-y`` for an option."""
    result: list[str] = []
    for argument in argv:
        if result and result[-1] == "--up" and argument in _AXES:
            result[-1] = f"--up={argument}"
        else:
            result.append(argument)
    return result
