"""Which teachers a map learns from, where the settings name weights or leave it open.

Without a word from the user, names come from label images if there are any; else from a segmenter
whose weights are on this machine; else language comes from colour images, if weights of open_clip
are; else the map has colour and geometry only. What is on the machine decides, so all nodes come to
the same result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from semantic_field.config import Config, TeacherConfig
from semantic_field.settings import updated
from semantic_field.weights.local_weights import weights_here
from semantic_field.weights.weights_registry import known_weights

SUGGESTED = "segformer-b0"
HINT = (
    "the map knows no names: publish label images, or run: "
    f"{known_weights()[SUGGESTED].command}, and start again"
)
"""What to do where a map has nothing to answer questions with."""


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        config: the settings without "auto" and without names of weights in ``teacher.kind``.
        stands_in: see ``ImageTeachers``.
    """

    config: Config
    stands_in: bool = False

    def meaning(self, has_names: bool, has_label_images: bool) -> str:
        """Return in words what the map learns names and language from.

        Args:
            has_names: whether the map knows any name.
            has_label_images: whether label images have come, or are published.
        """
        teacher, language = self.config.teacher, self.config.language
        found = []
        if has_label_images and not teacher.segmenter_alone:
            found.append("label images")
        if teacher.segmenter and not (found and self.stands_in):
            found.append(f"labels of colour images by {teacher.segmenter}")
        if language.source == "images":
            found.append(f"colour images by {teacher.kind} {teacher.path}".strip())
        if not found and has_names:
            found.append("given names")
        return " and ".join(found) if found else f"nothing: {HINT}"


def settled_teacher(teacher: TeacherConfig) -> TeacherConfig:
    """Return the settings with a language teacher that is neither "auto" nor a name of weights."""
    entry = known_weights().get(teacher.kind)
    if entry is not None and entry.role == "segmenter":
        return replace(teacher, kind="label_text", segmenter=entry.name)
    if entry is not None:
        return replace(teacher, kind="open_clip", path=entry.name)
    if teacher.kind != "auto":
        return teacher
    automatic = teacher.segmenter == "auto"
    segmenter = weights_here("segmenter") if automatic else teacher.segmenter
    clip = "" if segmenter or teacher.path else weights_here("open_clip")
    return replace(teacher, kind="open_clip" if clip else "label_text", path=clip or teacher.path)


def choose(config: Config, has_label_images: bool = False) -> Choice:
    """Settle ``teacher.kind``, ``teacher.segmenter`` and ``language.source``.

    Args:
        has_label_images: whether label images are published.
    """
    given, teacher = config.teacher, settled_teacher(config.teacher)
    source = config.language.source
    if teacher.kind == "open_clip" and given.kind != "open_clip":
        named = given.kind != "auto"
        source = "images" if named or not has_label_images else source
    automatic = teacher.segmenter == "auto"
    if automatic:
        wanted = teacher.kind != "none" and source == "labels"
        teacher = replace(teacher, segmenter=weights_here("segmenter") if wanted else "")
    settled = updated(replace(config, teacher=teacher), {"language.source": source})
    return Choice(settled, stands_in=automatic and bool(teacher.segmenter))


def for_label_images(config: Config) -> Config:
    """Return settings for recordings with label images, whatever is on this machine.

    So that a figure is the same everywhere, only weights that are named are used.
    """
    segmenter = "" if config.teacher.segmenter == "auto" else config.teacher.segmenter
    kind = "label_text" if config.teacher.kind == "auto" else config.teacher.kind
    teacher = replace(config.teacher, kind=kind, segmenter=segmenter)
    return choose(replace(config, teacher=teacher), has_label_images=True).config
