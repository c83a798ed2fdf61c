"""The contract of every store: where events are written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from events.records import EventRecord


class Fetch(Protocol):
    """Runs a query, and streams its rows."""

    def __call__(self, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Run a query."""
        ...


@dataclass(frozen=True, slots=True)
class Rejected:
    """A payload that could not be understood: when and where it came from, as `platform:shop:topic`, and why it was rejected."""

    received_at_ms: int
    source: str
    reason: str
    payload: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A rejected payload in the quarantine, under its id."""

    id: int
    received_at_ms: int
    source: str
    reason: str
    payload: str


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key: the store has only its SHA-256, and its first characters as a hint."""

    digest: str
    kind: Literal["publishable", "secret"]
    hint: str
    created_at_ms: int
    revoked_at_ms: int | None


class Store(Protocol):
    """
    Stores events. Every write is idempotent, and durable before it returns.

    Every method raises StoreError when the store cannot be reached or written; then nothing of the call was stored.
    """

    url: str

    def write(self, records: Sequence[EventRecord], durable: bool = True) -> list[bool]:
        """
        Write records, all or none; records that other threads write at the same time share the transaction.

        The store keeps the earliest exposure of (experiment, unit_id, variant), the earliest interaction of an event_id, and the
        order of (shop, order_id) with the newest updated_at_ms, verified states before others, and the newest refund of
        (shop, order_id, refund_id). An order's refunded_minor is the sum of its refunds, or what the order itself states where
        that is more. The order of arrival makes no difference.

        Args:
            records: Exposures, interactions, orders and refunds.
            durable: False where losing the last moments at a power cut is acceptable; a crash of the process loses nothing.

        Returns:
            For every record, in order: True where it was new, False where it, or a newer state of it, was stored already.

        Raises:
            StoreBusy: Too many records are waiting to be written.
        """
        ...

    def open_epoch(self, experiment: str, declaration: Mapping[str, Any], declared_at_ms: int) -> int:
        """Return the number of the declaration's epoch; open a new epoch where the declaration differs in more than its texts."""
        ...

    def newest_epoch(self, experiment: str) -> int | None:
        """Return the number of an experiment's newest epoch; None before its first."""
        ...

    def identify(self, visitor_id: str, customer_id: str, company_id: str | None, linked_at_ms: int) -> str:
        """
        Link a visitor to a customer; return the unit of both from now on.

        The customer's first visitor id stays the unit; a later one, of another device, becomes an alias of it. A visitor id that
        is the unit of another customer, on a shared device, does not change.
        """
        ...

    def quarantine(self, rows: Iterable[Rejected]) -> None:
        """Store payloads that could not be understood; a repeated payload is stored once."""
        ...

    def quarantined(self) -> list[Quarantined]:
        """Return the payloads in the quarantine, the oldest first."""
        ...

    def release(self, ids: Iterable[int]) -> None:
        """Delete rows of the quarantine."""
        ...

    def add_key(self, digest: str, kind: str, hint: str, created_at_ms: int) -> None:
        """Store an API key by its SHA-256."""
        ...

    def revoke_key(self, hint: str, revoked_at_ms: int) -> int:
        """Revoke the keys with a hint; return how many there were."""
        ...

    def keys(self) -> list[ApiKey]:
        """Return the keys, the oldest first."""
        ...

    def secret(self, name: str, fresh: str) -> str:
        """Return a stored secret; `fresh` is stored and returned where there is none yet."""
        ...

    def secrets(self, prefix: str) -> dict[str, str]:
        """Return the secrets whose names begin with the prefix, by name."""
        ...

    def remove_secret(self, name: str) -> None:
        """Delete a stored secret."""
        ...

    def counts(self) -> dict[str, int]:
        """Return the number of rows of every table."""
        ...

    def snapshot(self) -> AbstractContextManager[Fetch]:
        """
        Open one consistent view of all tables: a function of a query and its values (`?`) that streams rows.

        Queries may call content_hash(...) of any columns.
        """
        ...

    def backup(self, path: Path) -> None:
        """Copy the whole store to a new file, while it is written to; the copy is the state of one moment."""
        ...

    def announce_tally(self, experiment: str, at_ms: int) -> None:
        """
        Begin to log changes of an experiment's exposures that are more than a day old.

        Exposures that are read after this call, and changes that are logged after that read, are complete together: a report may
        store what it counted.
        """
        ...

    def keep_tally(
        self, experiment: str, read: tuple[int, int], until_ms: int, content: str, counted: Sequence[int]
    ) -> None:
        """
        Store what a report counted of the exposures before a time, unless another report was quicker.

        Args:
            experiment: The experiment's key.
            read: `announced_at_ms` and `until_ms` of the stored tally that the report began with.
            until_ms: Exposures before this time are in the tally.
            content: The tally.
            counted: The ids of the logged exposures that are in the tally too.
        """
        ...

    def prune_interactions(self, before_ms: int) -> int:
        """Delete interactions before a time; return how many."""
        ...

    def pruned_before_ms(self) -> int:
        """Return the time before which interactions were deleted; 0 where none were."""
        ...

    def person(self, name: str) -> list[str]:
        """Return every id of the person with a visitor's or customer's id; empty where the store has nothing of them."""
        ...

    def rename(self, pseudonyms: Mapping[str, str], quarantined: Sequence[int]) -> dict[str, int]:
        """Replace ids by pseudonyms in all tables, and delete rows of the quarantine; return changed rows by table."""
        ...

    def remember_lake(self, path: str) -> None:
        """Store the folder of a lake that was exported."""
        ...

    def forget_lake(self, path: str) -> None:
        """Delete the folder of a lake that no longer exists."""
        ...

    def lakes(self) -> list[str]:
        """Return the folders of the lakes that were exported."""
        ...

    def close(self) -> None:
        """Close the store's connections."""
        ...
