"""crosslift quarantine: what a shop sent and could not be understood is kept, and taken once it can."""

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from events import Store
from tests.server.conftest import NOW, Api

ORDER = {
    "type": "order",
    "order_id": "o1",
    "visitor_id": "anna",
    "ordered_at_ms": NOW,
    "gross": "19.90",
    "currency": "EUR",
}
CLICK = {"type": "click", "event_id": "e1", "experiment": "later", "variant": "offer", "visitor_id": "anna"}


def test_what_was_refused_is_taken_once_it_can_be(
    api: Api, store: Store, configs: Path, run: Callable[..., Result], store_url: str
) -> None:
    """The shop's currency was wrong, and an experiment not declared yet; both are mended, and nothing counts twice."""
    api.events(ORDER, {"type": "clack"}, CLICK, key=api.secret)
    api.events(ORDER, key=api.secret)
    options = ("--store", store_url)
    listed = json.loads(run("quarantine", "list", "--format", "json", *options).output)["quarantine"]
    assert [json.loads(one["payload"])["type"] for one in listed] == ["order", "clack", "click"]
    assert listed[0]["reason"] == "currency: must be USD, the shop's, or one of orders.rates in shop.yaml, got EUR"
    shown = run("quarantine", "list", *options).output
    assert "3 in quarantine." in shown
    assert "got `clack`" in shown
    still = run("quarantine", "replay", "--configs", configs, *options)
    assert (still.exit_code, "0 accepted, 3 still refused" in still.output) == (1, True)
    (configs / "shop.yaml").write_text("currency: EUR\n")
    only = run("quarantine", "replay", listed[0]["id"], "--configs", configs, *options)
    assert (only.exit_code, only.output) == (0, "1 accepted, 0 still refused.\n")
    text = (configs / "experiments" / "ab.yaml").read_text().replace("key: ab", "key: later")
    (configs / "experiments" / "later.yaml").write_text(text)
    rest = run("quarantine", "replay", "--configs", configs, *options)
    assert (rest.exit_code, "1 accepted, 1 still refused" in rest.output) == (1, True)
    with store.snapshot() as fetch:
        assert list(fetch("SELECT occurred_at_ms FROM interactions")) == [(NOW,)]  # when it had come
    assert store.counts() | {"orders": 1, "interactions": 1, "quarantine": 1} == store.counts()


def test_an_id_that_is_not_held_is_wrong_use(
    api: Api, configs: Path, run: Callable[..., Result], store_url: str
) -> None:
    """And nothing is tried."""
    result = run("quarantine", "replay", "7", "--configs", configs, "--store", store_url)
    assert (result.exit_code, "shows, got 7" in str(result.exception)) == (2, True)


def test_what_will_never_be_taken_can_be_dropped(
    api: Api, store: Store, run: Callable[..., Result], store_url: str, tmp_path: Path
) -> None:
    """By its id; a store that is not there is not made by looking into it."""
    api.events({"type": "clack"}, ORDER, key=api.secret)
    first = store.quarantined()[0].id
    assert run("quarantine", "drop", first, "--store", store_url).output == "1 dropped.\n"
    assert run("quarantine", "drop", first, "--store", store_url).exit_code == 2
    assert [json.loads(row.payload)["type"] for row in store.quarantined()] == ["order"]
    missing = f"sqlite:///{tmp_path / 'typo.db'}"
    assert "must be a store that exists" in str(run("quarantine", "list", "--store", missing).exception)
    assert not (tmp_path / "typo.db").exists()
