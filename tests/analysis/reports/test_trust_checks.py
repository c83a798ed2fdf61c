"""Trust checks: each finds the fault it is for, and says what to do."""

import json

import numpy as np
import pytest

from analysis import Report
from analysis.queries.breakdowns import SoldOrders
from analysis.reports.curves import LogPoint
from analysis.reports.trust_checks import (
    bots,
    cost_coverage,
    documentation,
    novelty,
    pre_period,
    sample_ratio,
    too_good,
    unmatched_orders,
)
from analysis.stats.lift import compare
from analysis.stats.moments import Moments
from analysis.stats.sample_ratio import anytime_ratio_p
from events import Exposure, Order
from tests.analysis.conftest import AT, DAY, MARGIN, World, fill
from tests.conftest import ROOT, WriteConfigs

EVEN = {"control": 1.0, "offer": 1.0}


def check(found: Report, name: str) -> dict[str, object]:
    told: dict[str, object] = next(one for one in found.to_dict()["trust"]["checks"] if one["name"] == name)
    return told


def test_all_checks_are_there(world: World) -> None:
    """By the names of DESIGN.md, in this order."""
    fill(world, {"control": 100, "offer": 110}, 1000)
    names = [one.name for one in world.report().checks]
    assert names == [
        "sample_ratio", "multiple_exposure", "unmatched_orders", "pre_period", "bots", "cost_coverage", "too_good", "novelty",
    ]  # fmt: skip
    assert world.report().is_trusted


def test_the_documentation_lists_the_checks() -> None:
    """`python -m analysis.reports.trust_checks` prints the table in docs/statistics.md."""
    assert documentation() in (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")


def test_a_day_on_which_an_arm_was_lost(world: World) -> None:
    """The whole looks fine; the day does not."""
    for day in range(5):
        for number in range(200):
            variant = "control" if number % 2 else "offer"
            if day == 2 and number < 80:
                variant = "control"
            world.expose(f"{day}-{number}", variant, AT + day * DAY)
    for number in range(80):  # and another day makes up for it
        world.expose(f"more-{number}", "offer", AT + 4 * DAY)
    found = check(world.report(), "sample_ratio")
    assert found["p_value"] == pytest.approx(1, abs=0.9)
    assert found["passed"] is False
    assert "2026-05-03" in str(found["detail"])
    assert world.report().verdict is not None
    assert world.report().verdict.decision == "withheld"  # type: ignore[union-attr]


def test_the_anytime_sample_ratio() -> None:
    """Read after every day of 500 fair experiments it alarms less than once in 1000; a lost twentieth is found."""
    dice = np.random.default_rng(5)
    alarms = 0
    for _ in range(500):
        days = [({"a": int(n), "b": 400 - int(n)}, {"a": 1.0, "b": 1.0}) for n in dice.binomial(400, 0.5, 50)]
        alarms += anytime_ratio_p(days) < 0.001
    assert alarms <= 2
    lost = [({"a": 400, "b": 380}, {"a": 1.0, "b": 1.0})] * 60
    assert anytime_ratio_p(lost) < 0.001
    assert anytime_ratio_p([]) == 1


def test_weights_of_each_epoch_are_its_own(world: World, write_configs: WriteConfigs) -> None:
    """Even, then three to one: each as declared, though the whole is neither."""
    for number in range(400):
        world.expose(f"old{number}", "control" if number % 2 else "offer")
    world.configs = write_configs(ab=MARGIN.replace("weight: 1", "weight: 3", 1))
    world.declare()
    for number in range(400):
        world.expose(f"new{number}", "control" if number % 4 else "offer", AT + 10 * DAY, epoch=2)
    assert check(world.report(), "sample_ratio")["passed"] is True
    for number in range(60):
        world.expose(f"wrong{number}", "offer", AT + 11 * DAY, epoch=2)
    assert check(world.report(), "sample_ratio")["passed"] is False


def test_orders_without_a_visitor(world: World) -> None:
    """More than half of them, or lost in one variant only."""
    assert unmatched_orders(10, 90, {}).passed is True
    assert unmatched_orders(60, 40, {}).passed is False
    lost = unmatched_orders(40, 400, {"offer": SoldOrders(100, 0), "dear": SoldOrders(100, 30)})
    assert lost.passed is False
    assert "where dear sold" in lost.detail
    fill(world, {"control": 20, "offer": 20}, 100)
    line = {"line_id": "1", "gross_minor": 100, "offer_experiment": "ab", "offer_variant": "offer"}
    for number in range(3):
        world.order(None if number else "offer1", 100, lines=[line])
    assert check(world.report(), "unmatched_orders")["by_variant"] == {"offer": pytest.approx(2 / 3)}


def test_arms_that_differed_before(world: World) -> None:
    """Half of one arm had bought before the exposure, and a tenth of the other."""
    fill(world, {"control": 50, "offer": 50}, 500)
    for number in range(250):
        world.order(f"offer{number}", 1000, AT - DAY)
        if number % 5 == 0:
            world.order(f"control{number}", 1000, AT - DAY)
    found = check(world.report(), "pre_period")
    assert found["passed"] is False
    assert "offer differ" in str(found["detail"])
    same = compare("proportion", Moments.from_sums(500, 100, 100), {"offer": Moments.from_sums(500, 104, 104)})
    assert pre_period(same, 204).passed is True
    assert pre_period(same, 8).passed is None


def test_bots_that_one_arm_attracts() -> None:
    """Left out of all arms; spread unevenly they point at a fault."""
    assert bots({}, EVEN, 100).passed is True
    assert bots({"control": 50, "offer": 55}, EVEN, 1000).passed is True
    assert bots({"control": 50, "offer": 200}, EVEN, 1000).passed is False


def test_costs_that_are_not_known() -> None:
    """They matter where margin decides."""
    assert cost_coverage(0, 0, decides=True, is_used=True).passed is None
    assert cost_coverage(5, 5, decides=True, is_used=True).passed is True
    assert cost_coverage(4, 5, decides=True, is_used=True).passed is False
    assert cost_coverage(4, 5, decides=False, is_used=True).passed is None


def test_an_effect_beyond_belief(world: World) -> None:
    """Three times the buyers: rather a fault than a finding."""
    fill(world, {"control": 300, "offer": 1200})
    found = check(world.report(), "too_good")
    assert (found["passed"], "more than doubles" in str(found["detail"])) == (False, True)
    assert too_good("x", {}).passed is True


def test_a_gain_that_fades(world: World) -> None:
    """On the first day the offer triples what is bought; from the third on it brings nothing."""
    records: list[Exposure | Order] = []
    dice = np.random.default_rng(6)
    for variant in ("control", "offer"):
        for number in range(4000):
            unit = f"{variant}{number}"
            records.append(Exposure(experiment="ab", unit_id=unit, variant=variant, exposed_at_ms=AT))
            for day in range(7):
                rate = 0.03 * (1 + (2 if variant == "offer" else 0) * max(0, 1 - day / 2))
                if dice.random() < rate:
                    at = AT + day * DAY + int(dice.integers(0, DAY))
                    records.append(
                        Order(
                            order_id=f"{unit}-{day}", unit_id=unit, ordered_at_ms=at, updated_at_ms=at, currency="USD",
                            gross_minor=1000, cost_minor=1,
                        )
                    )  # fmt: skip
    world.store.write(records)
    found = check(world.report(), "novelty")
    assert (found["passed"], "offer fades" in str(found["detail"])) == (False, True)
    flat = {"offer": [LogPoint(day, 0.1, 0.01) for day in range(7)]}
    assert novelty(flat).passed is True
    assert novelty({"offer": [LogPoint(0, 0.1, 0.01)]}).passed is None


def test_json_never_holds_what_is_no_number(world: World) -> None:
    """Of an empty store, one unit, and exposures after all orders."""
    json.loads(world.report().to_json())
    world.order("a", 1000, AT - DAY)
    world.expose("a", "control")
    found = json.loads(world.report().to_json())
    assert found["metrics"]["conversion"]["variants"]["control"]["value"] == 0
    assert sample_ratio({"control": 1, "offer": 0}, EVEN).passed is None
