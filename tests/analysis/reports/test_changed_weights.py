"""Weights that changed while an experiment ran: nothing is pooled across them, and nothing is thrown away."""

from collections.abc import Iterator
from typing import Any

import pytest

from events import Exposure, Interaction, Order
from tests.analysis.conftest import AT, DAY, NOW, World
from tests.conftest import AB, WriteConfigs

THREE = AB.replace("  offer: {", "  third: {weight: 1, placement: none}\n  offer: {")


def _units(prefix: str, variant: str, n: int, buyers: int, epoch: int, at: int, **order: Any) -> Iterator[Any]:
    for number in range(n):
        unit = f"{prefix}{variant}{number}"
        yield Exposure(experiment="ab", unit_id=unit, variant=variant, epoch=epoch, exposed_at_ms=at)
        if number < buyers:
            told = {
                "order_id": unit,
                "unit_id": unit,
                "ordered_at_ms": at + DAY,
                "updated_at_ms": at + DAY,
                "currency": "USD",
            }
            yield Order.model_validate({**told, "gross_minor": 2000 + number % 7, "cost_minor": 5, **order})


def test_an_arm_that_was_stopped_costs_the_others_nothing(world: World, write_configs: WriteConfigs) -> None:
    """The third arm rests from the second epoch on; the others are compared over both."""
    world.configs = write_configs(ab=THREE)
    world.declare()
    for variant in ("control", "third", "offer"):
        world.store.write(list(_units("a", variant, 1000, 100, 2, AT)))
    world.configs = write_configs(ab=THREE.replace("third: {weight: 1", "third: {weight: 0"))
    world.declare()
    world.store.write(
        [*_units("b", "control", 5000, 500, 3, AT + 10 * DAY), *_units("b", "offer", 5000, 900, 3, AT + 10 * DAY)]
    )
    lifts = world.report().metrics["conversion"].lifts
    assert lifts["offer"].absolute.estimate == pytest.approx(10_000 / 12_000 * 0.08)
    assert (lifts["offer"].p_value or 1) < 1e-9
    assert lifts["third"].absolute.estimate == pytest.approx(0)


def test_what_differs_between_the_weights_is_no_difference_between_arms(
    world: World, write_configs: WriteConfigs
) -> None:
    """Even, then one to nine, when everything cost more and more had bought before: no effect anywhere, all checks passed."""
    world.configs = write_configs(
        ab=AB.replace("status: running", "status: running\nmetrics: {secondary: [median_order_value]}")
    )
    first = world.declare()
    for epoch, n, gross, before in ((first, (1500, 1500), 2000, 1), (first + 1, (300, 2700), 9000, 5)):
        at = AT + epoch * 5 * DAY
        for variant, count in zip(("control", "offer"), n, strict=True):
            world.store.write(list(_units(f"e{epoch}", variant, count, count // 4, epoch, at, gross_minor=gross)))
            for number in range(count * before // 100):
                world.order(f"e{epoch}{variant}{number}", 100, at - DAY, cost_minor=1)
        text = AB.replace("status: running", "status: running\nmetrics: {secondary: [median_order_value]}")
        world.configs = write_configs(ab=text.replace("offer: {weight: 1", "offer: {weight: 9"))
        world.declare()
    found = world.report()
    assert found.strata == 2
    assert [(one.name, one.detail) for one in found.checks if one.passed is False] == []
    assert found.metrics["revenue_per_visitor"].lifts["offer"].absolute.estimate == pytest.approx(0, abs=1e-9)
    assert found.metrics["median_order_value"].lifts["offer"].absolute.estimate == 0
    told = found.to_dict()
    returning = told["segments"]["returning"]["values"]["new"]["lifts"]["offer"]
    assert abs(returning["absolute"]["estimate"]) < 0.5
    assert told["metrics"]["conversion"]["variants"]["offer"]["numerator"] == told["funnel"]["offer"]["bought"] == 1050


def test_traffic_that_was_turned_down_is_not_multiplied(world: World, write_configs: WriteConfigs) -> None:
    """30 days at 10% with 20 a day, 3 days at 100% with 200 a day: 6,000 eligible a month; none at 0% afterwards."""
    slow = AB.replace("status: running", "status: running\ntraffic: 10%")
    world.configs = write_configs(ab=slow)
    first = world.declare()
    for day in range(33):
        epoch, n = (first, 10) if day < 30 else (first + 1, 100)
        for variant in ("control", "offer"):
            world.store.write(list(_units(f"d{day}", variant, n, n // 3, epoch, AT + day * DAY)))
    world.configs = write_configs(ab=AB)
    world.declare()
    assert world.report(as_of=AT + 33 * DAY).to_dict()["verdict"]["monthly_value"]["units"] == pytest.approx(
        6000, rel=0.02
    )
    world.configs = write_configs(ab=AB.replace("status: running", "status: running\ntraffic: 0%"))
    world.declare()
    assert world.report(as_of=AT + 33 * DAY).to_dict()["verdict"]["monthly_value"]["units"] == pytest.approx(
        6000, rel=0.02
    )


def test_weights_that_come_back_are_one_set(world: World, write_configs: WriteConfigs) -> None:
    """Even, one to three, even again: two sets in all; what cannot be combined is of the last run only."""
    uneven = AB.replace("offer: {weight: 1", "offer: {weight: 3")
    for epoch, text, n in ((2, AB, (100, 100)), (3, uneven, (50, 150)), (4, AB, (30, 30))):
        world.configs = write_configs(ab=text)
        assert world.declare() == epoch
        at = AT + epoch * DAY
        for variant, count in zip(("control", "offer"), n, strict=True):
            world.store.write(list(_units(f"e{epoch}", variant, count, count // 2, epoch, at)))
            world.order(f"e{epoch}{variant}0", 100, at - DAY, cost_minor=1)
    found = world.report()
    assert found.epochs == [1, 2, 3, 4]  # the first is the even one that the world began with
    assert found.strata == 2
    assert [row.units for row in found.variants] == [180, 280]
    values = found.to_dict()["segments"]["returning"]["values"]
    assert {value: one["units"] for value, one in values.items()} == {
        "new": {"control": 29, "offer": 29}, "returning": {"control": 1, "offer": 1},
    }  # fmt: skip
    assert found.to_dict()["order_values"]["offer"]["orders"] == 15


def test_bots_of_epochs_that_are_not_read_do_not_count(world: World, write_configs: WriteConfigs) -> None:
    """They were spread as the weights were then."""
    world.configs = write_configs(ab=AB.replace("control: {weight: 1", "control: {weight: 9"))
    world.declare()
    for number in range(300):
        world.expose(f"bot{number}", "offer" if number % 10 == 0 else "control", epoch=2, bot=True)
    world.configs = write_configs(ab=AB.replace("p1", "p2"))
    world.declare()
    for number in range(200):
        world.expose(f"u{number}", "offer" if number % 2 else "control", AT + DAY, epoch=3)
    found = world.report()
    assert found.epochs == [3]
    assert next(one for one in found.checks if one.name == "bots").passed is True


def test_units_left_out_are_told(world: World, write_configs: WriteConfigs) -> None:
    """A new salt draws the old visitors anew; who saw both variants is in none, and the check says how many."""
    for number in range(100):
        world.expose(f"u{number}", "control")
    world.configs = write_configs(ab=AB.replace("status: running", "status: running\nsalt: other"))
    world.declare()
    for number in range(50):
        world.expose(f"u{number}", "offer", AT + DAY, epoch=2)
    check = next(one for one in world.report().checks if one.name == "multiple_exposure")
    assert (check.passed, check.detail.startswith("50 units")) == (False, True)


def test_a_plan_that_was_changed_is_told(world: World, write_configs: WriteConfigs) -> None:
    """What may be read on any day was fixed before the start."""
    world.expose("a", "control")
    before = world.report().verdict
    world.configs = write_configs(ab=AB.replace("status: running", "status: running\nplan: {minimum_effect: 60%}"))
    after = world.report().verdict
    assert before is not None
    assert after is not None
    assert not any("was changed after the start" in reason for reason in before.reasons)
    assert any("was changed after the start" in reason for reason in after.reasons)


def test_attributes_are_text_and_the_earliest_device_counts(world: World) -> None:
    """3 and "3" are one segment, true is true, late attributes are found; a customer's first exposure says the device."""
    for number in range(1500):
        world.expose(f"none{number}", ("control", "offer")[number % 2], AT - DAY)
    for number, value in enumerate((3, "3", True, "m") * 10):
        world.expose(f"u{number}", ("control", "offer")[number // 4 % 2], attributes={"device": value})
    told = world.report().to_dict()["segments"]["device"]["values"]
    assert {value: sum(one["units"].values()) for value, one in told.items()} == {
        "(not given)": 1500, "3": 20, "true": 10, "m": 10,
    }  # fmt: skip
    world.expose("phone", "control", AT, attributes={"device": "z-phone"})
    world.expose("laptop", "control", AT + DAY, attributes={"device": "a-laptop"})
    world.store.identify("phone", "anna", None, AT + DAY)
    world.store.identify("laptop", "anna", None, AT + DAY)
    told = world.report().to_dict()["segments"]["device"]["values"]
    assert "z-phone" in told
    assert "a-laptop" not in told


def test_caps_touch_what_is_beyond_them_only(world: World, write_configs: WriteConfigs) -> None:
    """What was added to the cart without buying stays as it is; nothing exceeds the cap."""
    custom = (
        "metrics: {primary: added, custom: {added: {kind: mean, of: added_value}}, guardrails: {refund_rate: -10%}}"
    )
    world.configs = write_configs(ab=AB.replace("status: running", f"status: running\n{custom}"))
    world.store.write([*_units("x", "control", 600, 150, 1, AT), *_units("x", "offer", 600, 200, 1, AT)])
    world.store.write(
        [
            Interaction(
                event_id=f"i{number}", kind="add_to_cart", experiment="ab", variant="offer", unit_id=f"xoffer{number}",
                value_minor=1000, occurred_at_ms=AT + 1000,
            )
            for number in range(400)
        ]
    )  # fmt: skip
    found = world.report()
    lift = found.metrics["added"].lifts["offer"]
    assert lift.capped is not None
    assert lift.capped.lift.absolute.estimate == pytest.approx(lift.absolute.estimate)
    assert found.guardrails is not None
    assert (found.guardrails["refund_rate"].passed, found.guardrails["refund_rate"].reason) == (
        True, "no unit of either variant has any",
    )  # fmt: skip
    assert NOW > AT
