"""``semantic-field weights list | get NAME | where``."""

from __future__ import annotations

import argparse
import sys

from semantic_field.weights.local_weights import folder_of, is_here, record_of, weights_folder
from semantic_field.weights.weights_registry import WeightsEntry, known_weights, named_weights


def add_commands(subparsers) -> None:
    """Add the commands to the parser of ``semantic-field``."""
    command = subparsers.add_parser("weights", help="model weights: list, download, find")
    actions = command.add_subparsers(title="actions", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="what there is, how large, and under which licence")
    listing.set_defaults(handler=_list)
    getting = actions.add_parser("get", help="download one, after asking")
    getting.add_argument("name", help="of the list")
    getting.add_argument("--yes", action="store_true", help="agree to its licence beforehand")
    getting.set_defaults(handler=_get)
    finding = actions.add_parser("where", help="folders of the weights on this machine")
    finding.add_argument("name", nargs="?", default="", help="of the list; else all that are here")
    finding.set_defaults(handler=_where)


def _list(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "here", "MB", "for", "licence")
    for entry in known_weights().values():
        here = "yes" if is_here(entry) else "no"
        table.add_row(entry.name, here, str(entry.megabytes), entry.purpose, entry.licence)
    console = Console()
    console.print(table)
    console.print("semantic-field weights get NAME downloads one; nothing is downloaded unasked")
    return 0


def _get(arguments: argparse.Namespace) -> int:
    from semantic_field.weights.weights_download import get_weights

    entry = named_weights(arguments.name)
    if not is_here(entry) and not arguments.yes and not _agreed(entry):
        print("nothing was downloaded")
        return 1
    get_weights(entry)
    return 0


def _agreed(entry: WeightsEntry) -> bool:
    """Ask once; ValueError where nobody can answer."""
    print(f"{entry.name}: {entry.purpose}")
    print(f"from {entry.repository}, about {entry.megabytes} MB, to {folder_of(entry)}")
    print(f"licence: {entry.licence}")
    if not sys.stdin.isatty():
        raise ValueError(
            f"expected an answer on a terminal, got none; to agree: {entry.command} --yes"
        )
    return input("download it? [y/N] ").strip().lower() in ("y", "yes")


def _where(arguments: argparse.Namespace) -> int:
    if arguments.name:
        entry = named_weights(arguments.name)
        if not is_here(entry):
            raise ValueError(f"expected {entry.name} on this machine, got none: {entry.command}")
        print(folder_of(entry))
        return 0
    print(f"downloads go to {weights_folder()}")
    for entry in filter(is_here, known_weights().values()):
        print(f"{entry.name}: {folder_of(entry)}")
        for name, about in record_of(entry).get("files", {}).items():
            print(f"    {name}  {about['bytes']} bytes  sha256 {about['sha256']}")
    return 0
