"""The context used where none is given, kept below all that asks for it."""

from __future__ import annotations

import threading
from typing import Any

LOCK = threading.Lock()
# One context at most; ``utilities.get_default_context`` makes it.
KEPT: list[Any] = []
