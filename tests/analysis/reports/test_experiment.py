"""The report out of a store, held against the same figures worked out row by row."""

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from analysis import Moments, report
from analysis.reports.trust_checks import multiple_exposure, sample_ratio
from events import Exposure, Store
from experiments import AnalysisError, StoreError
from tests.analysis.conftest import AT, DAY, MARGIN, World, fill, values
from tests.conftest import WriteConfigs

Run = Callable[..., Result]


def test_what_counts(world: World) -> None:
    """Window, repeat orders, discounts, refunds, exclusions, orders before the exposure, of others, of nobody."""
    for unit, variant in (("a", "control"), ("b", "control"), ("c", "offer"), ("d", "offer"), ("e", "offer")):
        world.expose(unit, variant)
    world.order("a", 1000, AT)  # at the exposure itself: in
    world.order("a", 2000, AT + 7 * DAY - 1, discount_minor=500)  # the window's last millisecond: in
    world.order("a", 7777, AT + 7 * DAY)  # beyond it
    world.order("b", 7777, AT - 1)  # before its exposure
    world.order("c", 3000, refunded_minor=3000)  # refunded: a buyer of 0
    world.order("c", 500, shipping_minor=900, tax_minor=100)
    world.order("d", 7777, excluded="test")
    world.order(None, 7777)
    world.order("z", 7777)
    found = world.report()
    assert values(found, "conversion") == {"control": 0.5, "offer": pytest.approx(1 / 3)}
    assert values(found, "average_order_value") == {"control": 12.5, "offer": 2.5}
    assert values(found, "revenue_per_visitor") == {"control": 12.5, "offer": pytest.approx(5 / 3)}
    assert values(found, "orders_per_visitor") == {"control": 1, "offer": pytest.approx(2 / 3)}
    assert [(row.key, row.units) for row in found.variants] == [("control", 2), ("offer", 3)]


def test_as_of_reads_nothing_later(world: World) -> None:
    """The report of a past day is what it was on that day."""
    world.expose("a", "control")
    world.expose("b", "control", AT + 2 * DAY)
    world.order("a", 1000, AT + DAY)
    world.order("a", 3000, AT + 3 * DAY)
    assert values(world.report(as_of=AT + 2 * DAY - 1), "revenue_per_visitor")["control"] == 10
    assert values(world.report(as_of=AT + 2 * DAY), "revenue_per_visitor")["control"] == 5
    assert world.report(as_of=AT - 1).to_dict()["metrics"]["conversion"]["variants"]["control"]["reason"] == "no units"


def test_units_of_several_variants_are_left_out_and_counted(world: World) -> None:
    """With their orders; many of them fail the check."""
    for number in range(50):
        world.expose(f"u{number}", "control" if number % 2 else "offer")
    world.expose("u0", "control", AT + 1)
    world.order("u0", 5000)
    found = world.report()
    assert [row.units for row in found.variants] == [25, 24]
    assert values(found, "revenue_per_visitor") == {"control": 0, "offer": 0}
    check = found.checks[1]
    assert (check.name, check.passed, "1 unit (2.00%)" in check.detail) == ("multiple_exposure", False, True)
    assert found.to_dict()["verdict"]["decision"] == "withheld"


def test_bots_are_left_out(world: World) -> None:
    """Exposures marked as bots are no units."""
    world.expose("a", "control")
    world.expose("b", "control", bot=True)
    assert world.report().variants[0].units == 1


def test_margin_wants_every_cost(world: World) -> None:
    """Net revenue less cost of goods; where a cost is missing, null with the reason."""
    world.expose("a", "control")
    world.expose("b", "offer")
    world.order("a", 1000, discount_minor=100, cost_minor=400)
    assert values(world.report(), "margin_per_visitor") == {"control": 5, "offer": 0}
    world.order("b", 1000)
    margin = world.report().to_dict()["metrics"]["margin_per_visitor"]
    assert margin["reason"] == "the cost of 1 of 2 orders is not known"
    assert margin["variants"]["control"] == {
        "value": None, "std_error": None, "units": None, "numerator": None, "denominator": None, "reason": margin["reason"],
    }  # fmt: skip
    assert margin["lifts"] == {}


def test_a_foreign_currency_is_refused(world: World) -> None:
    """Money is never added across currencies."""
    world.order("a", 1000, currency="EUR")
    with pytest.raises(
        AnalysisError, match=r"orders: all must be in USD, the currency of shop\.yaml, but some are in EUR"
    ):
        world.report()


def test_weights_that_changed_are_never_pooled(world: World, write_configs: WriteConfigs) -> None:
    """Arms are compared within the weights they had; who was moved between arms is in none."""
    for number in range(40):
        world.expose(f"old{number}", "control" if number % 2 else "offer")
    world.configs = write_configs(ab=MARGIN.replace("weight: 1", "weight: 3", 1))
    assert world.declare() == 2
    for number in range(40):
        world.expose(f"new{number}", "control" if number % 4 else "offer", epoch=2)
    world.expose("old0", "control", AT + DAY, epoch=2)
    world.order("old1", 4000)  # control, of 20 units of 39 then
    world.order("new0", 8000)  # offer, of 10 units of 40 later
    found = world.report()
    assert (found.epochs, found.strata, found.earlier_exposures) == ([1, 2], 2, 0)
    assert [row.units for row in found.variants] == [50, 29]
    assert [row.weight for row in found.variants] == [39 / 2 + 40 * 3 / 4, 39 / 2 + 40 / 4]
    control, offer = values(found, "revenue_per_visitor").values()
    assert control == pytest.approx(39 / 79 * 40 / 20 + 40 / 79 * 0)
    assert offer == pytest.approx(39 / 79 * 0 + 40 / 79 * 80 / 10)
    grown = MARGIN.replace("weight: 1", "weight: 3", 1)
    world.configs = write_configs(ab=grown.replace("status: running", "status: running\ntraffic: 50%"))
    assert world.declare() == 3
    assert (world.report().epochs, world.report().strata) == ([1, 2, 3], 2)
    world.configs = write_configs(ab=grown.replace("[p1]", "[p2]"))
    assert world.declare() == 4
    assert world.report().epochs == [4]


def test_customers_are_units_too(store: Store, write_configs: WriteConfigs) -> None:
    """An experiment over customers joins orders by customer."""
    world = World(store, write_configs(ab=MARGIN.replace("status: running", "status: running\nunit: customer_id")))
    world.declare()
    world.expose("c1", "control")
    world.order("some-visitor", 1000, customer_id="c1")
    assert values(world.report(), "revenue_per_visitor")["control"] == 10


def test_an_empty_store_has_reasons(world: World) -> None:
    """No units: null with a reason, no verdict but to keep running, and JSON that is JSON."""
    found = json.loads(world.report().to_json())
    assert found["verdict"]["decision"] == "keep_running"
    assert found["trust"]["checks"][0]["passed"] is None
    for metric in found["metrics"].values():
        for one in metric["variants"].values():
            assert one["value"] is None
            assert one["reason"]
        for one in metric["lifts"].values():
            assert one["p_value"] is None
            assert one["reason"]


def test_a_store_that_is_not_there_says_so(world: World, tmp_path: Path) -> None:
    """Neither made nor mistaken for an empty one."""
    for url in (f"sqlite:///{tmp_path}/none.db", "mysql://x"):
        with pytest.raises(StoreError, match=r"--store: (must be a store|mysql needs)"):
            report("ab", url, world.configs)
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreError, match="a crosslift store"):
        report("ab", f"sqlite:///{tmp_path}/empty.db", world.configs)


def by_hand(units: dict[str, str], orders: Iterable[tuple[str, int]], variant: str) -> tuple[list[float], list[float]]:
    """Add one variant's orders up, unit by unit, in plain Python."""
    mine = [unit for unit, one in units.items() if one == variant]
    net, count = dict.fromkeys(mine, 0.0), dict.fromkeys(mine, 0.0)
    for unit, minor in orders:
        if unit in net:
            net[unit] += minor / 100
            count[unit] += 1
    return list(net.values()), list(count.values())


def test_moments_agree_with_plain_python(world: World) -> None:
    """Counts, values and standard errors of random shoppers with repeat orders, to nine digits."""
    dice = random.Random(7)
    units = {f"u{number}": dice.choice(["control", "offer"]) for number in range(300)}
    world.store.write(
        [Exposure(experiment="ab", unit_id=one, variant=variant, exposed_at_ms=AT) for one, variant in units.items()]
    )
    orders = [(one, dice.choice([990, 1990, 4990, 100_000])) for one in dice.choices(list(units), k=250)]
    for unit, minor in orders:
        world.order(unit, minor)
    found = world.report().to_dict()["metrics"]
    for variant in ("control", "offer"):
        net, count = by_hand(units, orders, variant)
        expected = {
            "revenue_per_visitor": Moments.from_values(net),
            "average_order_value": Moments.from_values(net, count),
            "conversion": Moments.from_values(np.minimum(count, 1)),
        }
        for name, moments in expected.items():
            one = found[name]["variants"][variant]
            assert one["value"] == pytest.approx(moments.value, rel=1e-9)
            assert one["std_error"] == pytest.approx(moments.std_error, rel=1e-9)
            assert one["numerator"] == pytest.approx(moments.numerator, rel=1e-9)


def test_sample_ratio() -> None:
    """Against the declared weights, at .001; an arm of weight 0 takes no part."""
    assert sample_ratio({"a": 5000, "b": 5100}, {"a": 1, "b": 1}).passed is True
    lost = sample_ratio({"a": 5000, "b": 4600}, {"a": 1, "b": 1})
    assert (lost.passed, "b has the fewest" in lost.detail) == (False, True)
    assert sample_ratio({"a": 9000, "b": 1000, "c": 0}, {"a": 9, "b": 1, "c": 0}).passed is True
    assert sample_ratio({"a": 9000, "b": 1000, "c": 5}, {"a": 9, "b": 1, "c": 0}).passed is False
    assert sample_ratio({"a": 3, "b": 0}, {"a": 1, "b": 1}).passed is None
    # Hillstrom's three arms: chi-square .20253, p .90369 (STATISTICS.md).
    found = sample_ratio({"m": 21307, "n": 21306, "w": 21387}, {"m": 1, "n": 1, "w": 1})
    assert found.p_value == pytest.approx(0.90369, abs=5e-6)


def test_multiple_exposure() -> None:
    """None, few, many."""
    assert multiple_exposure(0, 100).passed is True
    assert multiple_exposure(1, 999).passed is True
    assert multiple_exposure(20, 980).passed is False


@pytest.mark.parametrize(
    ("control", "offer", "decision", "variant", "reason"),
    [
        (600, 1200, "ship", "offer", "above the control's"),
        (1200, 600, "stop", None, "below the control's"),
        (600, 630, "keep_running", None, "include both a gain and a loss"),
        (20, 20, "keep_running", None, "fewer than 30 buyers"),
    ],
)
def test_the_verdict_follows_its_rule(
    world: World, control: int, offer: int, decision: str, variant: str | None, reason: str
) -> None:
    """From always-valid intervals: a clear gain, a clear loss, neither, and too few buyers to say."""
    fill(world, {"control": control, "offer": offer})
    verdict = world.report().verdict
    assert verdict is not None
    assert (verdict.decision, verdict.variant) == (decision, variant)
    assert reason in " ".join(verdict.reasons)


def test_a_failed_check_withholds_the_verdict(world: World) -> None:
    """A clear gain on a broken experiment is no gain."""
    fill(world, {"control": 600, "offer": 1200})
    world.store.write(
        [Exposure(experiment="ab", unit_id=f"more{n}", variant="control", exposed_at_ms=AT) for n in range(1000)]
    )
    found = world.report()
    assert found.is_trusted is False
    assert found.to_dict()["verdict"]["decision"] == "withheld"
    assert "sample_ratio failed" in found.to_dict()["verdict"]["reasons"][0]


def test_text_and_json_faces(world: World, run: Run, tmp_path: Path) -> None:
    """Each face fits its reader: 100 columns of text, JSON of the design's shape, to the terminal or to a file."""
    fill(world, {"control": 600, "offer": 900}, 2000)
    arguments = ("report", "ab", "--configs", world.configs, "--store", world.store.url, "--as-of", "2026-07-01")
    text = run(*arguments)
    assert text.exit_code == 0
    assert max(map(len, text.output.splitlines())) <= 100
    for part in (
        "revenue per visitor  primary metric",
        "✓ sample_ratio",
        "offer",
        "Verdict: SHIP offer",
        "$13.50",
        "45.00%",
    ):
        assert part in text.output
    out = tmp_path / "report.json"
    assert run(*arguments, "--format", "json", "--out", out).output == ""
    found = json.loads(out.read_text())
    assert set(found) >= {
        "experiment", "as_of", "epochs", "confidence", "window_days", "trust", "variants", "metrics", "guardrails", "verdict",
    }  # fmt: skip
    assert found["as_of"] == "2026-07-01T00:00:00Z"
    lift = found["metrics"]["revenue_per_visitor"]["lifts"]["offer"]
    assert set(lift) >= {"absolute", "relative", "p_value", "simultaneous", "anytime"}
    for reading in (lift, lift["simultaneous"], lift["anytime"]):
        assert set(reading["absolute"]) == set(reading["relative"]) == {"estimate", "low", "high"}
    assert lift["p_value"] == lift["simultaneous"]["p_value"]
    assert found["guardrails"]["conversion"]["passed"] is True
    assert run(*arguments[:-1], "soon").exit_code == 2
    assert run("report", "nothing", *arguments[2:6]).exit_code == 2
