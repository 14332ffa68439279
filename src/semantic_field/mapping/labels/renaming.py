"""Changes of the class names of a live map: names of label images, and chosen vocabularies."""

from __future__ import annotations

import copy

from semantic_field.mapping.live_map import LiveMap


def set_label_names(live_map: LiveMap, names: dict[int, str]) -> None:
    """Set names of class ids of the label images; the trained map is kept.

    With a chosen vocabulary, only names that it contains become classes. The common objects that a
    map with language from images distinguishes as long as it has no names are replaced.

    Args:
        names: names by class id; later calls add to them.
    Raises:
        Exception: whatever the teacher raises for a name; nothing has changed then.
    """
    classes = live_map.classes
    given = classes.given | names
    if not live_map.vocabulary.needs_new_table(names):
        classes = classes.copy()
        classes.set_names(names)
        live_map.extend_classes(classes)
    elif given != classes.given:
        vocabulary = copy.copy(live_map.vocabulary)
        live_map.replace_classes(vocabulary.table(given), vocabulary)


def set_vocabulary(live_map: LiveMap, texts: list[str]) -> None:
    """Use these texts as classes from now on, for language that is learnt from images.

    Labels are computed again from the stored features.

    Args:
        texts: class names; [] = the names of label images, or common objects if there are none.
    Raises:
        ValueError: if language is not learnt from images, or the teacher does not know a
            text; nothing has changed then.
    """
    vocabulary = copy.copy(live_map.vocabulary)
    vocabulary.choose(texts)
    live_map.replace_classes(vocabulary.table(live_map.classes.given), vocabulary)
