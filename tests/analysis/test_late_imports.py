"""Which libraries a command loads: importing SciPy's stats costs a second, statsmodels two, and no report wants either."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from events import open_store
from events.lake import export
from tests.analysis.conftest import MARGIN, World, fill
from tests.conftest import ROOT, WriteConfigs

SLOW = {"statsmodels", "scipy.stats", "scipy.optimize", "matplotlib"}
STATISTICAL = {"pandas", "numpy", "scipy", "statsmodels", "matplotlib", "ibis", "duckdb", "pyarrow", "sqlite_utils"}


def loaded_by(*command: object) -> set[str]:
    """Run a command in a Python of its own, and give the modules that it has loaded by its end."""
    code = (
        "import sys, crosslift\n"
        "crosslift.cli(sys.argv[1:], standalone_mode=False)\n"
        "print(*sys.modules, sep='\\n', file=sys.stderr)"
    )
    run = [sys.executable, "-c", code, *map(str, command)]
    return set(subprocess.run(run, capture_output=True, text=True, check=True, cwd=ROOT).stderr.split())


@pytest.mark.parametrize(
    "command", [["--help"], ["check"], ["explain", "product-page-placement", "anna"], ["new"]], ids=lambda one: one[0]
)
def test_commands_that_need_no_store_load_nothing_statistical(command: list[str]) -> None:
    """They answer in under half a second; without a store at hand the check reads none."""
    assert not loaded_by(*command) & (STATISTICAL | {"flask", "granian", "rich"})


@pytest.fixture
def configs(write_configs: WriteConfigs, store_url: str) -> Path:
    """Give the folder of an experiment that sold something, in a store and in a lake beside it."""
    folder = write_configs(ab=MARGIN)
    with closing(open_store(store_url)) as store:
        world = World(store, folder)
        world.declare()
        fill(world, {"control": 60, "offer": 80}, 600)
        export(store, folder.parent / "lake")
    return folder


def test_a_report_in_the_terminal_loads_no_slow_library(configs: Path, store_url: str) -> None:
    """Neither from SQLite, whose Ibis backend loads pandas, nor from Parquet, which loads none."""
    asked = ["report", "ab", "--configs", configs, "--as-of", "2026-07-01"]
    assert not loaded_by(*asked, "--store", store_url) & SLOW
    lake = loaded_by(*asked, "--store", f"parquet:{configs.parent / 'lake'}")
    assert not lake & (SLOW | {"pandas"})
    assert {"duckdb", "scipy.special"} <= lake


def test_a_check_against_a_store_loads_no_slow_library(configs: Path, store_url: str) -> None:
    """It reads the traffic of weeks, and compares nothing."""
    assert not loaded_by("check", configs, "--store", store_url) & (SLOW | {"duckdb", "rich.table"})


def test_analyze_loads_no_slow_library(tmp_path: Path) -> None:
    """Segments, covariates, quantiles and corrections included; DuckDB reads the file, and Ibis would only add to that."""
    rows = "".join(f"{arm},{n % 7},{n % 3},{n % 2}\n" for n in range(90) for arm in ("control", "b"))
    file = tmp_path / "a.csv"
    file.write_text(f"g,x,before,s\n{rows}")
    told = ["--mean", "x", "--quantile", "x:0.5", "--covariate", "before", "--segment", "s", "--correction", "holm"]
    assert not loaded_by("analyze", file, "--variant", "g", *told) & (SLOW | {"pandas", "pyarrow", "ibis"})
