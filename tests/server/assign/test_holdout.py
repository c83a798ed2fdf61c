"""The holdout: nobody in it is shown anything, and it is itself an experiment."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from scipy.stats import binom

from events import Store
from experiments import load
from experiments.assignment.draw import draw
from server import create_app
from server.http.keys import create_key
from tests.conftest import AB, WriteConfigs
from tests.server.conftest import NOW, Api

Run = Callable[..., Result]

SHOWING = AB.replace("placement: none", "placement: sidebar, offer: {kind: cross_sell, products: [p1]}")


@pytest.fixture
def held(write_configs: WriteConfigs, store: Store) -> tuple[Api, Path]:
    """An app whose shop holds 20% out, with two experiments, one of them for phones only."""
    phones = SHOWING.replace("key: ab", "key: phones\naudience: {device: mobile}")
    configs = write_configs(
        files={"shop.yaml": "holdout: 20%\n"}, ab=SHOWING.replace("key: ab", "key: ab\ntraffic: 50%"), phones=phones
    )
    made = Api(None, create_key(store, "publishable", 1), create_key(store, "secret", 1))  # type: ignore[arg-type]
    made.client = create_app(configs, store, lambda: made.now_ms).test_client()
    return made, configs


def rows(store: Store, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(store.url.removeprefix("sqlite:///")) as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


def test_who_is_held_out_sees_nothing(held: tuple[Api, Path], store: Store) -> None:
    """In no experiment, by the draw alone; exposed to the holdout where they would have taken part."""
    api, _ = held
    for number in range(400):
        visitor = f"v{number}"
        found = api.assign(visitor, context={"device": "mobile"} if number % 2 else {}, expose=True)
        out = draw(f"holdout:{visitor}") < 0.2
        for one in found.values():
            assert (one["reason"] == "holdout") == out
            assert not out or (one["variant"], one["placement"], one["offer"]) == (None, "none", None)
    grouped = rows(store, "SELECT variant, COUNT(*) FROM exposures WHERE experiment = 'holdout' GROUP BY variant")
    counts = {str(variant): int(str(count)) for variant, count in grouped}
    total = sum(counts.values())
    low, high = binom.interval(1 - 1e-4, total, 0.2)
    assert low <= counts["held_out"] <= high
    assert 250 < total < 350  # half by traffic, and the phones besides
    units = "SELECT COUNT(DISTINCT unit_id) FROM exposures WHERE experiment IN ('ab', 'phones')"
    assert rows(store, units) == [(counts["programme"],)]


def test_exposures_by_token_tell_the_programme_too(held: tuple[Api, Path], store: Store) -> None:
    """The counts of the answer stay those of the events that were sent; sent again, nothing changes."""
    api, _ = held
    sent = []
    for number in range(60):
        token = api.assign(f"v{number}")["ab"]["exposure_token"]
        sent += [{"type": "exposure", "exposure_token": token, "visitor_id": f"v{number}"}] if token else []
    assert api.events(*sent) == {"accepted": len(sent), "duplicates": 0, "rejected": []}
    assert api.events(*sent) == {"accepted": 0, "duplicates": len(sent), "rejected": []}
    held_out = rows(store, "SELECT COUNT(*) FROM exposures WHERE experiment = 'holdout'")
    assert held_out == [(len(sent),)]


def test_exposures_without_a_token_tell_the_holdout_too(held: tuple[Api, Path], store: Store) -> None:
    """Whichever way exposures come, both arms of the holdout are logged by one rule."""
    api, _ = held
    for number in range(200):
        api.events({"type": "exposure", "experiment": "ab", "visitor_id": f"v{number}"})
    logged = rows(store, "SELECT DISTINCT variant FROM exposures WHERE experiment = 'holdout' ORDER BY 1")
    assert logged == [("held_out",), ("programme",)]
    out = next(f"v{number}" for number in range(200) if draw(f"holdout:v{number}") < 0.2)
    rejected = api.events({"type": "exposure", "experiment": "ab", "visitor_id": out, "variant": "offer"})["rejected"]
    assert rejected


def test_the_programme_is_reported(held: tuple[Api, Path], store: Store, run: Run) -> None:
    """`crosslift report holdout`: the programme over the held-out, against the declared share."""
    api, configs = held
    orders = []
    for number in range(600):
        api.assign(f"v{number}", expose=True)
        if number % 3 == 0:
            orders.append(
                {
                    "type": "order",
                    "order_id": str(number),
                    "visitor_id": f"v{number}",
                    "ordered_at_ms": NOW,
                    "gross": "20.00",
                }
            )
    api.events(*orders, key=api.secret)
    common = ("--configs", configs, "--store", store.url, "--as-of", "2026-06-01")
    found = json.loads(run("report", "holdout", *common, "--format", "json").output)
    assert [(row["key"], row["weight"]) for row in found["variants"]] == [("held_out", 0.2), ("programme", 0.8)]
    assert found["trust"]["passed"] is True
    assert found["metrics"]["revenue_per_visitor"]["lifts"]["programme"]["relative"]["estimate"] is not None
    assert "What does the whole programme bring?" in run("report", "holdout", *common).output


def test_no_holdout_has_no_report(run: Run, write_configs: WriteConfigs, store: Store) -> None:
    """And its key is nobody else's."""
    result = run("report", "holdout", "--configs", write_configs(), "--store", store.url)
    assert (result.exit_code, "wanted a share above 0%" in str(result.exception)) == (2, True)
    root = write_configs("taken", holdout=AB.replace("key: ab", "key: holdout"))
    assert "which is the shop's own" in run("check", root).output
    assert load(write_configs("free")).shop.holdout == 0
