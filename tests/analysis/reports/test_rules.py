"""The report where stores are young, odd, or changed under way."""

import json
from collections.abc import Callable

import pytest
from click.testing import Result

from analysis.reports.trust_checks import sample_ratio
from events import Exposure, Store
from experiments import load
from experiments.declarations.model import declared_dict
from tests.analysis.conftest import AT, DAY, MARGIN, World, fill, values
from tests.conftest import AB, WriteConfigs

Run = Callable[..., Result]


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
        world.order(f"dear{number}", 6500, cost_minor=500)
    verdict = world.report().verdict
    assert verdict is not None
    assert (verdict.decision, verdict.variant) == ("ship", "offer")


def test_exposures_of_undeclared_variants_fail_the_check(world: World) -> None:
    """They are in no arm, and are not passed over in silence."""
    fill(world, {"control": 600, "offer": 600})
    world.expose("z", "removed")
    check = world.report().checks[0]
    assert (check.passed, "1 exposure of variants that are not declared" in check.detail) == (False, True)


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
    """Before the weights changed, the old ones hold; once the offer has changed, nothing earlier is read."""
    fill(world, {"control": 60, "offer": 60}, 100)
    world.configs = write_configs(ab=MARGIN.replace("weight: 1", "weight: 3", 1))
    world.store.open_epoch("ab", declared_dict(load(world.configs).experiments["ab"]), AT + 20 * DAY)
    before, after = world.report(as_of=AT + 10 * DAY), world.report(as_of=AT + 30 * DAY)
    assert (before.epochs, [row.units for row in before.variants]) == ([1], [100, 100])
    assert (after.epochs, [row.units for row in after.variants], after.earlier_exposures) == ([1, 2], [100, 100], 0)
    world.configs = write_configs(ab=MARGIN.replace("p1", "p2"))
    world.store.open_epoch("ab", declared_dict(load(world.configs).experiments["ab"]), AT + 40 * DAY)
    changed = world.report(as_of=AT + 50 * DAY)
    assert (changed.epochs, [row.units for row in changed.variants], changed.earlier_exposures) == ([3], [0, 0], 200)


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
