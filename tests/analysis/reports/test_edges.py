"""Inputs at the edge: each an answer or a stated reason; and nothing but sums leaves the engine."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import Moments
from analysis.queries.source import Source
from analysis.stats.lift import compare
from tests.analysis.conftest import AT, DAY, World, fill

Fill = Callable[[World], None]


def _one_huge_order(world: World) -> None:
    fill(world, {"control": 100, "offer": 100}, 1000)
    world.order("offer1", 600_000, cost_minor=1)


def _refunded_beyond(world: World) -> None:
    fill(world, {"control": 40, "offer": 40}, 400)
    for number in range(40):
        world.order(f"offer{number}", 100, refunded_minor=9000, cost_minor=1)


def _everybody_buys(world: World) -> None:
    fill(world, {"control": 300, "offer": 300}, 300)


def _only_the_offer_sells(world: World) -> None:
    fill(world, {"control": 0, "offer": 60}, 500)


def _after_their_orders(world: World) -> None:
    for number in range(200):
        world.expose(f"u{number}", "control" if number % 2 else "offer")
        world.order(f"u{number}", 1000 + number, AT - DAY)


def _one_arm_only(world: World) -> None:
    for number in range(50):
        world.expose(f"u{number}", "control")
        world.order(f"u{number}", 1000 + number)


def _one_unit_each(world: World) -> None:
    world.expose("a", "control")
    world.expose("b", "offer")
    world.order("a", 1000)


EDGES: dict[str, Fill] = {
    "an empty store": lambda _world: None,
    "an empty arm": _one_arm_only,
    "one unit": _one_unit_each,
    "no buyers": lambda world: fill(world, {"control": 0, "offer": 0}, 300),
    "no buyers in the control": _only_the_offer_sells,
    "all buyers": _everybody_buys,
    "one huge order": _one_huge_order,
    "negative net revenue": _refunded_beyond,
    "exposures after orders": _after_their_orders,
}


def _unexplained(shown: Any, path: str = "") -> list[str]:
    """Find intervals and p that are null without a reason beside them."""
    if isinstance(shown, list):
        return [found for index, one in enumerate(shown) for found in _unexplained(one, f"{path}.{index}")]
    if not isinstance(shown, dict):
        return []
    wanted = {"p_value", "low", "high", "estimate", "value", "std_error", "mean"} & shown.keys()
    missing = [name for name in wanted if shown[name] is None]
    here = [f"{path}.{name}" for name in missing if "reason" not in shown]
    return here + [found for name, one in shown.items() for found in _unexplained(one, f"{path}.{name}")]


@pytest.mark.parametrize("edge", EDGES)
def test_every_null_has_its_reason(world: World, edge: str) -> None:
    """No NaN, no infinity, nothing left out silently."""
    EDGES[edge](world)
    told = json.loads(world.report().to_json())
    assert _unexplained(told["metrics"]) == []
    assert _unexplained(told["decomposition"]) == []
    assert told["verdict"]["decision"] in ("keep_running", "withheld", "no_difference", "ship", "stop")
    money = told["verdict"]["monthly_value"]
    assert money["estimate"] is not None or money["reason"]


def test_one_huge_order_is_seen_by_the_cap(world: World) -> None:
    """Half the revenue in one order: the plain lift is large and says nothing, the capped one is 0."""
    _one_huge_order(world)
    lift = world.report().metrics["revenue_per_visitor"].lifts["offer"]
    assert lift.capped is not None
    assert (lift.relative.estimate or 0) > 0.9
    assert lift.p_value is not None
    assert lift.p_value > 0.2
    assert lift.capped.lift.relative.estimate == pytest.approx(0, abs=0.02)


def test_only_sums_come_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 6,000 units no query returns more than a row for each day, value, band or variant, and none names a unit."""
    fill(world, {"control": 900, "offer": 950})
    found: list[tuple[int, set[str]]] = []
    original = Source.rows

    def counted(self: Source, expression: Any) -> list[dict[str, Any]]:
        rows = original(self, expression)
        found.append((len(rows), set(rows[0]) if rows else set()))
        return rows

    monkeypatch.setattr(Source, "rows", counted)
    world.report()
    assert len(found) > 10
    assert max(count for count, _columns in found) <= 20
    assert not any("unit_id" in columns for count, columns in found if count > 1)


def test_another_arm_changes_no_comparison_of_its_own(world: World) -> None:
    """Each comparison's own reading is that of the two arms; the family's are wider."""
    dice = np.random.default_rng(1)
    arms = [Moments.from_values(dice.normal(10, 3, 200)) for _ in range(3)]
    two = compare("mean", arms[0], {"a": arms[1]})["a"]
    three = compare("mean", arms[0], {"a": arms[1], "b": Moments.from_values(np.full(50, 10.0))})["a"]
    assert (two.absolute, two.relative, two.p_value) == (three.absolute, three.relative, three.p_value)
    assert (three.simultaneous.absolute.low or 0) < (two.absolute.low or 0)
    del world


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_cells_agree_with_weighted_least_squares(seed: int, days: int) -> None:
    """Moments merged over days: the estimate of a WLS on the days' means, weighted by their units."""
    dice = np.random.default_rng(seed)
    sizes = dice.integers(2, 30, (2, days))
    values = [[dice.normal(5 + arm, 2, sizes[arm, day]) for day in range(days)] for arm in range(2)]
    merged = []
    for arm in range(2):
        whole = Moments.from_values(values[arm][0])
        for one in values[arm][1:]:
            whole = whole + Moments.from_values(one)
        merged.append(whole)
    means = [float(one.mean()) for arm in values for one in arm]
    design = sm.add_constant(np.repeat([0, 1], days).astype(float))
    fit = sm.WLS(means, design, weights=sizes.ravel()).fit()
    found = compare("mean", merged[0], {"t": merged[1]})["t"]
    assert found.absolute.estimate == pytest.approx(fit.params[1], rel=1e-9, abs=1e-9)
