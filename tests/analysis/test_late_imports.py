"""Which libraries a command loads: statistics take more than a second to import, so only commands that compute load them."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from events import open_store
from events.lake import export
from tests.analysis.conftest import MARGIN, World, fill
from tests.conftest import ROOT, WriteConfigs

STATSMODELS = {"statsmodels", "scipy.stats"}
QUERIES = [path for path in (ROOT / "analysis" / "queries").rglob("*.py") if path.name != "spark.py"]
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
    """Return the folder of an experiment that sold something, in a store and in a lake beside it."""
    folder = write_configs(ab=MARGIN)
    with closing(open_store(store_url)) as store:
        world = World(store, folder)
        world.declare()
        fill(world, {"control": 60, "offer": 80}, 600)
        export(store, folder.parent / "lake")
    return folder


def test_a_report_in_the_terminal_computes_with_statsmodels(configs: Path, store_url: str) -> None:
    """From SQLite and from Parquet; it draws nothing, and never loads all of `statsmodels.api`."""
    command = ["report", "ab", "--configs", configs, "--as-of", "2026-07-01"]
    for store in (store_url, f"parquet:{configs.parent / 'lake'}"):
        modules = loaded_by(*command, "--store", store)
        assert modules >= STATSMODELS
        assert not modules & {"matplotlib", "statsmodels.api"}


def test_plan_computes_with_statsmodels(configs: Path, store_url: str) -> None:
    """The sizes come from its power functions."""
    assert loaded_by("plan", "ab", "--configs", configs, "--store", store_url) >= STATSMODELS


def test_a_check_against_a_store_draws_nothing(configs: Path, store_url: str) -> None:
    """It reads the traffic of weeks, and plans with it."""
    assert not loaded_by("check", configs, "--store", store_url) & {
        "duckdb",
        "rich.table",
        "matplotlib",
        "statsmodels.api",
    }


def test_queries_load_no_statistics() -> None:
    """They return moments; so a report can load the statistics on a thread while the first query runs."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in QUERIES]
    code = f"import sys, {', '.join(names)}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not set(run.stdout.split()) & (STATSMODELS | {"scipy.optimize"})


def test_analyze_computes_with_statsmodels(tmp_path: Path) -> None:
    """Segments, covariates, quantiles and corrections included; DuckDB reads the file, and Ibis would only add to that."""
    rows = "".join(f"{arm},{n % 7},{n % 3},{n % 2}\n" for n in range(90) for arm in ("control", "b"))
    file = tmp_path / "a.csv"
    file.write_text(f"g,x,before,s\n{rows}")
    options = ["--mean", "x", "--quantile", "x:0.5", "--covariate", "before", "--segment", "s", "--correction", "holm"]
    modules = loaded_by("analyze", file, "--variant", "g", *options)
    assert modules >= STATSMODELS
    assert not modules & {"matplotlib", "statsmodels.api", "ibis"}
