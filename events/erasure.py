"""Forgetting a person: random pseudonyms take the place of their ids, so that every sum and link stays as it was."""

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
    What was done.

    Attributes:
        ids: How many ids the person had.
        rows: Rows changed, by table; of the quarantine those deleted.
        lakes: Files rewritten, by folder.
        missing_lakes: Folders that were exported to, are no longer there, and were skipped.
    """

    ids: int
    rows: Mapping[str, int]
    lakes: Mapping[str, int]
    missing_lakes: list[str]


def forget(store: Store, name: str, lakes: Iterable[Path] = (), skip_missing_lakes: bool = False) -> Forgotten:
    """
    Forget the person who has a visitor's or customer's id: other devices and customer numbers of theirs too.

    Lakes come first: where one cannot be written nothing is forgotten yet, and the same call works again.

    Args:
        store: Where the person is looked up.
        name: A visitor id or a customer id.
        lakes: Folders besides those that the store remembers.
        skip_missing_lakes: Go on where a lake is not there any more, and do not ask for it again.

    Raises:
        RequestError: Nothing is held of such a person, or a lake is not where it was; nothing was changed.
        StoreError: A lake or the store cannot be written.
    """
    given = {str(path.resolve()) for path in lakes}
    ids = store.person(name) or ([name] if given else [])  # a copy of a lake may know whom the store has forgotten
    if not ids:
        raise RequestError(f"found nothing of a visitor or customer {name!r}; wanted an id that events carry")
    known = sorted(given | set(store.lakes()))
    missing = [lake for lake in known if not Path(lake).is_dir()]
    if missing and not skip_missing_lakes:
        wanted = "wanted --lake with where it is now, and --skip-missing-lakes"
        raise RequestError(f"{missing[0]}: found no folder, though this store was exported there; {wanted}")
    pseudonyms = {one: f"{FORGOTTEN}{secrets.token_hex(10)}" for one in ids}
    rewritten = {lake: rename(Path(lake), pseudonyms) for lake in known if lake not in missing}
    rows = store.rename(pseudonyms, [row[0] for row in store.quarantined() if _mentions(row[4], set(ids))])
    for lake in missing:
        store.forget_lake(lake)
    return Forgotten(len(ids), rows, rewritten, missing)


def _mentions(payload: str, ids: set[str]) -> bool:
    try:
        return _holds(json.loads(payload), ids)
    except (ValueError, RecursionError):
        return any(one in payload for one in ids)


def _holds(value: Any, ids: set[str]) -> bool:
    """Whether a field of ids holds one of them; a quantity of 2 is not customer 2."""
    if isinstance(value, dict):
        named = (
            str(one).strip() for key, one in value.items() if key.endswith("_id") and not isinstance(one, (dict, list))
        )
        return any(one in ids for one in named) or any(_holds(one, ids) for one in value.values())
    return isinstance(value, list) and any(_holds(one, ids) for one in value)
