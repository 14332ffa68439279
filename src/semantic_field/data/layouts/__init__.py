"""Readers of published dataset layouts: Replica, ScanNet, TUM RGB-D, 7-Scenes.

``open_layout`` detects the layout by its files. With an explicit prefix (``tum:PATH``) errors name
the missing file.
"""

from semantic_field.data.layouts.detection import LAYOUTS, detect, open_layout
