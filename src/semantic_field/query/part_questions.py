"""Questions for a part of a thing: "the handle of the mug", "the chair's backrest"."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from semantic_field.query.categories import category_of, singular

PartNames = Mapping[str, Sequence[str]]
"""The names of the parts of each category."""

ALIASES = {
    "back": "backrest",
    "back rest": "backrest",
    "arm": "armrest",
    "arm rest": "armrest",
    "foot": "leg",
    "lid": "cap",
    "table top": "top",
    "lampshade": "shade",
    "lamp shade": "shade",
    "stand": "pole",
    "knob": "handle",
    "grip": "handle",
}
_ARTICLE = r"(?:the|a|an|this|that|its|my|any)\s+"
_OF = re.compile(rf"^(?:{_ARTICLE})?(?P<part>[\w ]+?)\s+(?:of|on|from)\s+(?P<whole>.+)$")
_POSSESSIVE = re.compile(r"^(?P<whole>.+?)(?:'s|s')\s+(?P<part>[\w ]+)$")
_LEADING = re.compile(rf"^{_ARTICLE}")


@dataclass(frozen=True)
class PartQuestion:
    """A question for a part.

    Attributes:
        part: its name, as the category's parts are called. whole: text for what it is a part of.
        category: of the whole.
    """

    part: str
    whole: str
    category: str


def part_question(text: str, part_names: PartNames) -> PartQuestion | None:
    """Return the question for a part that a text asks; None if it asks for a whole thing.

    It asks for a part only if it names a part that things of that category have: "the seat of the
    car" is a text like any other if there are no parts of cars.
    """
    words = re.sub(r"\s+", " ", text.replace("’", "'")).strip(' .?!"').lower()
    for pattern in (_OF, _POSSESSIVE):
        found = pattern.match(words)
        if found:
            return _asked(found["part"], found["whole"], part_names)
    pieces = words.split(" ")
    for count in (2, 1):  # "lamp shade" at the end before "shade"
        whole, part = " ".join(pieces[:-count]), " ".join(pieces[-count:])
        asked = _asked(part, whole, part_names) if whole else None
        if asked is not None:
            return asked
    return None


def _asked(part: str, whole: str, part_names: PartNames) -> PartQuestion | None:
    whole = _LEADING.sub("", whole.strip())
    category = category_of(whole, part_names) if whole else None
    if category is None:
        return None
    part = _LEADING.sub("", part.strip())
    for form in (part, singular(part)):
        for name in (form, ALIASES.get(form, form)):
            if name in part_names[category]:
                return PartQuestion(name, whole, category)
    return None
