"""Other names for the classes of a live map: from label images, or a chosen vocabulary."""

from __future__ import annotations

import copy

from semantic_field.mapping.live_map import LiveMap


def set_label_names(live_map: LiveMap, names: dict[int, str]) -> None:
    """Name class ids of the label images; nothing that was learnt is forgotten.

    A chosen vocabulary takes only the names that are in it. Common things, which a map learnt
    from images tells apart while there are no names, give way.

    Args:
        names: class id to name; further ones may follow in later calls.
    Raises:
        Exception: what the teacher raises on a name; nothing has changed then.
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
    """Tell these texts apart from now on, in place of those before (language from images).

    Labels are made again from the stored features.

    Args:
        texts: empty = the names of label images, or common things where there are none.
    Raises:
        ValueError: where language is not learnt from images, or the teacher does not know a
            text; nothing has changed then.
    """
    vocabulary = copy.copy(live_map.vocabulary)
    vocabulary.choose(texts)
    live_map.replace_classes(vocabulary.table(live_map.classes.given), vocabulary)
