"""A/A tests on a shop's own data."""

import json
from typing import Any

import numpy as np

from analysis.planning.aa_check import ErrorRate, split_and_test
from experiments.declarations.metrics import CATALOGUE, NET, ORDERS
from tests.analysis.conftest import World, fill


def test_sound_metrics_alarm_in_one_of_twenty(run: Any, world: World) -> None:
    """On the command line, over a store; quantiles too; the same seed says the same."""
    text = (world.configs / "experiments" / "ab.yaml").read_text()
    (world.configs / "experiments" / "ab.yaml").write_text(text.replace("orders_per_visitor]", "median_order_value]"))
    fill(world, {"control": 300, "offer": 300}, 1500)
    command = ("aa-check", "ab", "--configs", world.configs, "--store", world.store.url, "--tests", "400")
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert "median_order_value" in result.output
    told = json.loads(run(*command, "--format", "json").output)
    assert told == json.loads(run(*command, "--format", "json").output)
    for one in told["metrics"]:
        assert one["tests"] == 400
        assert one["sound"], one


def test_a_metric_that_cries_wolf_is_found() -> None:
    """An error rate beyond what chance allows for 5%."""
    assert (ErrorRate("x", 1000, 50, (0.029, 0.074)).sound, ErrorRate("x", 1000, 216, (0.029, 0.074)).sound) == (
        True,
        False,
    )
    assert ErrorRate("x", 0, 0, None, "no values").sound is None


def test_visitors_are_split_not_orders() -> None:
    """Visitors of ten like orders each: sound, where orders split one by one would alarm in every fifth test."""
    dice = np.random.default_rng(12)
    orders = (dice.random(600) < 0.5) * 10.0
    values = np.stack([orders * dice.gamma(1, 50, 600), orders], axis=1)
    metrics = {"average_order_value": CATALOGUE["average_order_value"]}
    (found,) = split_and_test(metrics, values, 900, [NET, ORDERS], 600, 1)
    assert found.sound is True


def test_nothing_to_split_says_so(run: Any, world: World) -> None:
    """No units, or metrics without values."""
    command = ("aa-check", "ab", "--configs", world.configs, "--store", world.store.url, "--tests", "20")
    result = run(*command)
    assert (result.exit_code, "found 0 units; wanted at least 4" in str(result.exception)) == (2, True)
    for number in range(10):
        world.expose(f"u{number}", "control")
    told = json.loads(run(*command, "--format", "json").output)["metrics"]
    assert all(one["rate"] is None and one["reason"] for one in told)
