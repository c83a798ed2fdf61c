"""`crosslift analyze`: any file, and files that cannot be used."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest
from click.testing import Result

from analysis import analyze
from analysis.stats.moments import Moments
from analysis.stats.orders.order_statistics import Ranked
from analysis.stats.orders.quantiles import arm
from experiments import AnalysisError

Run = Callable[..., Result]

ROWS = "".join(f"{group},{n % 3},{int(n % 3 > 0)},u{n}\n" for n in range(60) for group in ("control", "b"))


def write(folder: Path, content: str | bytes, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def values(path: Path, metric: str, **options: Any) -> dict[str, float]:
    found = analyze(path, "g", **options).to_dict()["metrics"][metric]["variants"]
    return {key: one["value"] for key, one in found.items()}


def test_a_file_of_one_row_a_unit(tmp_path: Path) -> None:
    """Means, proportions and ratios, from CSV and from Parquet alike."""
    csv = write(tmp_path, "g,x,y\ncontrol,1,1\ncontrol,3,0\nb,6,1\nb,2,1\n")
    parquet = tmp_path / "a.parquet"
    ibis.duckdb.connect().read_csv(csv).to_parquet(parquet)
    for path in (csv, parquet):
        assert values(path, "x", mean="x") == {"control": 2, "b": 4}
        assert values(path, "y", proportion=["y"]) == {"control": 0.5, "b": 1}
        assert values(path, "x/y", ratio=["x/y"]) == {"control": 4, "b": 4}


def test_rows_are_put_together_per_unit(tmp_path: Path) -> None:
    """Sums for means and ratios, "any" for proportions; one never changes the other. Units of two variants are left out."""
    path = write(
        tmp_path,
        "g,u,spend,buy\ncontrol,1,5,1\ncontrol,1,7,1\ncontrol,2,0,0\nb,3,4,1\nb,4,0,0\nb,5,9,1\ncontrol,5,9,1\n",
    )
    for extra in ({}, {"proportion": "buy"}):
        assert values(path, "spend/buy", unit="u", ratio="spend/buy", **extra) == {"control": 6, "b": 4}
    assert values(path, "buy", unit="u", proportion="buy") == {"control": 0.5, "b": 0.5}
    report = analyze(path, "g", unit="u", mean="spend")
    assert [(row.key, row.units) for row in report.variants] == [("control", 2), ("b", 2)]
    assert report.checks[1].name == "multiple_exposure"


def test_ids_and_variants_are_text(tmp_path: Path) -> None:
    """Long numbers keep their last digits, 1.10 is not 1.1, and True stays as it is written."""
    path = write(tmp_path, "g,u,x\n1.10,12345678901234567890,1\n1.10,12345678901234567891,2\n1.1,1e5,3\n1.1,100000,4\n")
    report = analyze(path, "g", control="1.1", unit="u", mean="x")
    assert [(row.key, row.units) for row in report.variants] == [("1.1", 2), ("1.10", 2)]
    truth = write(tmp_path, "g,x\nTrue,1\nTrue,2\nFalse,3\nFalse,4\n", "t.csv")
    assert values(truth, "x", control="False", mean="x") == {"False": 3.5, "True": 1.5}


def test_columns_may_have_any_name(tmp_path: Path) -> None:
    """Also those that the engine uses itself, spaces and quotes."""
    names = ["variant_", "unit_", "last_", "n", "x0", "self", "VARIANT_2", 'a "b" c']
    header = ",".join('"' + name.replace('"', '""') + '"' for name in ["g", "u", *names])
    rows = "".join(f"{'control' if n % 2 else 'b'},{n}," + ",".join([str(n)] * len(names)) + "\n" for n in range(8))
    path = write(tmp_path, header + "\n" + rows)
    for unit in (None, "u"):
        found = analyze(path, "g", unit=unit, mean=names).to_dict()["metrics"]
        assert [found[name]["variants"]["b"]["value"] for name in names] == [3.0] * len(names)


def test_a_file_name_is_no_pattern(tmp_path: Path) -> None:
    """`a[1].csv` is that file, and a folder's name is no column."""
    write(tmp_path, "g,x\ncontrol,100\nb,200\n", "a1.csv")
    folder = tmp_path / "g=zzz"
    folder.mkdir()
    for path in (write(tmp_path, "g,x\ncontrol,1\nb,2\n", "a[1].csv"), write(folder, "g,x\ncontrol,1\nb,2\n")):
        assert values(path, "x", mean="x") == {"control": 1, "b": 2}


@pytest.mark.parametrize("value", ["19.99", "29.99", "0.1", "1234567.89", "1e12"])
def test_equal_values_have_no_standard_error(tmp_path: Path, value: str) -> None:
    """What adding up leaves behind is not variation: for a mean, and for a ratio of amounts to counts."""
    rows = "".join(f"{group},{value},1\n" for group in ("control", "b") for _ in range(500))
    for metric in (
        analyze(write(tmp_path, "g,x,y\n" + rows), "g", mean="x", ratio="x/y").to_dict()["metrics"]
    ).values():
        assert metric["lifts"]["b"]["p_value"] is None
        assert "neither arm varies" in metric["lifts"]["b"]["reason"]


def test_large_amounts_keep_their_variation(tmp_path: Path) -> None:
    """A spread of 1 beside a mean of a billion."""
    rows = "".join(f"{group},{10**9 + 7 + n % 3}\n" for n in range(999) for group in ("control", "b"))
    found = analyze(write(tmp_path, "g,x\n" + rows), "g", mean="x").to_dict()["metrics"]["x"]["variants"]["b"]
    assert found["std_error"] == pytest.approx((2 / 3 * 999 / 998 / 999) ** 0.5, rel=1e-6)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "is empty; must be CSV or Parquet"),
        ("g,x\n", {}, "has no rows"),
        ("g;x\ncontrol;1\nb;2\n", {"variant": "h"}, "has no column 'h'; its columns are g, x"),
        (
            "g,x\ncontrol,1\nb,\n",
            {},
            "x: must have a value in every row (0 where nothing was bought); 1 row without one",
        ),
        (
            "g,x\ncontrol,1\n,2\n",
            {},
            "g: must have a value in every row (0 where nothing was bought); 1 row without one",
        ),
        ("g,x\ncontrol,1\nb,one\n", {}, "x: must be a number in every row, but the column has text"),
        (
            "g,x\ncontrol,1\nb,2\n",
            {"mean": (), "proportion": "x"},
            "x: must be 0 or 1 for a proportion; 1 row with another value",
        ),
        ("g,x\ncontrol,1\nb,inf\n", {}, "x: must be a finite number; 1 row with another value"),
        ("g,x\ncontrol,1e300\nb,2e300\n", {}, "values must be below 1e150"),
        ("g,x\ncontrol,1\ncontrol,2\n", {}, "--variant: must have at least two values, has only 'control'"),
        ("g,x\na,1\nb,2\n", {}, "--control: must name one of the variants a, b"),
        ("g,x\na,1\nb,2\n", {"control": "c"}, "--control: must be one of a, b, got 'c'"),
        ("g,x\na,1\nb,2\n", {"control": ""}, "--control: must be one of a, b, got ''"),
        ("g,x\ncontrol,1\nb,2\n", {"weights": {"control": 1}}, "--weights: must have a weight for each of control, b"),
        ("g,x\ncontrol,1\nb,2\n", {"ratio": "x"}, "--ratio: must be NUMERATOR/DENOMINATOR, got 'x'"),
        ("g,x\ncontrol,1\nb,2\n", {"mean": ()}, "no metric: give at least one of"),
        ("g,x\ncontrol,1\nb,2\n", {"proportion": "x"}, "x is given as a proportion too"),
        ("g,x\n" + "".join(f"v{n},1\n" for n in range(60)), {"control": "v1"}, "must be a column of at most 50 values"),
        ("g,x,u\ncontrol,1,a\nb,2,a\n", {"unit": "u"}, "every unit is in several variants"),
        ("g,x\ncontrol,1\nb\xe9,2\n".encode("latin-1"), {}, "cannot be read as UTF-8 CSV"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_file_that_cannot_be_used_says_why(
    tmp_path: Path, content: str | bytes, options: dict[str, Any], message: str
) -> None:
    """One sentence: what was found, what is wanted."""
    path = write(tmp_path, content)
    with pytest.raises(AnalysisError) as caught:
        analyze(path, **{"variant": "g", "mean": "x", **options})
    assert message in str(caught.value)


def test_the_command_line(run: Run, tmp_path: Path) -> None:
    """Text in 100 columns, JSON, weights, exit code 2 for wrong use."""
    path = write(tmp_path, "g,x,y,u\n" + ROWS)
    arguments = ("analyze", path, "--variant", "g", "--mean", "x", "--proportion", "y", "--ratio", "x/y")
    text = run(*arguments, "--weights", "control=1,b=3", "--confidence", "0.9")
    assert (text.exit_code, max(map(len, text.output.splitlines())) <= 100) == (0, True)
    assert "✗ FAILED sample_ratio" in text.output
    assert "90% interval" in text.output
    found = json.loads(run(*arguments, "--format", "json").output)
    assert (found["trust"]["passed"], list(found["metrics"])) == (True, ["y", "x", "x/y"])
    for options in (
        ("--weights", "control"),
        ("--weights", "control=-1,b=1"),
        ("--confidence", "95"),
        ("--out", tmp_path / "no" / "x"),
    ):
        assert run(*arguments, *options).exit_code == 2
    assert run("analyze", path).exit_code == 2
    assert run("analyze", tmp_path, "--variant", "g", "--mean", "x").exit_code == 2


def test_names_are_shown_as_they_are(run: Run, tmp_path: Path) -> None:
    """A variant that looks like markup is a variant."""
    path = write(tmp_path, "g,x\ncontrol,1\ncontrol,2\n[/b],2\n[/b],5\n[bold]a,2\n[bold]a,3\n")
    output = run("analyze", path, "--variant", "g", "--mean", "x").output
    assert "[/b]" in output
    assert "[bold]a" in output


@pytest.mark.parametrize("unit", [None, "u"])
def test_sums_and_quantiles_are_those_of_the_values(tmp_path: Path, unit: str | None) -> None:
    """Out of Parquet, beside NumPy over the same values: amounts beside a large mean, and prices on few points."""
    dice, n = np.random.default_rng(3), 4000
    columns = {
        "g": dice.choice(["control", "b", "c"], n), "u": np.arange(n), "x": 1e6 + dice.normal(0, 3, n),
        "price": dice.choice([9.9, 19.9, 24.9, 99.0], n), "y": dice.integers(1, 4, n),
    }  # fmt: skip
    file = tmp_path / "a.parquet"
    pd.DataFrame(columns).to_parquet(file)
    shares = {"x:0.5": ("x", 0.5), "price:0.9": ("price", 0.9)}
    found = analyze(file, "g", unit=unit, mean="x", ratio="price/y", quantile=list(shares), covariate="x")
    for key in ("control", "b", "c"):
        x, price, y = (columns[name][columns["g"] == key] for name in ("x", "price", "y"))
        expected = {"x": Moments.from_values(x), "price/y": Moments.from_values(price, y)}
        for name, (column, share) in shares.items():
            values = sorted(price if column == "price" else x)
            expected[name] = arm(Ranked(len(values), share, 1.0, partial(at_rank, values)))
        for name, wanted in expected.items():
            one = found.metrics[name].moments[key]
            assert one is not None
            assert (one.n, one.value) == pytest.approx((wanted.n, wanted.value), rel=1e-13)
            assert one.std_error == pytest.approx(wanted.std_error, rel=1e-9)


def at_rank(values: list[float], rank: int) -> float:
    return float(values[rank - 1])
