"""Keys: made, listed, revoked, and never kept as they are."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from events import Store
from server.http.keys import Keyring, create_key
from tests.server.conftest import Api

Run = Callable[..., Result]


def test_keys_are_shown_once(run: Run, store_url: str) -> None:
    """The first call makes a pair; later ones list hints. The store keeps only digests."""
    made = json.loads(run("keys", "--store", store_url, "--format", "json").output)
    assert (made["publishable"][:3], made["secret"][:3]) == ("pk_", "sk_")
    listed = run("keys", "--store", store_url).output
    assert made["secret"] not in listed
    assert made["secret"][:9] in listed
    with sqlite3.connect(store_url.removeprefix("sqlite:///")) as connection:
        assert made["secret"] not in str(connection.execute("SELECT * FROM keys").fetchall())
    connection.close()


def test_a_revoked_key_is_refused_within_two_seconds(run: Run, api: Api, store: Store, store_url: str) -> None:
    """By hint, as listed; an unknown hint is wrong use."""
    now = [0.0]
    keyring = Keyring(store, lambda: now[0])
    assert keyring.kind(api.secret) == "secret"
    assert run("keys", "revoke", api.secret[:9], "--store", store_url).exit_code == 0
    now[0] += 2
    assert keyring.kind(api.secret) is None
    assert keyring.kind(api.publishable) == "publishable"
    assert run("keys", "revoke", api.secret[:9], "--store", store_url).exit_code == 2


def test_options_may_stand_before_or_after(run: Run, tmp_path: Path) -> None:
    """`keys --store URL create` makes keys in that store, as `keys create --store URL` does."""
    url = f"sqlite:///{tmp_path}/other.db"
    for arguments in (
        ("keys", "--store", url, "--format", "json", "create"),
        ("keys", "create", "--store", url, "--format", "json"),
    ):
        assert set(json.loads(run(*arguments).output)) == {"publishable", "secret"}
    assert len(json.loads(run("keys", "--store", url, "--format", "json").output)["keys"]) == 4


def test_a_new_key_is_known_at_once(api: Api, store: Store) -> None:
    """A key made while the server runs needs no restart."""
    now = [0.0]
    keyring = Keyring(store, lambda: now[0])
    assert keyring.kind("pk_nothing") is None
    now[0] += 0.2
    assert keyring.kind(create_key(store, "publishable", 2)) == "publishable"
