"""Type hashes, which identify the version of a message type (REP-2016)."""

from __future__ import annotations

from dataclasses import dataclass

SIZE = 32


@dataclass
class TypeHash:
    """A type hash; ``str()`` gives ``RIHS01_…``, or "INVALID" if a participant sent none."""

    version: int = -1
    value: bytes = bytes(SIZE)

    @classmethod
    def from_text(cls, text: str) -> TypeHash:
        """Parse ``RIHS01_…``; any other text gives an invalid hash."""
        prefix, _, digits = text.partition("_")
        if not prefix.startswith("RIHS") or len(digits) != 2 * SIZE:
            return cls()
        return cls(int(prefix.removeprefix("RIHS")), bytes.fromhex(digits))

    def __str__(self) -> str:
        if self.version <= 0 or len(self.value) != SIZE:
            return "INVALID"
        return f"RIHS{self.version:02}_{self.value.hex()}"
