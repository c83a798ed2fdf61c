"""Every metric, its history, caps and segments out of a store, held against pandas over the same events."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import Report
from analysis.metrics import CATALOGUE, COLUMN_MEANINGS, definitions
from events import Exposure, Interaction, Order, Store
from events.records import InteractionKind
from experiments.declarations.metrics import COLUMNS, METRICS
from tests.analysis.conftest import AT, DAY, World, values
from tests.conftest import AB, WriteConfigs

CUSTOM = """\
  custom:
    shipping_each: {kind: mean, of: shipping}
    clickers: {kind: proportion, of: clicks}
    click_through: {kind: ratio, of: clicks, per: impressions}
    gift_orders: {kind: mean, of: orders, tag: gift}
    gift_revenue: {kind: mean, of: gross, tag: gift}
"""
ALL = [*METRICS, "p90_order_value"]
OWN = ["shipping_each", "clickers", "click_through", "gift_orders", "gift_revenue"]
DECLARED = AB.replace(
    "status: running",
    "status: running\nplan: {cap: 90%}\nmetrics:\n  primary: revenue_per_visitor\n"
    f"  secondary: [{', '.join([*ALL[1:], *OWN])}]\n  correction: holm\n{CUSTOM}",
)
CATALOG = (
    "products:\n  - {id: p1, title: One, price: 9.90, cost: 4}\n  - {id: slow, title: Slow, price: 5, cost: 1, tags: [slow_moving]}\n"
    "  - {id: card, title: Card, price: 1, cost: 0.5, tags: [gift, slow_moving]}\n"
)
KINDS: tuple[InteractionKind, ...] = ("impression", "click", "add_to_cart", "decline", "dismiss")
NOW = AT + 200 * DAY
UNITS = 240


def _exposures(dice: np.random.Generator) -> list[Exposure]:
    return [
        Exposure(
            experiment="ab", unit_id=f"u{number}", variant=["control", "offer"][number % 2],
            exposed_at_ms=AT + int(dice.integers(0, 9 * DAY)),
            attributes={"device": str(dice.choice(["mobile", "desktop"]))} if number % 10 else {},
        )
        for number in range(UNITS)
    ]  # fmt: skip


def _order(dice: np.random.Generator, number: int, unit: str, variant: str, at: int) -> Order:
    lines: list[dict[str, Any]] = []
    for line in range(int(dice.integers(1, 4))):
        sold = line > 0 and dice.random() < 0.6
        gross = int(dice.integers(200, 9000))
        lines.append(
            {
                "line_id": str(line), "product_id": str(dice.choice(["p1", "slow", "card"])), "gross_minor": gross,
                "quantity": int(dice.integers(1, 4)), "discount_minor": int(gross * 0.1) if dice.random() < 0.3 else 0,
                "refunded_minor": int(gross * 0.2) if dice.random() < 0.1 else 0, "cost_minor": gross // 3,
                "offer_experiment": "ab" if sold else None, "offer_variant": variant if sold else None,
            }
        )  # fmt: skip
    sums = {
        f"{name}_minor": sum(line[f"{name}_minor"] for line in lines)
        for name in ("gross", "discount", "refunded", "cost")
    }
    return Order.model_validate(
        {
            "order_id": f"o{number}", "unit_id": unit, "ordered_at_ms": at, "updated_at_ms": at, "currency": "USD",
            "shipping_minor": int(dice.integers(0, 900)), "tax_minor": 50, "units": sum(line["quantity"] for line in lines),
            "lines": lines, **sums,
        }
    )  # fmt: skip


def random_events() -> tuple[list[Any], list[dict[str, Any]]]:
    """Make up events of every kind, and one row per unit with every column worked out apart."""
    dice = np.random.default_rng(7)
    exposures = _exposures(dice)
    records: list[Any] = list(exposures)
    rows = []
    for one in exposures:
        start, end = one.exposed_at_ms - one.exposed_at_ms % 1000, one.exposed_at_ms + 7 * DAY
        orders = []
        for _ in range(int(dice.choice([0, 0, 1, 2, 3], p=[0.3, 0.2, 0.3, 0.1, 0.1]))):
            offset = int(dice.choice([-120, -40, -3, 1, 3, 5, 20, 50, 80])) * DAY + int(dice.integers(0, DAY))
            orders.append(_order(dice, len(records), one.unit_id, one.variant, one.exposed_at_ms + offset))
            records.append(orders[-1])
        done: dict[str, int] = {}
        for kind in KINDS:
            count = int(dice.integers(0, 3)) if dice.random() < 0.4 else 0
            done[kind] = count
            for number in range(count):
                records.append(  # noqa: PERF401
                    Interaction(
                        event_id=f"{one.unit_id}{kind}{number}", kind=kind, experiment="ab", variant=one.variant, quantity=2,
                        unit_id=one.unit_id, occurred_at_ms=one.exposed_at_ms + number * 60_000, value_minor=150,
                    )
                )  # fmt: skip
        inside = [order for order in orders if start <= order.ordered_at_ms < end]
        before = [order for order in orders if start - 90 * DAY <= order.ordered_at_ms < start]
        rows.append(_row(one, inside, before, orders, done))
    return records, rows


@pytest.fixture
def filled(store: Store, write_configs: WriteConfigs) -> tuple[World, pd.DataFrame]:
    """A store of random events, and what they come to."""
    world = World(store, write_configs(files={"catalog.yaml": CATALOG}, ab=DECLARED))
    world.declare()
    records, rows = random_events()
    store.write(records)
    return world, pd.DataFrame(rows)


def _row(
    one: Exposure, inside: list[Order], before: list[Order], orders: list[Order], done: Mapping[str, int]
) -> dict[str, Any]:
    def net(order: Order) -> float:
        return (order.gross_minor - order.discount_minor - order.refunded_minor) / 100

    lines = [line for order in inside for line in order.lines]
    row: dict[str, Any] = {
        "unit": one.unit_id,
        "variant": one.variant,
        "device": one.attributes.get("device", "(not given)"),
    }
    row |= {
        "orders": len(inside),
        "net": sum(map(net, inside)),
        "pre_orders": len(before),
        "pre_net": sum(map(net, before)),
    }
    row["margin"] = row["net"] - sum(order.cost_minor or 0 for order in inside) / 100
    row["units"] = sum(order.units for order in inside)
    row["discount"] = sum(order.discount_minor for order in inside) / 100
    row["shipping"] = sum(order.shipping_minor for order in inside) / 100
    row["refunded_orders"] = sum(order.refunded_minor > 0 for order in inside)
    row["attached_orders"] = sum(any(line.offer_experiment for line in order.lines) for order in inside)
    row["slow"] = sum(line.quantity for line in lines if line.product_id in ("slow", "card"))
    row["gift_orders"] = sum(any(line.product_id == "card" for line in order.lines) for order in inside)
    row["gift_gross"] = sum(line.gross_minor for line in lines if line.product_id == "card") / 100
    row |= done
    first = min((order.ordered_at_ms for order in inside), default=None)
    for days in (30, 60, 90):
        row[f"followed_{days}"] = first is not None and first + days * DAY <= NOW
        row[f"repeater_{days}"] = row[f"followed_{days}"] and any(
            first is not None and first < order.ordered_at_ms <= first + days * DAY for order in orders
        )
    row["values"] = [round(net(order) * 100) for order in inside]
    return row


def _expected(arm: pd.DataFrame) -> dict[str, float]:
    n = len(arm)
    added, bought = arm["add_to_cart"] > 0, arm["orders"] > 0
    prices = [value / 100 for values in arm["values"] for value in values]
    told = {
        "revenue_per_visitor": arm["net"].sum() / n, "margin_per_visitor": arm["margin"].sum() / n, "conversion": bought.mean(),
        "average_order_value": arm["net"].sum() / arm["orders"].sum(), "orders_per_visitor": arm["orders"].mean(),
        "units_per_order": arm["units"].sum() / arm["orders"].sum(),
        "attach_rate": arm["attached_orders"].sum() / arm["orders"].sum(), "accept_rate": arm["add_to_cart"].sum() / arm["impression"].sum(),
        "decline_rate": arm["decline"].sum() / arm["impression"].sum(), "discount_cost_per_visitor": arm["discount"].mean(),
        "refund_rate": arm["refunded_orders"].sum() / arm["orders"].sum(),
        "cart_abandonment": (added & ~bought).sum() / added.sum(),
        "slow_moving_units_per_visitor": arm["slow"].mean(), "shipping_each": arm["shipping"].mean(),
        "clickers": (arm["click"] > 0).mean(), "click_through": arm["click"].sum() / arm["impression"].sum(),
        "gift_orders": arm["gift_orders"].mean(), "gift_revenue": arm["gift_gross"].mean(),
        "median_order_value": float(np.quantile(prices, 0.5, method="averaged_inverted_cdf")),
        "p90_order_value": float(np.quantile(prices, 0.9, method="averaged_inverted_cdf")),
    }  # fmt: skip
    for days in (30, 60, 90):
        told[f"repeat_rate_{days}d"] = arm[f"repeater_{days}"].sum() / arm[f"followed_{days}"].sum()
    return told


def test_every_metric_is_what_pandas_makes_of_the_events(filled: tuple[World, pd.DataFrame]) -> None:
    """All that a declaration may name, and a merchant's own; every number finite or null with a reason."""
    world, units = filled
    found = world.report(as_of=NOW)
    for variant, arm in units.groupby("variant"):
        for name, expected in _expected(arm).items():
            assert values(found, name)[str(variant)] == pytest.approx(expected, rel=1e-9), name
    assert set(found.metrics) == {*ALL, *OWN}
    assert "NaN" not in found.to_json()
    control, offer = (units[units.variant == key] for key in ("control", "offer"))
    funnel = found.to_dict()["funnel"]["offer"]
    assert funnel == {
        "exposed": len(offer), "seen": (offer["impression"] > 0).sum(), "clicked": (offer["click"] > 0).sum(),
        "added": (offer["add_to_cart"] > 0).sum(), "declined": (offer["decline"] > 0).sum(), "bought": (offer["orders"] > 0).sum(),
    }  # fmt: skip
    del control


def test_history_is_taken_out(filled: tuple[World, pd.DataFrame]) -> None:
    """CUPED by its formula: theta from the pooled within-arm covariance with the 90 days before."""
    world, units = filled
    adjusted = world.report(as_of=NOW).metrics["revenue_per_visitor"].lifts["offer"].adjusted
    assert adjusted is not None
    within = units.groupby("variant")[["net", "pre_net"]].transform(lambda column: column - column.mean())
    theta = (within.net * within.pre_net).sum() / (within.pre_net**2).sum()
    units["after"] = units.net - theta * (units.pre_net - units.pre_net.mean())
    control, offer = (units[units.variant == key] for key in ("control", "offer"))
    assert adjusted.lift.absolute.estimate == pytest.approx(offer.after.mean() - control.after.mean(), rel=1e-9)
    plain = control.net.var() / len(control) + offer.net.var() / len(offer)
    after = control.after.var() / len(control) + offer.after.var() / len(offer)
    assert adjusted.variance_saved == pytest.approx(1 - after / plain, rel=1e-6)


def test_caps_are_pooled_over_buyers(filled: tuple[World, pd.DataFrame]) -> None:
    """At both ends, of all arms' buyers together; nobody who bought nothing is touched, nothing is deleted."""
    world, units = filled
    capped = world.report(as_of=NOW).metrics["revenue_per_visitor"].lifts["offer"].capped
    assert capped is not None
    bought = units[units.orders > 0].net.sort_values().to_numpy()
    beyond = int(len(bought) * 0.1)
    low, high = bought[beyond], bought[-1 - beyond]
    assert [capped.low, capped.high] == pytest.approx([low, high])
    units["capped"] = np.where(units.orders > 0, units.net.clip(low, high), 0)
    means = units.groupby("variant").capped.mean()
    assert capped.lift.absolute.estimate == pytest.approx(means["offer"] - means["control"], rel=1e-9)


def test_segments_add_up(filled: tuple[World, pd.DataFrame]) -> None:
    """By an attribute, those without it among them, and by whether a unit had bought before."""
    world, units = filled
    segments = world.report(as_of=NOW).to_dict()["segments"]
    units["returning"] = np.where(units.pre_orders > 0, "returning", "new")
    for name in ("device", "returning"):
        for (value, variant), arm in units.groupby([name, "variant"]):
            told = segments[name]["values"][value]
            assert told["units"][variant] == len(arm)
            assert told["value"][variant] == pytest.approx(arm.net.mean(), rel=1e-9)
        assert (
            0
            <= segments[name]["interaction"]["offer"]["p_value"]
            <= segments[name]["interaction"]["offer"]["corrected_p_value"]
        )
    assert "customer_type" not in segments


def test_days_add_up(filled: tuple[World, pd.DataFrame]) -> None:
    """The last point of the curve is the report's own always-valid lift; days since exposure sum to the whole."""
    world, _units = filled
    found = world.report(as_of=NOW)
    curve = found.details["curves"]["cumulative"]
    lift = found.metrics["revenue_per_visitor"].lifts["offer"]
    assert curve[-1]["lifts"]["offer"]["absolute"]["estimate"] == pytest.approx(lift.absolute.estimate)
    assert curve[-1]["units"] == UNITS
    since = found.details["curves"]["since_exposure"]
    assert len(since) == 7
    total = sum(point["lifts"]["offer"]["absolute"]["estimate"] for point in since)
    assert total == pytest.approx(lift.absolute.estimate, rel=1e-9)


def test_the_p_of_secondary_metrics_are_held_together(filled: tuple[World, pd.DataFrame]) -> None:
    """Holm over all but the primary, which decides alone."""
    world, _units = filled
    metrics = world.report(as_of=NOW).metrics
    assert metrics["revenue_per_visitor"].lifts["offer"].across_metrics is None
    others = [one.lifts["offer"] for name, one in metrics.items() if name != "revenue_per_visitor" and one.lifts]
    smallest = min(others, key=lambda lift: lift.simultaneous.p_value or 1)
    assert smallest.simultaneous.p_value is not None
    assert smallest.across_metrics is not None
    known = sum(lift.simultaneous.p_value is not None for lift in others)
    assert smallest.across_metrics.p_value == pytest.approx(min(1, smallest.simultaneous.p_value * known))


def test_the_table_of_definitions_is_that_of_the_code() -> None:
    """docs/metrics.md holds what `analysis.metrics.definitions` writes; names are declared once."""
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert definitions() in text
    assert set(CATALOGUE) == set(METRICS)
    assert set(COLUMN_MEANINGS) == set(COLUMNS)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("primary: revenue", "found the unknown metric `revenue`"),
        ("primary: p0_order_value", "found the unknown metric"),
        ("custom: {x: {kind: ratio, of: net}}", "found a ratio of one column"),
        ("custom: {x: {kind: mean, of: net, per: orders}}", "found a divisor of a mean"),
        ("custom: {x: {kind: mean, of: nett}}", "`nett`"),
        ("custom: {x: {kind: mean, of: clicks, tag: gift}}", "found a tag with `clicks`"),
        ("custom: {conversion: {kind: mean, of: net}}", "which every shop has"),
    ],
)
def test_wrong_metrics_are_refused(run: Any, write_configs: WriteConfigs, metrics: str, message: str) -> None:
    """With the place, what was found and what is wanted."""
    configs = write_configs(ab=AB.replace("status: running", f"status: running\nmetrics: {{{metrics}}}"))
    result = run("check", str(configs))
    assert result.exit_code == 1
    assert re.search(re.escape(message), result.stderr)


def test_reports_become_frames(filled: tuple[World, pd.DataFrame]) -> None:
    """One row for each metric and variant."""
    world, _units = filled
    found: Report = world.report(as_of=NOW)
    frame = found.to_frame()
    assert len(frame) == 2 * len(found.metrics)
    row = frame[(frame.metric == "conversion") & (frame.variant == "offer")].iloc[0]
    assert row["p_value"] == found.metrics["conversion"].lifts["offer"].p_value
