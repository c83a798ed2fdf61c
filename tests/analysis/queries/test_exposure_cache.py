"""What large experiments' reports keep of past days: the same numbers as from scratch, whatever comes late."""

import random
import shutil
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from analysis import report
from analysis.queries import exposure_cache
from events import Exposure, Refund, Store, open_store
from experiments.declarations.loading import load
from experiments.declarations.model import declared_dict
from tests.analysis.conftest import MARGIN, World
from tests.analysis.queries.test_engines import assert_close  # databases add floats up in any order
from tests.conftest import WriteConfigs
from tests.support.postgres import PostgresServer

DAY = 86_400_000
TODAY = time.time_ns() // 1_000_000 // DAY * DAY  # the store's own clock tells what is late
START = TODAY - 20 * DAY


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few hundred exposures be worth keeping."""
    monkeypatch.setattr(exposure_cache, "MIN_EXPOSURES", 100)


def _world(url: str, configs: Path) -> World:
    world = World(open_store(url), configs)
    world.store.open_epoch("ab", declared_dict(load(configs).experiments["ab"]), START)
    return world


def _expose(world: World, name: str, day: int, variant: str | None = None, **fields: Any) -> None:
    number = int("".join(filter(str.isdigit, name)) or 0)
    world.expose(name, variant or ("control", "offer")[number % 2], START + day * DAY + number % 1000, **fields)


def _fill(world: World, days: int = 20) -> None:
    dice = random.Random(5)
    exposures = [
        Exposure(
            experiment="ab",
            unit_id=f"u{number}",
            variant=("control", "offer")[number % 2],
            epoch=1,
            exposed_at_ms=START + number % days * DAY + dice.randrange(DAY),
            attributes={"device": ("phone", "desk")[number % 3 % 2]} if number % 5 else {},
            bot=number % 50 == 0,
        )
        for number in range(800)
    ]
    world.store.write(exposures)
    for number in range(0, 800, 4):
        world.order(f"u{number}", dice.randrange(500, 9000), START + (number % days + 1) * DAY, cost_minor=100)


def _kept_until(store: Store) -> int | None:
    with store.snapshot() as fetch:
        rows = list(fetch("SELECT until_ms FROM kept_tallies WHERE experiment = 'ab'"))
    return int(rows[0][0]) if rows else None


def _from_scratch(world: World, as_of: int) -> dict[str, Any]:
    """Report with nothing kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.queries.exposures.read_cache", lambda *_: None)
        patch.setattr("analysis.queries.exposures.worth_storing_until", lambda *_: None)
        return report("ab", _url(world), world.configs, as_of).to_dict()


def _url(world: World) -> str:
    return getattr(world, "url", world.store.url)


def _incremental(world: World, as_of: int) -> dict[str, Any]:
    return report("ab", _url(world), world.configs, as_of).to_dict()


def _disturb(world: World, number: int) -> None:
    """Do one of all things that can change what was counted."""
    name = f"late{number}"
    what = (
        lambda: _expose(world, name, number % 9),  # comes late
        lambda: _expose(world, f"u{number}", 1, attributes={"device": "early"}),  # moves to an earlier day
        lambda: _expose(world, f"u{number}", number % 18, ("offer", "control")[number % 2]),  # a second variant, late
        lambda: world.expose(f"u{number}", ("offer", "control")[number % 2], TODAY - 1000),  # or today
        lambda: _expose(world, name, number % 9, bot=True),
        lambda: _expose(world, name, number % 9, "unheard of"),
        lambda: world.store.identify(f"u{number}", f"customer{number % 3}", None, TODAY),
        lambda: world.order(f"u{number}", 12345, START + 3 * DAY, cost_minor=1),  # a late order
        lambda: world.store.write([
            Refund(order_id=str(number % 100 + 1), refund_id=name, refunded_at_ms=TODAY, currency="USD", refunded_minor=300)
        ]),
        lambda: world.store.rename({f"u{number}": f"forgotten-{number}"}, []),
    )  # fmt: skip
    what[number % len(what)]()


def _both(write_configs: WriteConfigs, postgres: PostgresServer, tmp_path: Path, engine: str) -> World:
    configs = write_configs(ab=MARGIN)
    url = f"sqlite:///{tmp_path / 'events.db'}" if engine == "sqlite" else postgres.new_database()
    world = _world(url, configs)
    world.url = url  # type: ignore[attr-defined]
    return world


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_a_report_that_keeps_what_it_counted_says_what_one_from_scratch_does(
    write_configs: WriteConfigs, postgres: PostgresServer, tmp_path: Path, engine: str
) -> None:
    """The first report announces, the second keeps, the others use it, after sixty things that came late."""
    world = _both(write_configs, postgres, tmp_path, engine)
    with closing(world.store):
        _fill(world)
        as_of = TODAY + DAY // 2
        first = _incremental(world, as_of)
        assert _kept_until(world.store) == 0
        assert_close(_incremental(world, as_of), first)
        assert _kept_until(world.store) == TODAY - 2 * DAY
        assert_close(_incremental(world, as_of), first)
        dice = random.Random(engine)
        for round_ in range(3):
            for number in range(10):
                _disturb(world, dice.randrange(1, 790) // 10 * 10 + number)
            assert_close(_incremental(world, as_of), _from_scratch(world, as_of), f"round {round_}: ")
        past = TODAY - 6 * DAY + 777  # a report of the past takes what was kept before it, and reads its own day
        assert_close(_incremental(world, past), _from_scratch(world, past))


def test_days_that_end_are_kept_too_and_changes_are_logged_once(
    write_configs: WriteConfigs, postgres: PostgresServer, tmp_path: Path
) -> None:
    world = _both(write_configs, postgres, tmp_path, "sqlite")
    with closing(world.store):
        _fill(world)
        for as_of in (TODAY - 9 * DAY, TODAY - 9 * DAY):
            _incremental(world, as_of)
        assert _kept_until(world.store) == TODAY - 10 * DAY
        _expose(world, "late1", 2)
        _expose(world, "late2", 2)
        _incremental(world, TODAY)
        assert _kept_until(world.store) == TODAY - 2 * DAY
        with world.store.snapshot() as fetch:
            assert next(iter(fetch("SELECT COUNT(*) FROM late_exposures")))[0] == 0
        assert _incremental(world, TODAY) == _from_scratch(world, TODAY)


def test_other_arms_are_counted_anew(write_configs: WriteConfigs, postgres: PostgresServer, tmp_path: Path) -> None:
    """What was kept of one set of arms says nothing of another; it is kept again for the new one."""
    world = _both(write_configs, postgres, tmp_path, "sqlite")
    with closing(world.store):
        _fill(world)
        for _ in range(2):
            _incremental(world, TODAY)
        world.configs = write_configs(
            ab=MARGIN.replace("  offer: {", "  third: {weight: 1, placement: none}\n  offer: {")
        )
        world.store.open_epoch("ab", declared_dict(load(world.configs).experiments["ab"]), TODAY - DAY)
        _expose(world, "late1", 3, "third", epoch=2)
        found = _incremental(world, TODAY)
        assert found == _from_scratch(world, TODAY)
        assert {row["key"]: row["units"] for row in found["variants"]}["third"] == 1
        assert _incremental(world, TODAY) == found


def test_a_store_that_cannot_be_written_is_read(
    write_configs: WriteConfigs, postgres: PostgresServer, tmp_path: Path
) -> None:
    """Nothing is kept, and nothing fails."""
    world = _both(write_configs, postgres, tmp_path, "sqlite")
    with closing(world.store):
        _fill(world)
    copy = tmp_path / "read only" / "events.db"
    copy.parent.mkdir()
    with closing(open_store(f"sqlite:///{tmp_path / 'events.db'}")) as store:
        store.backup(copy)
    expected = report("ab", f"sqlite:///{tmp_path / 'events.db'}", world.configs, TODAY).to_dict()
    copy.chmod(0o444)
    copy.parent.chmod(0o555)
    try:
        for _ in range(3):
            assert report("ab", f"sqlite:///{copy}", world.configs, TODAY).to_dict() == expected
    finally:
        copy.parent.chmod(0o755)
        shutil.rmtree(copy.parent)


def test_the_store_logs_late_exposures_only_of_what_is_kept(
    write_configs: WriteConfigs, postgres: PostgresServer, tmp_path: Path
) -> None:
    """An import of history costs nothing more before the first large report."""
    for engine in ("sqlite", "postgres"):
        world = _both(write_configs, postgres, tmp_path, engine)
        with closing(world.store):
            _fill(world)
            logged = "SELECT experiment, unit_id, variant, exposed_at_ms, sign FROM late_exposures ORDER BY id"
            with world.store.snapshot() as fetch:
                assert list(fetch(logged)) == []
            world.store.announce_tally("ab", TODAY)
            _expose(world, "late1", 4)
            world.expose("now1", "offer", TODAY + 1)
            _expose(world, "late1", 3)
            with world.store.snapshot() as fetch:
                assert sorted(tuple(row) for row in fetch(logged)) == [
                    ("ab", "late1", "offer", START + 3 * DAY + 1, 1),
                    ("ab", "late1", "offer", START + 4 * DAY + 1, -1),
                    ("ab", "late1", "offer", START + 4 * DAY + 1, 1),
                ]
