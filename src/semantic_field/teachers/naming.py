"""Normalises class names as spelled in datasets to plain words for language models."""

from __future__ import annotations

import re
from functools import cache

from semantic_field.teachers.household import USEFUL

_EXTRA_WORDS = {"motor", "potted", "plant", "dining", "monitor", "lap", "top", "cup", "board"}
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_COUNTER = re.compile(r"_\d+$")


@cache
def spoken(name: str) -> str:
    """Return a name in plain words: "diningtable" and "DiningTable_01" become "dining table".

    Separators and camel case become spaces, a counter at the end and all but the first of
    several alternatives ("door; double door") are dropped, and a compound of two known words
    is split. Free text is only converted to lower case and stripped of quotes.
    """
    name = printable(name)
    text = _COUNTER.sub("", re.split(r"[;/]", name)[0].strip())
    words = _CAMEL.sub(" ", text) if " " not in text.strip() else text
    words = re.sub(r"[\s_\-]+", " ", words).strip(" \"'.").lower()
    return " ".join(_split(word) for word in words.split(" ")) or name.strip().lower()


def printable(text: str) -> str:
    """Replace control characters and other unprintable characters by spaces, and strip."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def _split(word: str) -> str:
    """Split a compound of two known words; return any other word unchanged."""
    known = _known_words()
    if word in known or len(word) < 6 or not word.isalpha():
        return word
    cuts = [i for i in range(2, len(word) - 2) if word[:i] in known and word[i:] in known]
    return f"{word[: cuts[-1]]} {word[cuts[-1] :]}" if cuts else word


@cache
def _known_words() -> frozenset[str]:
    names = (name for thing in USEFUL for name in thing.names)
    return frozenset(word for name in names for word in name.split(" ")) | _EXTRA_WORDS
