"""
What can go wrong, sorted by the remedy.

CrossliftError
├── DeclarationError   mend the YAML
├── RequestError       mend the call
├── StoreError         try again, or mend the store
│   └── StoreBusy      try again a little later
└── AnalysisError      the data cannot answer
"""

from collections.abc import Sequence
from dataclasses import dataclass


class CrossliftError(Exception):
    """Every error that crosslift raises on purpose."""


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One thing wrong in one place of a declaration.

    Attributes:
        file: The file as the caller named it.
        line: 1-based; 0 where the file as a whole is meant.
        path: Dotted keys down to the place, such as `variants.below.weight`; empty at the top.
        found: What stands there.
        wanted: What should stand there.
    """

    file: str
    line: int
    path: str
    found: str
    wanted: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.path + ': ' if self.path else ''}found {self.found}; wanted {self.wanted}"


class DeclarationError(CrossliftError):
    """A declaration that is refused whole, with every fault found in it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


class RequestError(CrossliftError):
    """A call, a row or an event that cannot be accepted as it is."""


class StoreError(CrossliftError):
    """The store could not be opened, read or written; nothing of the write was kept."""


class StoreBusy(StoreError):
    """More waits to be written than the store can take in time; nothing of the write was kept."""


class AnalysisError(CrossliftError):
    """The data cannot answer the question that was asked of it."""
