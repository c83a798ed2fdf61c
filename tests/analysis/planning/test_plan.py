"""Planning: reference sizes, agreement with statsmodels, and advice for small shops."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from statsmodels.stats.power import NormalIndPower

from analysis.planning.plan import given_baseline, needs
from analysis.stats.power import units_per_arm
from events import Exposure, Order, Store
from experiments import AnalysisError, Experiment, load
from experiments.declarations.model import declared_dict
from tests.conftest import AB, ROOT, WriteConfigs

Run = Callable[..., Result]

AT = 1_777_636_800_000
DAY = 86_400_000


def test_reference_sizes() -> None:
    """Mean .2, sd 1.2, +10%: 56,512 an arm; proportion .1, +10%: 14,749 with the variance of both shares (STATISTICS.md)."""
    assert math.ceil(units_per_arm(0.1, 1.2 / 0.2, 0.95, 0.8)) == 56512
    both = ((0.1 * 0.9 + 0.11 * 0.89) / 2) ** 0.5
    assert math.ceil(units_per_arm(0.1, both / 0.1, 0.95, 0.8)) == 14749


def test_sizes_agree_with_statsmodels() -> None:
    """Statsmodels computes the requested power from our size."""
    for effect, variation, power in ((0.05, 3.0, 0.8), (0.2, 8.0, 0.9)):
        units = units_per_arm(effect, variation, 0.95, power)
        computed = NormalIndPower().power(effect / variation, units, 0.05, alternative="two-sided")
        assert computed == pytest.approx(power, abs=1e-6)


def experiment(**fields: object) -> Experiment:
    variants = {key: {"placement": "none"} for key in "abc"}
    return Experiment.model_validate({"key": "e", "title": "", "variants": variants, **fields})


def test_needs_follow_variants_layers_and_guardrails() -> None:
    """Half the traffic takes twice the days; guardrails have needs of their own; the detectable effect shrinks with the root of time."""
    baseline = given_baseline(1000, 0.05)
    whole = needs(experiment(metrics={"guardrails": {"conversion": "-2%"}}), baseline)
    half = needs(experiment(layer={"name": "l", "from": "0%", "to": "50%"}), baseline)
    assert [(need.metric, need.role, need.effect) for need in whole] == [
        ("revenue_per_visitor", "primary", 0.05), ("conversion", "guardrail", 0.02),
    ]  # fmt: skip
    assert (half[0].days or 0) == pytest.approx(2 * (whole[0].days or 0))
    assert whole[0].seen[1] == pytest.approx(2 * whole[0].seen[4])
    assert needs(experiment(metrics={"guardrails": {"conversion": "0%"}}), baseline)[1].units is None


@pytest.mark.parametrize("rates", [(0, 0.1, 1), (10, 0, 1), (10, 1, 1), (10, 0.1, 0), (float("nan"), 0.1, 1)])
def test_impossible_rates_are_refused(rates: tuple[float, float, float]) -> None:
    """The message names the option."""
    with pytest.raises(AnalysisError, match=r"^--[a-z-]+: must be above 0"):
        given_baseline(*rates)


def test_plan_from_rates_of_the_command_line(run: Run, tmp_path: Path) -> None:
    """Text and JSON; a shop with too little traffic reads so, and what it can do."""
    arguments = ("plan", "product-page-placement", "--configs", ROOT / "configs", "--visitors-per-day", 500)
    text = run(*arguments, "--conversion", "3%")
    assert text.exit_code == 0
    assert max(map(len, text.output.splitlines())) <= 100
    assert "too little traffic" in text.output
    assert "With two variants it takes" in text.output
    plan = json.loads(run(*arguments, "--conversion", "3%", "--format", "json").output)
    assert plan["needs"][0]["effect_seen_after_weeks"].keys() == {"1", "2", "4", "8"}
    rich = run(
        "plan", "bundle-vs-separate", "--configs", ROOT / "configs", "--visitors-per-day", 90000, "--conversion", "0.1"
    )
    assert "This shop has enough traffic for it." in rich.output
    for wrong in (
        arguments,
        (*arguments, "--conversion", "300%"),
        (*arguments[:4], "--store", f"sqlite:///{tmp_path}/none.db"),
    ):
        assert run(*wrong).exit_code == 2


def test_missing_data_are_not_reported_as_enough_traffic(run: Run, store: Store, write_configs: WriteConfigs) -> None:
    """No orders, no traffic, no store: a message, never a traceback."""
    configs = write_configs()
    store.open_epoch("ab", declared_dict(load(configs).experiments["ab"]), AT)
    store.write([Exposure(experiment="ab", unit_id="u", variant="control", exposed_at_ms=AT)])
    result = run("plan", "ab", "--configs", configs, "--store", store.url)
    assert (result.exit_code, "Nothing is known of" in result.output) == (0, True)
    closed = write_configs("closed", ab=AB.replace("status: running", "status: running\ntraffic: 0%"))
    rates = ("--visitors-per-day", 100, "--conversion", "3%")
    assert "no visitor takes part" in run("plan", "ab", "--configs", closed, *rates).output
    assert run("plan", "ab", "--configs", configs, *rates, "--order-value-variation", "1e200").exit_code == 2
    assert run("check", configs, "--store", "sqlite:///nowhere.db").exit_code == 2


def test_plan_and_lints_from_history(run: Run, store: Store, write_configs: WriteConfigs) -> None:
    """From the store's own traffic and orders; too little traffic and a changed salt are warnings."""
    configs = write_configs()
    store.open_epoch("ab", declared_dict(load(configs).experiments["ab"]), AT)
    for number in range(2000):
        unit, at = f"u{number}", AT + number * 14 * DAY // 2000
        variant = "control" if number % 2 else "offer"
        store.write([Exposure(experiment="ab", unit_id=unit, variant=variant, exposed_at_ms=at)])
        if number % 10 < 2:
            order = {"order_id": unit, "unit_id": unit, "ordered_at_ms": at, "updated_at_ms": at, "currency": "USD"}
            store.write([Order.model_validate({**order, "gross_minor": 1000 + number})])
    common = ("--configs", configs, "--store", store.url)
    plan = json.loads(run("plan", "ab", *common, "--format", "json").output)
    assert plan["units_per_day"] == pytest.approx(2000 / 14, rel=0.01)
    assert "2,000 exposures of ab over 14 days" in plan["origin"]
    assert plan["needs"][0]["units_per_arm"] > 1000
    warned = run("check", configs, "--store", store.url)
    assert (warned.exit_code, "[too-little-traffic]" in warned.output, "[changed-salt]" in warned.output) == (
        0,
        True,
        False,
    )
    salted = write_configs("salted", ab=AB.replace("status: running", "status: running\nsalt: other"))
    assert "[changed-salt]" in run("check", salted, "--store", store.url).output


def test_check_uses_correct_plurals(run: Run, write_configs: WriteConfigs) -> None:
    """Of experiments, products and warnings."""
    assert "1 experiment, no products, no faults, 1 warning." in run("check", write_configs()).output
