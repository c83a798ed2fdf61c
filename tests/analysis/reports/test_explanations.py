"""Order values, quantiles, decomposition, bounds of several looks, chances, and interactions: by reference and by simulation."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import report
from analysis.stats.boundaries.group_sequential import group_sequential_bounds, repeated_p
from analysis.stats.boundaries.multiplicity import corrected
from analysis.stats.comparisons import Undefined
from analysis.stats.heterogeneity import interact
from analysis.stats.lift import compare
from analysis.stats.moments import Moments
from analysis.stats.orders.decomposition import decompose
from analysis.stats.orders.order_statistics import quantile
from analysis.stats.orders.order_values import bands, describe
from analysis.stats.orders.quantiles import clustered
from analysis.stats.posterior import posteriors
from tests.analysis.conftest import NOW, World, fill
from tests.conftest import AB, DATA, WriteConfigs


def counted(values: Any) -> dict[int, int]:
    found: dict[int, int] = {}
    for value in sorted(int(one) for one in values):
        found[value] = found.get(value, 0) + 1
    return found


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-500, 5000), min_size=1, max_size=60), st.sampled_from([0.05, 0.25, 0.5, 0.75, 0.9, 1 / 3]))
def test_quantiles_agree_with_numpy(values: list[int], share: float) -> None:
    """Numpy's averaged_inverted_cdf, by another way."""
    expected = np.quantile(np.array(values, float), share, method="averaged_inverted_cdf")
    assert quantile(counted(values), share) == pytest.approx(float(expected))


def test_intervals_of_a_median_hold_it() -> None:
    """800 samples of skewed values, whose visitors' orders are alike: 95% of the intervals hold the true median."""
    dice = np.random.default_rng(8)
    true, held, ignored = 1000 * math.exp(0.0), 0, 0
    for _ in range(800):
        sizes = dice.choice([1, 2, 5], 300, p=[0.6, 0.3, 0.1])
        values = [
            np.full(size, 1000 * math.exp(taste)) for size, taste in zip(sizes, dice.normal(0, 0.6, 300), strict=True)
        ]
        flat = counted(np.concatenate(values).round())
        at = quantile(flat, 0.5)
        below = Moments.from_values([float((one <= at).sum()) for one in values], sizes.astype(float))
        for cluster, is_clustered in ((below, True), (None, False)):
            ranked = clustered(flat, 0.5, cluster).ranked
            assert ranked is not None
            low, high = ranked.ends(1.96) or (0, 0)
            held, ignored = (
                held + (is_clustered and low <= true <= high),
                ignored + (not is_clustered and low <= true <= high),
            )
    assert 0.93 <= held / 800 <= 0.97
    assert ignored / 800 < 0.91  # what taking orders for independent would do


def test_too_few_orders_have_no_interval() -> None:
    """N <= z^2 max(q / (1 - q), (1 - q) / q) is refused."""
    with pytest.raises(Undefined, match="too few"):
        clustered({100: 30}, 0.9, None)
    assert clustered({100: 20, 200: 20}, 0.5, None).value == 150


def test_the_mean_hides_what_the_mode_shows() -> None:
    """A shop of $15 orders and a few large ones: mean above, mode at 15 (STATISTICS.md)."""
    control = counted([1500] * 60 + [2000] * 20 + [6000] * 20)
    offer = counted([2500] * 60 + [2000] * 20 + [6000] * 20)
    found = describe({"control": control, "offer": offer}, 100)
    assert (found["control"].mean, found["control"].mode, found["control"].median) == (25, 15, 15)
    band = found["control"].modal_band
    assert band is not None
    assert band.low <= 15 < band.high
    assert found["offer"].to_dict()["modal_band_moved"]["moved"] is True
    same = describe({"control": control, "offer": control}, 100)["offer"].modal_band_moved
    assert same is not None
    assert same.moved is False
    assert describe({"control": {}, "offer": {}}, 100)["offer"].reason == "no counted orders"


RETAIL = DATA / "online_retail_uci.parquet"


@pytest.mark.skipif(not RETAIL.exists(), reason=f"{RETAIL.name} is not at hand beside the checkout")
def test_a_year_of_a_real_shop() -> None:
    """19,960 orders of a gift shop: mean 534.403, median 303.835 (FORMATS.md)."""
    lines = pd.read_parquet(RETAIL)
    valid = lines[
        ~lines["InvoiceNo"].astype(str).str.startswith("C") & (lines["Quantity"] > 0) & (lines["UnitPrice"] > 0)
    ]
    worth = (valid["Quantity"] * valid["UnitPrice"]).groupby(valid["InvoiceNo"]).sum()
    found = describe({"control": counted((worth * 100).round())}, 100)["control"]
    assert found.orders == 19_960
    assert found.mean == pytest.approx(534.403, abs=5e-4)
    assert found.median == pytest.approx(303.835, abs=5e-3)
    assert len(found.histogram) <= 40


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-5000, 10_000_000), min_size=1, max_size=80))
def test_bands_lose_nothing(values: list[int]) -> None:
    """Every order is in one band, there are not too many, and one huge order does not flatten the rest."""
    found = bands(counted(values))
    assert sum(found.counts(counted(values))) == len(values)
    assert 1 <= found.count <= 40
    assert str(found.width).strip("0") in ("1", "2", "5")


def test_the_parts_add_up() -> None:
    """Ln RPV = ln conversion + ln orders per buyer + ln order value; each interval holds its truth 95 times in 100."""
    dice = np.random.default_rng(9)

    def arm(rate: float, level: float, n: int = 2000) -> Moments:
        orders = (dice.random(n) < rate) * (1 + (dice.random(n) < 0.3))
        net = orders * dice.gamma(2, level / 2, n)
        data = np.stack([(orders > 0).astype(float), orders.astype(float), net])
        deviations = data - data.mean(axis=1)[:, None]
        return Moments(n, data.mean(axis=1), deviations @ deviations.T)

    truth = {"conversion": math.log(1.2), "orders_per_buyer": 0.0, "average_order_value": math.log(0.9)}
    held = dict.fromkeys(truth, 0)
    for _ in range(400):
        parts = decompose(arm(0.1, 50), arm(0.12, 45), 0.95).to_dict()
        assert sum(parts[name]["log_lift"] for name in truth) == pytest.approx(parts["revenue_per_visitor"]["log_lift"])
        for name, true in truth.items():
            held[name] += parts[name]["low"] <= true <= parts[name]["high"]
    assert all(0.92 <= count / 400 <= 0.98 for count in held.values())
    empty = Moments.zeros(10, 3)
    assert decompose(empty, empty, 0.95).factors["conversion"].reason


def test_bounds_of_five_looks() -> None:
    """O'Brien-Fleming spending, K = 5, two-sided .05 (STATISTICS.md)."""
    found = group_sequential_bounds([0.2, 0.4, 0.6, 0.8, 1.0], 0.05)
    assert found == pytest.approx([4.8769, 3.3570, 2.6803, 2.2898, 2.0310], abs=5e-5)
    assert repeated_p(found[-1], [0.2, 0.4, 0.6, 0.8, 1.0]) == pytest.approx(0.05, abs=1e-6)


def test_five_looks_err_in_one_of_twenty() -> None:
    """40,000 walks without drift, read five times."""
    dice = np.random.default_rng(10)
    walk = dice.normal(size=(40_000, 5)).cumsum(axis=1) / np.sqrt(np.arange(1, 6))
    bounds = np.array(group_sequential_bounds([0.2, 0.4, 0.6, 0.8, 1.0], 0.05))
    assert (np.abs(walk) > bounds).any(axis=1).mean() == pytest.approx(0.05, abs=0.004)


def test_p_and_intervals_of_a_look_agree(world: World, write_configs: WriteConfigs) -> None:
    """The first look, half-way to the planned size, is read with its own bound."""
    arms = [
        Moments.from_values(np.random.default_rng(seed).normal(10 + shift, 5, 3000))
        for seed, shift in ((1, 0), (2, 0.4))
    ]
    for planned in (4000, 10_000, 40_000):
        look = compare("mean", arms[0], {"t": arms[1]}, planned_units=planned, looks=2)["t"].group_sequential
        assert look is not None
        assert look.number == {4000: 2, 10_000: 1, 40_000: 0}[planned]
        if look.number:
            reading = look.reading
            assert reading.p_value is not None
            assert (reading.p_value < 0.05) == ((reading.absolute.low or 0) > 0 or (reading.absolute.high or 0) < 0)
        else:
            assert "has not been reached" in (look.reading.reason or "")
    fill(world, {"control": 100, "offer": 120}, 1000)
    world.configs = write_configs(
        ab=AB.replace("status: running", "status: running\nplan: {looks: 4, minimum_effect: 50%}")
    )
    told = world.report().to_dict()["metrics"]["conversion"]["lifts"]["offer"]["group_sequential"]
    assert (told["looks"], told["look"] >= 1, told["bound"] > 1.9) == (4, True, True)


def test_corrections_across_metrics() -> None:
    """Reference values of STATISTICS.md; a p that is missing stays missing, and harms none."""
    p_values = [0.005, 0.06, 0.007, 0.04, 0.01, 0.03]
    assert corrected(p_values, "benjamini_hochberg") == pytest.approx([0.02, 0.06, 0.02, 0.048, 0.02, 0.045])
    assert corrected(p_values, "holm") == pytest.approx([0.03, 0.09, 0.035, 0.09, 0.04, 0.09])
    assert corrected([None, *p_values], "holm") == [None, *corrected(p_values, "holm")]
    assert corrected([None], "holm") == [None]


def test_chances_agree_with_draws() -> None:
    """The integral against two million draws."""
    arms = {"a": (1.0, 0.1), "b": (1.1, 0.01), "c": (0.9, 0.2)}
    found = posteriors({key: Moments.of_estimate(100, mean, error**2) for key, (mean, error) in arms.items()})
    draws = np.random.default_rng(1).normal([1.0, 1.1, 0.9], [0.1, 0.01, 0.2], (2_000_000, 3))
    for index, key in enumerate(arms):
        assert found[key].probability_best == pytest.approx((draws.argmax(axis=1) == index).mean(), abs=0.002)
        assert found[key].expected_loss == pytest.approx(draws.max(axis=1).mean() - draws[:, index].mean(), abs=0.001)
    lower = posteriors({"a": Moments.of_estimate(9, 1.0, 0.1), "b": Moments.of_estimate(9, 5.0, 0.1)}, "lower")
    assert (lower["a"].probability_best or 0) > 0.99
    assert posteriors({"a": Moments.zeros(5, 1), "b": Moments.zeros(5, 1)})["a"].reason


def test_two_experiments_that_meddle(world: World, write_configs: WriteConfigs) -> None:
    """Each offer brings 1.00 alone; together they bring 5.00, or 2.00 where they do not meddle."""
    other = AB.replace("key: ab", "key: cd")
    world.configs = write_configs(ab=AB, cd=other)
    world.declare("cd")
    dice = np.random.default_rng(11)
    for number in range(800):
        mine, theirs = ("control", "offer")[number % 2], ("control", "offer")[number // 2 % 2]
        world.expose(f"u{number}", mine)
        world.expose(f"u{number}", theirs, experiment="cd")
        worth = {0: 1000, 1: 1100, 2: 1500}[(mine == "offer") + (theirs == "offer")]
        world.order(f"u{number}", worth + int(dice.integers(0, 300)))

    found = report("ab", world.store.url, world.configs, NOW, ["cd"]).to_dict()["interactions"]["cd"]
    effect = found["effects"]["offer"]["offer"]
    assert found["units"] == 800
    assert found["p_value"] < 1e-6
    assert effect["low"] <= 3 <= effect["high"]
    flat = {(a, b): Moments.from_values(dice.normal(5, 1, 50)) for a in "xy" for b in "uv"}
    assert (interact(flat, ["x", "y"], ["u", "v"], 0.95).p_value or 0) > 0.01
    assert interact({("x", "u"): Moments.zeros(0, 1)}, ["x", "y"], ["u"], 0.95).reason
