"""Opens the store that a URL names."""

from events.stores.protocol import Store
from experiments.errors import StoreError


def open_store(url: str = "sqlite:///crosslift.db") -> Store:
    """
    Open a store, creating or migrating its tables where needed.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute/path.db`, or `postgresql://user@host/database`.

    Raises:
        StoreError: The URL names no store, or the store cannot be opened.
    """
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        from events.stores.sqlite.store import SqliteStore

        return SqliteStore(url)
    if url.startswith(("postgresql://", "postgres://")):
        try:
            from events.stores.postgres.store import PostgresStore
        except ImportError as error:
            raise StoreError(
                f"--store: PostgreSQL wants the extra: pip install 'crosslift[postgres]' ({error})"
            ) from None
        return PostgresStore(url)
    raise StoreError(f"--store: found {url!r}; wanted sqlite:///FILE or postgresql://...")
