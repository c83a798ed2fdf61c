"""Opens the store that a URL names."""

from events.stores.protocol import Store
from events.stores.urls import DEFAULT, WRITABLE, PostgresUrl, SqliteUrl, missing_extra, parse_store_url, wrong_url


def open_store(url: str = DEFAULT) -> Store:
    """
    Open a store; create or migrate its tables where needed.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute/path.db`, or `postgresql://user@host/database`.

    Raises:
        StoreError: The URL names no store that can be written, or the store cannot be opened.
    """
    parsed = parse_store_url(url)
    if isinstance(parsed, SqliteUrl):
        from events.stores.sqlite.store import SqliteStore

        return SqliteStore(parsed)
    if isinstance(parsed, PostgresUrl):
        try:
            from events.stores.postgres.store import PostgresStore
        except ImportError as error:
            raise missing_extra("PostgreSQL", "postgres", error) from None
        return PostgresStore(parsed)
    raise wrong_url(parsed.label, WRITABLE)
