"""The part of both stores that is the same SQL: epochs, identities, quarantine, keys, retention and erasure."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from hashlib import sha256
from typing import Any

from events.records import EventRecord
from events.stores.protocol import ApiKey, Fetch, Quarantined, Rejected
from events.stores.record_rows import FORGOTTEN, attributes_text
from events.stores.tables import (
    ALIASES,
    EPOCHS,
    EVENT_TABLES,
    IDENTIFYING,
    IDENTITIES,
    KEPT_TALLIES,
    KEYS,
    LAKES,
    SECRETS,
    Table,
)
from experiments.declarations.model import material

Execute = Callable[..., Any]

PRUNED_AT_ONCE = 20_000
DELETED_AT_ONCE = 500
_PRUNED = "interactions_pruned_before_ms"


def insert(table: Table) -> str:
    """Return the statement that inserts a row of all columns."""
    return f"INSERT INTO {table.name} ({', '.join(table.names)}) VALUES ({', '.join('?' * len(table.names))})"  # noqa: S608


class SqlStore(ABC):
    """The part of the Store that is the same in every SQL; `?` stands for a value."""

    url: str

    @abstractmethod
    def write(self, records: Sequence[EventRecord], durable: bool = True) -> list[bool]:
        """Write records; see Store.write."""

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[Execute]:
        """Open a transaction in which no other process changes anything but events."""

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[Fetch]:
        """Open one consistent view of all tables; rows come in a stream."""

    @abstractmethod
    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Read rows outside of a transaction."""

    def open_epoch(self, experiment: str, declaration: Mapping[str, Any], declared_at_ms: int) -> int:
        """Return the number of the declaration's epoch; open a new epoch where it differs in more than its texts."""
        newest = "SELECT epoch, declaration FROM epochs WHERE experiment = ? ORDER BY epoch DESC LIMIT 1"
        with self._transaction() as execute:
            row = execute(newest, (experiment,)).fetchone()
            if row and json.dumps(material(json.loads(row[1]))) == json.dumps(material(declaration)):
                return int(row[0])
            number = int(row[0]) + 1 if row else 1
            text = json.dumps(declaration, ensure_ascii=False)
            execute(insert(EPOCHS), (experiment, number, declared_at_ms, text))
        return number

    def newest_epoch(self, experiment: str) -> int | None:
        """Return the number of an experiment's newest epoch."""
        row = self._read("SELECT MAX(epoch) FROM epochs WHERE experiment = ?", experiment)[0]
        return None if row[0] is None else int(row[0])

    def identify(self, visitor_id: str, customer_id: str, company_id: str | None, linked_at_ms: int) -> str:
        """Link a visitor to a customer; see Store.identify."""
        with self._transaction() as execute:
            alias = execute("SELECT unit_id FROM aliases WHERE visitor_id = ?", (visitor_id,)).fetchone()
            visitor_unit = str(alias[0]) if alias else visitor_id
            known = execute("SELECT unit_id FROM identities WHERE customer_id = ?", (customer_id,)).fetchone()
            if known is None:
                execute(insert(IDENTITIES), (customer_id, visitor_unit, company_id, linked_at_ms))
                return visitor_unit
            if company_id is not None:
                execute("UPDATE identities SET company_id = ? WHERE customer_id = ?", (company_id, customer_id))
            unit_id = str(known[0])
            shared = execute(
                "SELECT 1 FROM identities WHERE unit_id = ? AND customer_id <> ?", (visitor_unit, customer_id)
            )
            if alias is None and visitor_id != unit_id and shared.fetchone() is None:
                execute(insert(ALIASES), (visitor_id, unit_id, linked_at_ms))
        return unit_id

    def quarantine(self, rows: Iterable[Rejected]) -> None:
        """Store payloads that could not be understood; a repeated payload is stored once."""
        insert_row = (
            "INSERT INTO quarantine (received_at_ms, source, reason, payload, digest) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (digest) DO NOTHING"
        )
        with self._transaction() as execute:
            for row in rows:
                reason, payload = (
                    text.replace("\0", "\ufffd") for text in (row.reason, row.payload)
                )  # PostgreSQL has no NUL
                digest = quarantine_digest(row.source, payload)
                execute(insert_row, (row.received_at_ms, row.source, reason, payload, digest))

    def quarantined(self) -> list[Quarantined]:
        """Return the payloads in the quarantine, the oldest first."""
        query = "SELECT id, received_at_ms, source, reason, payload FROM quarantine ORDER BY id"
        return [Quarantined(*row) for row in self._read(query)]

    def release(self, ids: Iterable[int]) -> None:
        """Delete rows of the quarantine."""
        with self._transaction() as execute:
            for row_id in ids:
                execute("DELETE FROM quarantine WHERE id = ?", (row_id,))

    def add_key(self, digest: str, kind: str, hint: str, created_at_ms: int) -> None:
        """Store an API key by its SHA-256."""
        with self._transaction() as execute:
            execute(insert(KEYS), (digest, kind, hint, created_at_ms, None))

    def revoke_key(self, hint: str, revoked_at_ms: int) -> int:
        """Revoke the keys with a hint; return how many there were."""
        with self._transaction() as execute:
            update = "UPDATE keys SET revoked_at_ms = ? WHERE hint = ? AND revoked_at_ms IS NULL"
            return int(execute(update, (revoked_at_ms, hint)).rowcount)

    def keys(self) -> list[ApiKey]:
        """Return the keys, the oldest first."""
        rows = self._read(f"SELECT {', '.join(KEYS.names)} FROM keys ORDER BY created_at_ms, kind")  # noqa: S608
        return [ApiKey(*row) for row in rows]

    def secret(self, name: str, fresh: str) -> str:
        """Return a stored secret; `fresh` is stored and returned where there is none yet."""
        with self._transaction() as execute:
            execute(f"{insert(SECRETS)} ON CONFLICT DO NOTHING", (name, fresh))
            return str(execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()[0])

    def secrets(self, prefix: str) -> dict[str, str]:
        """Return the secrets whose names begin with the prefix, by name."""
        query = "SELECT name, value FROM secrets WHERE substr(name, 1, ?) = ? ORDER BY name"
        return {str(name): str(value) for name, value in self._read(query, len(prefix), prefix)}

    def remove_secret(self, name: str) -> None:
        """Delete a stored secret."""
        with self._transaction() as execute:
            execute("DELETE FROM secrets WHERE name = ?", (name,))

    def counts(self) -> dict[str, int]:
        """Return the number of rows of every table."""
        return {table.name: int(self._read(f"SELECT COUNT(*) FROM {table.name}")[0][0]) for table in EVENT_TABLES}  # noqa: S608

    def remember_lake(self, path: str) -> None:
        """Store the folder of a lake that was exported."""
        with self._transaction() as execute:
            execute(f"{insert(LAKES)} ON CONFLICT DO NOTHING", (path,))

    def forget_lake(self, path: str) -> None:
        """Delete the folder of a lake that no longer exists."""
        with self._transaction() as execute:
            execute("DELETE FROM lakes WHERE path = ?", (path,))

    def lakes(self) -> list[str]:
        """Return the folders of the lakes that were exported."""
        return [str(path) for (path,) in self._read("SELECT path FROM lakes ORDER BY path")]

    def announce_tally(self, experiment: str, at_ms: int) -> None:
        """Begin to log changes of past days' exposures; see Store.announce_tally."""
        with self._transaction() as execute:
            self._wait_for_exposures(execute)
            execute(f"{insert(KEPT_TALLIES)} ON CONFLICT (experiment) DO NOTHING", (experiment, at_ms, 0, ""))

    @abstractmethod
    def _wait_for_exposures(self, execute: Execute) -> None:
        """Within a transaction, wait for other writers of exposures."""

    def keep_tally(
        self, experiment: str, read: tuple[int, int], until_ms: int, content: str, counted: Sequence[int]
    ) -> None:
        """Store what a report counted, unless another was quicker; see Store.keep_tally."""
        keep = (
            "UPDATE kept_tallies SET until_ms = ?, content = ?"
            " WHERE experiment = ? AND announced_at_ms = ? AND until_ms = ?"
        )
        with self._transaction() as execute:
            if execute(keep, (until_ms, content, experiment, *read)).rowcount:
                for start in range(0, len(counted), DELETED_AT_ONCE):
                    part = counted[start : start + DELETED_AT_ONCE]
                    execute(f"DELETE FROM late_exposures WHERE id IN ({', '.join('?' * len(part))})", part)  # noqa: S608

    def prune_interactions(self, before_ms: int) -> int:
        """Delete interactions before a time, a few at a time so that no writer waits; return how many."""
        delete = (
            "DELETE FROM interactions WHERE event_id IN"
            " (SELECT event_id FROM interactions WHERE occurred_at_ms < ? LIMIT ?)"
        )
        mark = (
            f"{insert(SECRETS)} ON CONFLICT (name) DO UPDATE SET value = excluded.value"
            " WHERE CAST(secrets.value AS BIGINT) < CAST(excluded.value AS BIGINT)"
        )
        with self._transaction() as execute:  # before the first is deleted: lakes keep what was pruned
            execute(mark, (_PRUNED, str(before_ms)))
        pruned = 0
        while True:
            with self._transaction() as execute:
                deleted = int(execute(delete, (before_ms, PRUNED_AT_ONCE)).rowcount)
            pruned += deleted
            if deleted < PRUNED_AT_ONCE:
                return pruned

    def pruned_before_ms(self) -> int:
        """Return the time before which interactions were deleted; 0 where none were."""
        rows = self._read("SELECT value FROM secrets WHERE name = ?", _PRUNED)
        return int(rows[0][0]) if rows else 0

    def person(self, name: str) -> list[str]:
        """
        Return every id of the person with a visitor's or customer's id: `name`, devices, customer numbers.

        The list is empty where the store has nothing of them.
        """
        visitors = {name} | self._ids("SELECT unit_id FROM aliases WHERE visitor_id = ?", [name])
        customers = self._ids("SELECT customer_id FROM identities WHERE customer_id = ?", [name])
        customers |= self._ids("SELECT customer_id FROM orders WHERE customer_id = ?", [name])
        if not customers:  # by a customer's id, other customers of the same device are not found
            customers = self._ids("SELECT customer_id FROM identities WHERE unit_id = ?", visitors)
            customers |= self._ids("SELECT customer_id FROM orders WHERE unit_id = ?", visitors)
        visitors |= self._ids("SELECT unit_id FROM identities WHERE customer_id = ?", customers)
        visitors |= self._ids("SELECT unit_id FROM orders WHERE customer_id = ?", customers)
        visitors |= self._ids("SELECT visitor_id FROM aliases WHERE unit_id = ?", visitors)
        ids = sorted(visitors | customers)
        return ids if any(self._occurs(person_id) for person_id in ids) else []

    def _ids(self, query: str, values: Iterable[str]) -> set[str]:
        ids = {str(row[0]) for value in values for row in self._read(query, value) if row[0] is not None}
        return {person_id for person_id in ids if not person_id.startswith(FORGOTTEN)}

    def _occurs(self, name: str) -> bool:
        return any(
            self._read(f"SELECT 1 FROM {table} WHERE {column} = ? LIMIT 1", name)  # noqa: S608
            for table, columns in IDENTIFYING.items()
            for column in columns
        )

    def rename(self, pseudonyms: Mapping[str, str], quarantined: Sequence[int]) -> dict[str, int]:
        """
        Replace ids by pseudonyms everywhere, and delete rows of the quarantine; sums and links do not change.

        Returns:
            Rows changed, by table.
        """
        ids = list(pseudonyms)
        with self._transaction() as execute:
            changed = {table: _rows_with(execute, table, columns, ids) for table, columns in IDENTIFYING.items()}
            for name, pseudonym in pseudonyms.items():
                _scrub_attributes(execute, name, pseudonyms)
                execute(
                    "UPDATE interactions SET event_id = replace(event_id, ?, ?) WHERE unit_id = ?",
                    (name, pseudonym, name),
                )
                # A digest of known values and one id would show the id to whoever tries them all.
                execute("UPDATE orders SET digest = '' WHERE unit_id = ? OR customer_id = ?", (name, name))
                for table, columns in IDENTIFYING.items():
                    for column in columns:
                        execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (pseudonym, name))  # noqa: S608
            for table in ("kept_tallies", "late_exposures"):  # they name units; reports count again
                execute(f"DELETE FROM {table}")  # noqa: S608
            for row_id in quarantined:
                execute("DELETE FROM quarantine WHERE id = ?", (row_id,))
        return changed | {"quarantine": len(quarantined)}


def _rows_with(execute: Execute, table: str, columns: Sequence[str], ids: Sequence[str]) -> int:
    marks = ", ".join("?" * len(ids))
    holds = " OR ".join(f"{column} IN ({marks})" for column in columns)
    return int(execute(f"SELECT COUNT(*) FROM {table} WHERE {holds}", [*ids] * len(columns)).fetchone()[0])  # noqa: S608


def _scrub_attributes(execute: Execute, name: str, pseudonyms: Mapping[str, str]) -> None:
    """Replace ids among the attributes of a unit's exposures."""
    select = "SELECT experiment, variant, attributes FROM exposures WHERE unit_id = ?"
    rows = execute(select, (name,)).fetchall()
    update = "UPDATE exposures SET attributes = ? WHERE experiment = ? AND variant = ? AND unit_id = ?"
    for experiment, variant, attributes in rows:
        execute(update, (scrubbed(attributes, pseudonyms), experiment, variant, name))


def scrubbed(attributes: str, pseudonyms: Mapping[str, str]) -> str:
    """Return attributes with pseudonyms for the ids."""
    values = json.loads(attributes)
    renamed = {
        key: pseudonyms.get(str(value), value) if isinstance(value, str) or key.endswith("_id") else value
        for key, value in values.items()
    }
    return attributes if renamed == values else attributes_text(renamed)


def quarantine_digest(source: str, payload: str) -> str:
    """Return the digest by which a repeated payload is recognised."""
    return sha256(f"{source}\0{payload}".encode()).hexdigest()[:32]
