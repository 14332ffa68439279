"""Recordings in the layouts in which others publish them.

``open_layout`` recognises a folder by its files; a prefix (``tum:PATH``) says what it is, and an
error then names the file that is missing.
"""

from semantic_field.data.layouts.detection import LAYOUTS, detect, open_layout
