"""Where events are written: the contract that every store keeps."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from events.records import EventRecord


class Fetch(Protocol):
    """Runs a query, and streams its rows."""

    def __call__(self, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Run a query."""
        ...


class Store(Protocol):
    """
    Keeps what happened. Every write is idempotent, and durable before it returns.

    Every method raises StoreError when the store cannot be reached or written; then nothing of the call was kept.
    """

    url: str

    def write(self, records: Sequence[EventRecord], durable: bool = True) -> list[bool]:
        """
        Write records, whole or not at all; what other threads write meanwhile shares the transaction.

        Exposures keep the earliest of (experiment, unit_id, variant), interactions the earliest of an event_id, orders the
        newest updated_at_ms of (shop, order_id), verified states before others, refunds the newest of
        (shop, order_id, refund_id). An order's refunded_minor
        is the sum of its refunds, or what it states itself where that is more. Whatever the order of arrival, the same is kept.

        Args:
            records: What happened.
            durable: False where losing the last moments at a power cut is acceptable; a crash of the process loses nothing.

        Returns:
            For every record, in order: True where it was new, False where it (or a newer state of it) was there already.

        Raises:
            StoreBusy: Too much waits to be written already.
        """
        ...

    def open_epoch(self, experiment: str, declaration: Mapping[str, Any], declared_at_ms: int) -> int:
        """Give the number of the declaration's epoch, opening a new one where it differs in more than its texts."""
        ...

    def newest_epoch(self, experiment: str) -> int | None:
        """Give the number of an experiment's newest epoch; None before its first."""
        ...

    def identify(self, visitor_id: str, customer_id: str, company_id: str | None, linked_at_ms: int) -> str:
        """
        Link a visitor to a customer, and give the unit that both are from now on.

        The first visitor id of a customer stays its unit; a later one (another device) becomes an alias of it. A visitor id that
        is the unit of another customer (a shared device) stays that.
        """
        ...

    def quarantine(self, rows: Iterable[tuple[int, str, str, str]]) -> None:
        """Keep what could not be understood: (received_at_ms, source, reason, payload); a repeated payload once."""
        ...

    def quarantined(self) -> list[tuple[int, int, str, str, str]]:
        """Give (id, received_at_ms, source, reason, payload), the oldest first."""
        ...

    def release(self, ids: Iterable[int]) -> None:
        """Take rows out of the quarantine."""
        ...

    def add_key(self, digest: str, kind: str, hint: str, created_at_ms: int) -> None:
        """Keep an API key by its SHA-256."""
        ...

    def revoke_key(self, hint: str, revoked_at_ms: int) -> int:
        """Revoke the keys with a hint; give how many there were."""
        ...

    def keys(self) -> list[dict[str, Any]]:
        """Give the keys, the oldest first: digest, kind, hint, created_at_ms, revoked_at_ms."""
        ...

    def secret(self, name: str, fresh: str) -> str:
        """Give a stored secret; `fresh` is stored and given where there is none yet."""
        ...

    def secrets(self, prefix: str) -> dict[str, str]:
        """Give the stored secrets whose names begin so, by name."""
        ...

    def remove_secret(self, name: str) -> None:
        """Delete a stored secret."""
        ...

    def counts(self) -> dict[str, int]:
        """Give the number of rows of every table."""
        ...

    def snapshot(self) -> AbstractContextManager[Fetch]:
        """
        Open one consistent view of all tables, as a function of a query and its values (`?`) that streams rows.

        Queries may call content_hash(...) of any columns.
        """
        ...

    def backup(self, path: Path) -> None:
        """Copy the whole store to a new file while it is written to; the copy is one moment's state."""
        ...

    def announce_tally(self, experiment: str, at_ms: int) -> None:
        """
        Begin to log what changes the exposures of an experiment that are more than a day old.

        What is read of them after this, and logged after that reading, is all there is: a report may keep what it counted.
        """
        ...

    def keep_tally(
        self, experiment: str, read: tuple[int, int], until_ms: int, content: str, counted: Sequence[int]
    ) -> None:
        """
        Keep what a report counted of the exposures before a time, unless another report was quicker.

        Args:
            experiment: Its key.
            read: `announced_at_ms` and `until_ms` of the kept tally that the report began with.
            until_ms: Exposures before it are in the tally.
            content: The tally.
            counted: The logged exposures that are in it too, by id.
        """
        ...

    def prune_interactions(self, before_ms: int) -> int:
        """Delete interactions of before a time; give how many."""
        ...

    def pruned_before_ms(self) -> int:
        """Give the time before which interactions were deleted; 0 where none were."""
        ...

    def person(self, name: str) -> list[str]:
        """Give every id of the person who has a visitor's or customer's id; empty where nothing is held of them."""
        ...

    def rename(self, pseudonyms: Mapping[str, str], quarantined: Sequence[int]) -> dict[str, int]:
        """Put pseudonyms in the place of ids in all tables, delete rows of the quarantine, and give rows changed by table."""
        ...

    def remember_lake(self, path: str) -> None:
        """Note where a lake was exported to."""
        ...

    def forget_lake(self, path: str) -> None:
        """Note that a lake is gone."""
        ...

    def lakes(self) -> list[str]:
        """Give the folders that were exported to."""
        ...

    def close(self) -> None:
        """Let go of the store's resources."""
        ...
