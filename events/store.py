"""Where events are written: the contract that every store keeps, and the door to them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from events.records import AnyRecord
from experiments.errors import StoreError


class Store(Protocol):
    """
    Keeps what happened. Every write is idempotent, and durable before it returns.

    Every method raises StoreError when the store cannot be reached or written; then nothing of the call was kept.
    """

    url: str

    def write(self, records: Sequence[AnyRecord]) -> list[bool]:
        """
        Write records in one transaction.

        Exposures keep the earliest of (experiment, unit_id, variant), interactions the first of an event_id, orders the
        newest updated_at_ms of (shop, order_id).

        Returns:
            For every record, in order: True where it was new, False where it (or a newer state of it) was there already.
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
        """Keep what could not be understood: (received_at_ms, source, reason, payload)."""
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

    def counts(self) -> dict[str, int]:
        """Give the number of rows of every table."""
        ...

    def close(self) -> None:
        """Let go of the store's resources."""
        ...


def open_store(url: str = "sqlite:///crosslift.db") -> Store:
    """
    Open a store, creating or migrating its tables where needed.

    Args:
        url: `sqlite:///relative.db` or `sqlite:////absolute/path.db`.

    Raises:
        StoreError: The URL names no store, or the store cannot be opened.
    """
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        from events.sqlite import SqliteStore

        return SqliteStore(url)
    raise StoreError(f"--store: found {url!r}; wanted sqlite:///FILE")
