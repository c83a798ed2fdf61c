"""Erases a person: random pseudonyms replace their ids, so that sums and links do not change."""

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from events.lake import rename
from events.stores.protocol import Store
from events.stores.record_rows import FORGOTTEN
from experiments.errors import RequestError


@dataclass
class Forgotten:
    """
    The result of an erasure.

    Attributes:
        ids: How many ids the person had.
        rows: Changed rows by table; deleted rows of the quarantine.
        lakes: Rewritten files by folder.
        missing_lakes: Folders of lakes that no longer exist, and were skipped.
    """

    ids: int
    rows: Mapping[str, int]
    lakes: Mapping[str, int]
    missing_lakes: list[str]


def forget(store: Store, name: str, lakes: Iterable[Path] = (), skip_missing_lakes: bool = False) -> Forgotten:
    """
    Erase the person with a visitor's or customer's id, with their other devices and customer numbers.

    Lakes come first: where one cannot be written nothing is erased in the store yet, and the same call may be repeated.

    Args:
        store: Where the person is looked up.
        name: A visitor id or a customer id.
        lakes: Folders besides those that the store knows.
        skip_missing_lakes: Go on where a lake no longer exists, and do not look for it again.

    Raises:
        RequestError: Nothing is stored of such a person, or a lake no longer exists; nothing was changed.
        StoreError: A lake or the store cannot be written.
    """
    named_lakes = {str(path.resolve()) for path in lakes}
    ids = store.person(name) or (
        [name] if named_lakes else []
    )  # a copy of a lake may hold whom the store has forgotten
    if not ids:
        raise RequestError(f"VISITOR: must be a visitor id or a customer id of stored events, got {name!r}")
    known = sorted(named_lakes | set(store.lakes()))
    missing = [lake for lake in known if not Path(lake).is_dir()]
    if missing and not skip_missing_lakes:
        remedy = "name its new place with --lake, and add --skip-missing-lakes"
        raise RequestError(f"{missing[0]}: no such folder, though this store was exported there: {remedy}")
    pseudonyms = {person_id: f"{FORGOTTEN}{secrets.token_hex(10)}" for person_id in ids}
    rewritten = {lake: rename(Path(lake), pseudonyms) for lake in known if lake not in missing}
    rows = store.rename(pseudonyms, [row.id for row in store.quarantined() if _mentions(row.payload, set(ids))])
    for lake in missing:
        store.forget_lake(lake)
    return Forgotten(len(ids), rows, rewritten, missing)


def _mentions(payload: str, ids: set[str]) -> bool:
    try:
        return _holds(json.loads(payload), ids)
    except (ValueError, RecursionError):
        return any(person_id in payload for person_id in ids)


def _holds(value: Any, ids: set[str]) -> bool:
    """Return whether a field named `..._id` holds one of the ids; a quantity of 2 is not customer 2."""
    if isinstance(value, dict):
        fields = (
            str(field).strip()
            for key, field in value.items()
            if key.endswith("_id") and not isinstance(field, (dict, list))
        )
        return any(field in ids for field in fields) or any(_holds(part, ids) for part in value.values())
    return isinstance(value, list) and any(_holds(part, ids) for part in value)
