"""The hash by which versions of a type are told apart (REP-2016)."""

from __future__ import annotations

from dataclasses import dataclass

SIZE = 32


@dataclass
class TypeHash:
    """``str()`` of it is ``RIHS01_…``; "INVALID" where a participant did not say it."""

    version: int = -1
    value: bytes = bytes(SIZE)

    @classmethod
    def from_text(cls, text: str) -> TypeHash:
        """The hash of ``RIHS01_…``; an invalid one of any other text."""
        prefix, _, digits = text.partition("_")
        if not prefix.startswith("RIHS") or len(digits) != 2 * SIZE:
            return cls()
        return cls(int(prefix.removeprefix("RIHS")), bytes.fromhex(digits))

    def __str__(self) -> str:
        if self.version <= 0 or len(self.value) != SIZE:
            return "INVALID"
        return f"RIHS{self.version:02}_{self.value.hex()}"
