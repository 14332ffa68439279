"""Which category of objects a class name means: "office desk" is a table, "mugs" are mugs."""

from __future__ import annotations

from collections.abc import Collection

from semantic_field.teachers.household import HOUSEHOLD
from semantic_field.teachers.naming import spoken


def category_of(name: str, categories: Collection[str]) -> str | None:
    """Return the category that a name means; None if it means none of them.

    The last word decides ("coffee table"), or else the other names of the same household object
    ("blue cup" is a mug), unless they lead to several categories. Plurals count.

    Args:
        name: a class name, in any spelling, or a text such as "red mug".
        categories: such as chair and table.
    """
    words = spoken(name)
    own = _by_last_word(words, categories)
    if own is not None:
        return own
    forms = {form for text in (words, words.rpartition(" ")[2]) for form in (text, singular(text))}
    alike = {
        category
        for thing in HOUSEHOLD
        if forms & set(thing.names)
        for other in thing.names
        if (category := _by_last_word(other, categories)) is not None
    }
    return alike.pop() if len(alike) == 1 else None


def _by_last_word(words: str, categories: Collection[str]) -> str | None:
    last = words.rpartition(" ")[2]
    for form in (last, singular(last)):
        if form in categories:
            return form
    return None


def singular(word: str) -> str:
    """Return a word or phrase without the s or es of a regular English plural."""
    if word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    if word.endswith("ves") and len(word) > 4:
        return f"{word[:-3]}f"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word
