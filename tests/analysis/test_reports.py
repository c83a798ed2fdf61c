"""The report out of a store, held against the same figures worked out row by row."""

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from analysis import Moments, Report, report
from analysis.trust import multiple_exposure, sample_ratio
from events import Exposure, Order, Store
from experiments import AnalysisError, StoreError, load
from experiments.declaration import declared_dict
from tests.conftest import AB, WriteConfigs

Run = Callable[..., Result]

AT = 1_777_636_800_000
DAY = 86_400_000
NOW = AT + 60 * DAY
THREE = AB.replace("key: ab", "key: three").replace("variants:", "variants:\n  more: {weight: 2, placement: none}")
MARGIN = AB.replace("status: running", "status: running\nmetrics: {primary: revenue_per_visitor, secondary: [margin_per_visitor, orders_per_visitor], guardrails: {conversion: -5%}}")  # fmt: skip


class World:
    """A store with an experiment, to put events into and to report on."""

    def __init__(self, store: Store, configs: Path) -> None:
        self.store, self.configs = store, configs
        self.number = 0

    def declare(self, key: str = "ab") -> int:
        return self.store.open_epoch(key, declared_dict(load(self.configs).experiments[key]), AT)

    def expose(self, unit: str, variant: str, at: int = AT, **fields: Any) -> None:
        told = {"experiment": "ab", "unit_id": unit, "variant": variant, "exposed_at_ms": at}
        self.store.write([Exposure.model_validate({**told, **fields})])

    def order(self, unit: str | None, gross: int, at: int = AT + DAY, **fields: Any) -> None:
        self.number += 1
        told = {
            "order_id": str(self.number),
            "unit_id": unit,
            "ordered_at_ms": at,
            "updated_at_ms": at,
            "gross_minor": gross,
        }
        self.store.write([Order.model_validate({**told, "currency": "USD", **fields})])

    def report(self, key: str = "ab", as_of: int = NOW) -> Report:
        return report(key, self.store.url, self.configs, as_of)


@pytest.fixture
def world(store: Store, write_configs: WriteConfigs) -> World:
    made = World(store, write_configs(ab=MARGIN))
    made.declare()
    return made


def values(found: Report, metric: str) -> dict[str, Any]:
    return {key: one["value"] for key, one in found.to_dict()["metrics"][metric]["variants"].items()}


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
    assert (check.name, check.passed, "1 units (2.00%)" in check.detail) == ("multiple_exposure", False, True)
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
    with pytest.raises(AnalysisError, match="found EUR beside USD; wanted one currency"):
        world.report()


def test_weights_that_changed_are_never_pooled(world: World, write_configs: WriteConfigs) -> None:
    """Only the epochs with the newest weights are read; who was moved between arms is in none."""
    for number in range(40):
        world.expose(f"old{number}", "control" if number % 2 else "offer")
    world.configs = write_configs(ab=MARGIN.replace("weight: 1", "weight: 3", 1))
    assert world.declare() == 2
    for number in range(40):
        world.expose(f"new{number}", "control" if number % 4 else "offer", epoch=2)
    world.expose("old0", "control", AT + DAY, epoch=2)
    found = world.report()
    assert found.epochs == [2]
    assert [(row.units, row.weight) for row in found.variants] == [(30, 3), (10, 1)]
    assert found.earlier_exposures == 40
    grown = MARGIN.replace("weight: 1", "weight: 3", 1)
    world.configs = write_configs(ab=grown.replace("status: running", "status: running\ntraffic: 50%"))
    assert world.declare() == 3
    assert world.report().epochs == [2, 3]
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
        with pytest.raises(StoreError, match="--store: found"):
            report("ab", url, world.configs)
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreError, match="wanted a crosslift store"):
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


def fill(world: World, buyers: dict[str, int], units: int = 3000) -> None:
    """Expose `units` a variant, of whom so many buy for 20.00 or 40.00."""
    for variant, count in buyers.items():
        exposures = [
            Exposure(experiment="ab", unit_id=f"{variant}{n}", variant=variant, exposed_at_ms=AT) for n in range(units)
        ]
        orders = [
            Order(
                order_id=f"{variant}{n}", unit_id=f"{variant}{n}", ordered_at_ms=AT + DAY, updated_at_ms=AT + DAY,
                currency="USD", gross_minor=2000 + 2000 * (n % 2), cost_minor=500,
            )
            for n in range(count)
        ]  # fmt: skip
        world.store.write([*exposures, *orders])


@pytest.mark.parametrize(
    ("control", "offer", "decision", "variant", "reason"),
    [
        (600, 1200, "ship", "offer", "above the control's"),
        (1200, 600, "stop", None, "below the control's"),
        (600, 630, "keep_running", None, "still hold both"),
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
    assert found.trusted is False
    assert found.to_dict()["verdict"]["decision"] == "withheld"
    assert "sample_ratio failed" in found.to_dict()["verdict"]["reasons"][0]


def test_text_and_json_faces(world: World, run: Run, tmp_path: Path) -> None:
    """Each face fits its reader: 100 columns of text, JSON of the design's shape, to the terminal or to a file."""
    fill(world, {"control": 600, "offer": 900}, 2000)
    arguments = ("report", "ab", "--configs", world.configs, "--store", world.store.url, "--as-of", "2026-07-01")
    text = run(*arguments)
    assert text.exit_code == 0
    assert max(map(len, text.output.splitlines())) <= 100
    for part in ("revenue per visitor  decides", "✓ sample_ratio", "offer", "Verdict: SHIP offer", "$13.50", "45.00%"):
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


def test_the_first_hour_of_an_experiment_can_be_read(store: Store, write_configs: WriteConfigs) -> None:
    """Arms without a buyer yet, beside a control that has some: figures where there are any, reasons elsewhere."""
    arms = "".join(f"  v{n}: {{weight: 1, placement: none}}\n" for n in range(5))
    world = World(
        store, write_configs(ab=AB[: AB.index("variants:")] + "variants:\n  control: {placement: none}\n" + arms)
    )
    world.declare()
    for variant in ("control", *(f"v{n}" for n in range(5))):
        for number in range(40):
            world.expose(f"{variant}-{number}", variant)
    for number in range(3):
        world.order(f"control-{number}", 1000 + number)
    found = json.loads(world.report().to_json())
    assert found["metrics"]["conversion"]["lifts"]["v0"]["p_value"] == pytest.approx(0.0778, abs=1e-3)
    assert found["metrics"]["revenue_per_visitor"]["lifts"]["v0"]["simultaneous"]["p_value"] > 0.05


def test_an_arm_that_rests_holds_nothing_up(world: World, write_configs: WriteConfigs) -> None:
    """Weight 0: listed, but no part of the family, the check or the verdict."""
    fill(world, {"control": 600, "offer": 1200})
    before = world.report()
    resting = MARGIN.replace("  offer: {", "  old: {weight: 0, placement: none}\n  offer: {")
    world.configs = write_configs(ab=resting)
    world.store.open_epoch("ab", declared_dict(load(world.configs).experiments["ab"]), AT)
    world.store.write(
        [
            Exposure(experiment="ab", unit_id=f"{v}{n}", variant=v, epoch=2, exposed_at_ms=AT - 1)
            for v in ("control", "offer")
            for n in range(3000)
        ]
    )
    found = world.report()
    assert [(row.key, row.units) for row in found.variants] == [("control", 3000), ("old", 0), ("offer", 3000)]
    assert found.verdict is not None
    assert (found.verdict.decision, found.verdict.variant) == ("ship", "offer")
    assert found.to_dict()["metrics"]["conversion"]["lifts"] == before.to_dict()["metrics"]["conversion"]["lifts"]


def test_the_verdict_looks_beyond_the_leader(store: Store, write_configs: WriteConfigs) -> None:
    """The highest revenue with lost conversion is not shipped; the next, that kept it, is."""
    text = MARGIN.replace("  offer: {", "  dear: {weight: 1, placement: none}\n  offer: {")
    world = World(store, write_configs(ab=text))
    world.declare()
    fill(world, {"control": 900, "offer": 1300, "dear": 450})
    for number in range(450):
        world.order(f"dear{number}", 20000, cost_minor=500)
    verdict = world.report().verdict
    assert verdict is not None
    assert (verdict.decision, verdict.variant) == ("ship", "offer")


def test_exposures_of_undeclared_variants_fail_the_check(world: World) -> None:
    """They are in no arm, and are not passed over in silence."""
    fill(world, {"control": 600, "offer": 600})
    world.expose("z", "removed")
    check = world.report().checks[0]
    assert (check.passed, "1 of variants not declared" in check.detail) == (False, True)


def test_unverified_orders_do_not_count(world: World) -> None:
    """Until a signed source confirms them."""
    world.expose("a", "control")
    world.order("a", 1000, verified=False)
    assert values(world.report(), "revenue_per_visitor")["control"] == 0


def test_equal_orders_have_no_standard_error(world: World) -> None:
    """Everybody buys once for 19.90: a value, and the reason why there is no interval."""
    for variant in ("control", "offer"):
        for number in range(50):
            world.expose(f"{variant}{number}", variant)
            world.order(f"{variant}{number}", 1990)
    for name in ("revenue_per_visitor", "average_order_value"):
        one = world.report().to_dict()["metrics"][name]
        assert one["variants"]["offer"]["value"] == pytest.approx(19.9)
        assert "neither arm varies" in one["lifts"]["offer"]["reason"]


def test_a_past_day_is_read_with_its_own_epochs(world: World, write_configs: WriteConfigs) -> None:
    """Before the weights changed, the old ones hold."""
    fill(world, {"control": 60, "offer": 60}, 100)
    world.configs = write_configs(ab=MARGIN.replace("weight: 1", "weight: 3", 1))
    world.store.open_epoch("ab", declared_dict(load(world.configs).experiments["ab"]), AT + 20 * DAY)
    before, after = world.report(as_of=AT + 10 * DAY), world.report(as_of=AT + 30 * DAY)
    assert (before.epochs, [row.units for row in before.variants]) == ([1], [100, 100])
    assert (after.epochs, [row.units for row in after.variants], after.earlier_exposures) == ([2], [0, 0], 200)


def test_small_arms_do_not_switch_the_sample_ratio_off() -> None:
    """A tiny arm is held against the rest exactly, and the rest among themselves."""
    weights = {"a": 1, "b": 1, "tiny": 0.0001}
    assert sample_ratio({"a": 5000, "b": 7000, "tiny": 1}, weights).passed is False
    assert sample_ratio({"a": 5000, "b": 5000, "tiny": 400}, weights).passed is False
    assert sample_ratio({"a": 5000, "b": 5050, "tiny": 0}, weights).passed is True


@pytest.mark.parametrize(
    ("rules", "revenue"),
    [
        ("", 7.0),
        ("orders: {tax: true}\n", 8.0),
        ("orders: {shipping: true}\n", 9.0),
        ("orders: {refunds: false}\n", 9.0),
        ("orders: {preset: shopify}\n", 9.0),
        ("orders: {exclude_sources: [pos]}\n", 0.0),
    ],
)
def test_order_rules_say_what_is_revenue(store: Store, write_configs: WriteConfigs, rules: str, revenue: float) -> None:
    """10.00 less 1.00 discount, 2.00 refunded, 2.00 shipping, 1.00 tax; margin is by product in any case."""
    world = World(store, write_configs(files={"shop.yaml": rules or "currency: USD\n"}, ab=MARGIN))
    world.declare()
    world.expose("a", "control")
    world.expose("b", "offer")
    money = {"discount_minor": 100, "refunded_minor": 200, "shipping_minor": 200, "tax_minor": 100, "cost_minor": 300}
    world.order("a", 1000, source="pos", **money)
    found = world.report()
    assert values(found, "revenue_per_visitor")["control"] == revenue
    counted = found.to_dict()["orders"]
    if revenue:
        assert values(found, "margin_per_visitor")["control"] == 4.0
        assert counted["counted"] == 1
    else:
        assert (counted["counted"], counted["source: pos"]) == (0, 1)
