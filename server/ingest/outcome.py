"""What became of a request's events."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Rejection:
    """One event that was not accepted: its index in the request, and how to fix it."""

    index: int
    error: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many events were new and how many known already, and which were rejected."""

    accepted: int
    duplicates: int
    rejected: Sequence[Rejection] = field(default=())

    @classmethod
    def of(cls, is_new: Sequence[bool], rejected: Sequence[Rejection] = ()) -> "Outcome":
        """Return the outcome of events that were written, new or not, and of those that were rejected."""
        accepted = sum(is_new)
        return cls(accepted, len(is_new) - accepted, rejected)

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON values."""
        rejected = [{"index": rejection.index, "error": rejection.error} for rejection in self.rejected]
        return {"accepted": self.accepted, "duplicates": self.duplicates, "rejected": rejected}
