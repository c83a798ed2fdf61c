"""64,000 real customers: the published figures, and the same through the whole line."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.conftest import AB, DATA, WriteConfigs

Run = Callable[..., Result]

FILE = DATA / "hillstrom.csv"
pytestmark = pytest.mark.skipif(not FILE.exists(), reason=f"{FILE.name} is not at hand beside the checkout")

KEYS = {"No E-Mail": "none", "Mens E-Mail": "mens", "Womens E-Mail": "womens"}


@pytest.fixture
def analyzed(run: Run) -> Any:
    arguments = ("--variant", "segment", "--control", "No E-Mail", "--proportion", "conversion", "--mean", "spend")
    result = run("analyze", FILE, *arguments, "--ratio", "spend/conversion", "--format", "json")
    assert result.exit_code == 0
    return json.loads(result.output)


def test_published_figures(analyzed: Any) -> None:
    """Hillstrom (2008), the MineThatData challenge: every figure that STATISTICS.md lists, to the digits given."""
    conversion, spend = analyzed["metrics"]["conversion"]["lifts"], analyzed["metrics"]["spend"]["lifts"]
    expected = {
        "Mens E-Mail": (0.006805, 1.52e-13, 0.769827, 0.145247, 1.16e-7, 0.4851, 1.0545),
        "Womens E-Mail": (0.003111, 1.57e-4, 0.424412, 0.130333, 1.13e-3, 0.1690, 0.6799),
    }
    for key, (share, share_p, difference, error, p_value, low, high) in expected.items():
        assert conversion[key]["absolute"]["estimate"] == pytest.approx(share, abs=5e-7)
        assert conversion[key]["p_value"] == pytest.approx(share_p, rel=5e-3)
        one = spend[key]
        assert one["absolute"]["estimate"] == pytest.approx(difference, abs=5e-7)
        errors = [analyzed["metrics"]["spend"]["variants"][arm]["std_error"] for arm in (key, "No E-Mail")]
        assert (errors[0] ** 2 + errors[1] ** 2) ** 0.5 == pytest.approx(error, abs=5e-7)
        assert one["p_value"] == pytest.approx(p_value, rel=5e-3)
        assert (one["absolute"]["low"], one["absolute"]["high"]) == (
            pytest.approx(low, abs=5e-5),
            pytest.approx(high, abs=5e-5),
        )
    per_buyer = analyzed["metrics"]["spend/conversion"]["variants"]
    values = [round(per_buyer[key]["value"], 4) for key in ("No E-Mail", "Mens E-Mail", "Womens E-Mail")]
    assert values == [114.0027, 113.5269, 121.8948]
    assert analyzed["trust"]["checks"][0]["p_value"] == pytest.approx(0.90369, abs=5e-6)


def test_the_whole_line_gives_the_same(
    run: Run, write_configs: WriteConfigs, store_url: str, tmp_path: Path, analyzed: Any
) -> None:
    """Declared, imported as exposures and orders, reported: equal to analyze, to the rounding of money."""
    arms = "\n".join(f"  {key}: {{weight: 1, placement: none}}" for key in KEYS.values())
    text = AB.replace("key: ab", "key: mail")
    configs = write_configs(mail=text[: text.index("variants:")] + f"variants:\n{arms}\n")
    with FILE.open() as source, (tmp_path / "e.csv").open("w") as exposures, (tmp_path / "o.csv").open("w") as orders:
        exposures.write("experiment,unit_id,variant,exposed_at\n")
        orders.write("order_id,unit_id,ordered_at,gross\n")
        for number, row in enumerate(csv.DictReader(source)):
            exposures.write(f"mail,c{number},{KEYS[row['segment']]},2026-05-01T00:00:00Z\n")
            if row["conversion"] == "1":
                orders.write(f"o{number},c{number},2026-05-03T00:00:00Z,{row['spend']}\n")
    common = ("--configs", configs, "--store", store_url)
    assert "64,000 rows of exposures imported" in run("import", "exposures", tmp_path / "e.csv", *common).output
    assert "578 rows of orders imported" in run("import", "orders", tmp_path / "o.csv", *common).output
    found = json.loads(run("report", "mail", *common, "--format", "json", "--as-of", "2026-06-01").output)
    names = {"conversion": "conversion", "average_order_value": "spend/conversion", "revenue_per_visitor": "spend"}
    for ours, theirs in names.items():
        for segment, key in KEYS.items():
            mine, other = found["metrics"][ours]["variants"][key], analyzed["metrics"][theirs]["variants"][segment]
            for part in ("value", "std_error", "units", "numerator", "denominator"):
                assert mine[part] == pytest.approx(other[part], rel=1e-9)
            if key == "none":
                continue
            first, second = found["metrics"][ours]["lifts"][key], analyzed["metrics"][theirs]["lifts"][segment]
            assert first["p_value"] == pytest.approx(second["p_value"], rel=1e-6)
            for part in ("absolute", "relative"):
                for end in ("estimate", "low", "high"):
                    assert first[part][end] == pytest.approx(second[part][end], rel=1e-6, abs=1e-9)
    told = found["order_values"]
    assert [round(told[key]["median"], 3) for key in KEYS.values()] == [88.365, 66.98, 94.71]
    assert {told[key]["mode"] for key in KEYS.values()} == {29.99}
    assert sum(told[key]["mode_orders"] for key in KEYS.values()) == 136
    assert sum(band["orders"] for key in KEYS.values() for band in told[key]["histogram"]) == 578
    for part in found["decomposition"].values():
        factors = sum(part[name]["log_lift"] for name in ("conversion", "orders_per_buyer", "average_order_value"))
        assert factors == pytest.approx(part["revenue_per_visitor"]["log_lift"], rel=1e-9)
