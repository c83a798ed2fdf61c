"""A/A tests on a shop's own data."""

import json
from typing import Any

import numpy as np

from analysis.planning.aa_check import ErrorRate, split_and_test
from experiments.declarations.metrics import CATALOGUE, NET, ORDERS
from tests.analysis.conftest import World, fill


def test_sound_metrics_raise_an_alarm_in_one_test_of_twenty(run: Any, world: World) -> None:
    """On the command line, over a store; quantiles too; the same seed prints the same."""
    text = (world.configs / "experiments" / "ab.yaml").read_text()
    (world.configs / "experiments" / "ab.yaml").write_text(text.replace("orders_per_visitor]", "median_order_value]"))
    fill(world, {"control": 300, "offer": 300}, 1500)
    command = ("aa-check", "ab", "--configs", world.configs, "--store", world.store.url, "--tests", "400")
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert "median_order_value" in result.output
    printed = json.loads(run(*command, "--format", "json").output)
    assert printed == json.loads(run(*command, "--format", "json").output)
    for metric in printed["metrics"]:
        assert metric["tests"] == 400
        assert metric["sound"], metric


def test_a_metric_with_too_many_false_alarms_is_not_sound() -> None:
    """Its error rate is above the random variation of 5%."""
    assert (ErrorRate("x", 1000, 50, (0.029, 0.074)).sound, ErrorRate("x", 1000, 216, (0.029, 0.074)).sound) == (
        True,
        False,
    )
    assert ErrorRate("x", 0, 0, None, "no values").sound is None


def test_visitors_are_split_not_orders() -> None:
    """Visitors of ten like orders each: sound, where orders split one by one would alarm in every fifth test."""
    random = np.random.default_rng(12)
    orders = (random.random(600) < 0.5) * 10.0
    values = np.stack([orders * random.gamma(1, 50, 600), orders], axis=1)
    metrics = {"average_order_value": CATALOGUE["average_order_value"]}
    (rate,) = split_and_test(metrics, values, 900, [NET, ORDERS], 600, 1)
    assert rate.sound is True


def test_without_units_or_values_the_reason_is_shown(run: Any, world: World) -> None:
    """Without units the command fails; without values each metric has a reason."""
    command = ("aa-check", "ab", "--configs", world.configs, "--store", world.store.url, "--tests", "20")
    result = run(*command)
    assert (result.exit_code, "must have at least 4 units to split, got 0" in str(result.exception)) == (2, True)
    for number in range(10):
        world.expose(f"u{number}", "control")
    printed = json.loads(run(*command, "--format", "json").output)["metrics"]
    assert all(metric["rate"] is None and metric["reason"] for metric in printed)
