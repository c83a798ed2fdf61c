"""The commands that read: check, plan, report, analyze, aa-check, dashboard."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from analysis.dashboard.cli import dashboard
from events.cli import store_option
from events.stores.urls import store_exists
from experiments.cli import configs_option, format_option
from experiments.errors import AnalysisError, RequestError
from experiments.plurals import count_of

if TYPE_CHECKING:
    from analysis.reports.model import Report

WATCH_EVERY_S = 2.0


def _writable(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """Check that a file can be written before the work is done, not after."""
    if path is not None:
        try:
            path.open("a").close()
        except OSError as error:
            raise click.BadParameter(f"cannot write to {path}: {error.strerror}") from None
    return path


report_format_option = click.option(
    "--format", "format_", type=click.Choice(["text", "html", "json", "csv"]), default="text", show_default=True
)
out_option = click.option(
    "--out", type=click.Path(path_type=Path), callback=_writable, help="Write to this file instead of the terminal."
)


as_of_option = click.option(
    "--as-of", metavar="TIME", help="Ignore exposures and orders after this time, such as 2026-05-01; now by default."
)


@click.command()
@click.argument("key")
@as_of_option
@click.option("--with", "others", multiple=True, metavar="KEY", help="Test whether experiment KEY changes the effect.")
@click.option("--watch", is_flag=True, help="Print the report again whenever the store changes, until interrupted.")
@click.option(
    "--bayesian",
    is_flag=True,
    help="Add the probability to be best and the expected loss of each variant. The verdict does not use them.",
)
@configs_option
@store_option
@report_format_option
@out_option
def report(
    key: str,
    as_of: str | None,
    others: tuple[str, ...],
    watch: bool,
    bayesian: bool,
    configs: str,
    store_url: str,
    format_: str,
    out: Path | None,
) -> None:
    """Report the results of experiment KEY; `holdout` reports the effect of all cross-selling together."""
    from analysis.reports.experiment import report as make_report

    as_of_ms = _as_of_ms(as_of)
    if watch:
        if format_ != "text" or out or as_of:
            raise click.UsageError("--watch: cannot be combined with --format, --out or --as-of")
        _watch(lambda: make_report(key, store_url, configs, None, others, bayesian=bayesian), store_url, configs)
        return
    try:
        result = make_report(key, store_url, configs, as_of_ms, others, bayesian=bayesian)
    except AnalysisError as error:
        if format_ == "html" and out:  # the file must be neither empty nor an older report
            from analysis.render.html import refused

            out.write_text(refused(key, str(error)), encoding="utf-8")
        raise
    _show(result, format_, out)


@click.command("aa-check")
@click.argument("key")
@click.option("--tests", type=click.IntRange(20, 100_000), default=1000, show_default=True, help="Number of A/A tests.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same splits.")
@as_of_option
@configs_option
@store_option
@format_option
def aa_check(key: str, tests: int, seed: int, as_of: str | None, configs: str, store_url: str, format_: str) -> None:
    """
    Run A/A tests: split the units of experiment KEY into random halves and count each metric's false alarms.

    Random halves do not differ, so a sound metric raises an alarm in 5% of the tests. The exit code is 1 if a metric raises
    more than random variation allows.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

    from analysis.planning.aa_check import aa_check as run
    from events.cli import progress_bar

    with progress_bar(TextColumn("A/A tests"), BarColumn(), MofNCompleteColumn()) as progress:
        task = progress.add_task("", total=tests)
        rates = run(
            key, store_url, configs, tests, seed, _as_of_ms(as_of), lambda done: progress.update(task, completed=done)
        )
    if format_ == "json":
        click.echo(
            json.dumps({"experiment": key, "seed": seed, "metrics": [rate.to_dict() for rate in rates]}, indent=2)
        )
    else:
        from analysis.render.terminal import print_error_rates

        print_error_rates(rates, tests)
    if any(rate.sound is False for rate in rates):
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--variant", required=True, metavar="COL", help="Column with each row's variant.")
@click.option("--control", metavar="VALUE", help="The variant to compare the others with; `control` by default.")
@click.option("--unit", metavar="COL", help="Column with each row's unit; rows are first added up per unit.")
@click.option("--mean", multiple=True, metavar="COL", help="A number per unit.")
@click.option("--proportion", multiple=True, metavar="COL", help="0 or 1 per unit.")
@click.option("--ratio", multiple=True, metavar="NUM/DEN", help="A ratio of two sums over units.")
@click.option("--quantile", multiple=True, metavar="COL:SHARE", help="A quantile over units, such as spend:0.5.")
@click.option(
    "--covariate", metavar="COL", help="A number of each unit from before the experiment, to adjust for (CUPED)."
)
@click.option("--segment", multiple=True, metavar="COL", help="Break the first metric down by this column.")
@click.option(
    "--planned-units",
    type=click.FloatRange(2),
    help="Planned units of two variants together; needed for always-valid intervals.",
)
@click.option(
    "--correction",
    type=click.Choice(["holm", "benjamini_hochberg"]),
    help="Correct p-values for the number of metrics.",
)
@click.option("--weights", metavar="a=1,b=1", help="Declared weights, for the sample ratio check; equal by default.")
@click.option("--confidence", type=click.FloatRange(0.5, 0.9999), default=0.95, show_default=True)
@report_format_option
@out_option
def analyze(
    file: Path,
    variant: str,
    control: str | None,
    unit: str | None,
    mean: tuple[str, ...],
    proportion: tuple[str, ...],
    ratio: tuple[str, ...],
    quantile: tuple[str, ...],
    covariate: str | None,
    segment: tuple[str, ...],
    planned_units: float | None,
    correction: Literal["holm", "benjamini_hochberg"] | None,
    weights: str | None,
    confidence: float,
    format_: str,
    out: Path | None,
) -> None:
    """Compare the variants in a CSV or Parquet FILE with one row per unit."""
    from analysis.reports.file import analyze as analyze_file

    result = analyze_file(
        file, variant, control, unit, mean, proportion, ratio, _weights(weights), confidence,
        quantile, covariate, segment, planned_units, correction,
    )  # fmt: skip
    _show(result, format_, out)


def _watch(make_report: Callable[[], "Report"], store_url: str, configs: str) -> None:
    """Print a report whenever the store or the declarations have changed, until interrupted."""
    from rich.console import Console

    from analysis.queries.engines.changes import STALE_S, configs_state, store_state
    from analysis.render.terminal import WIDTH, print_report

    console = Console(file=sys.stdout, width=WIDTH, highlight=False, markup=False)
    printed, printed_s = None, 0.0
    try:
        while True:
            state = (store_state(store_url), configs_state(configs))
            if state != printed or time.monotonic() - printed_s > STALE_S:
                report = make_report()
                console.clear()
                print_report(report, console)
                printed, printed_s = state, time.monotonic()
            time.sleep(WATCH_EVERY_S)
    except KeyboardInterrupt:
        return


def _show(report: "Report", format_: str, out: Path | None) -> None:
    from rich.console import Console

    from analysis.render.terminal import WIDTH, print_report

    if format_ != "text":
        text = _formatted(report, format_)
        if out:
            out.write_text(text, encoding="utf-8")
        else:
            click.echo(text, nl=False)
        return
    if out:
        with out.open("w", encoding="utf-8") as file:
            print_report(report, Console(file=file, width=WIDTH, highlight=False, markup=False))
        return
    print_report(report, Console(file=sys.stdout, width=WIDTH, highlight=False, markup=False))


def _formatted(report: "Report", format_: str) -> str:
    if format_ == "json":
        return report.to_json() + "\n"
    if format_ == "csv":
        return report.to_frame().to_csv(index=False)
    from analysis.render.html import page

    return page(report)


def _as_of_ms(text: str | None) -> int | None:
    if text is None:
        return None
    from zoneinfo import ZoneInfo

    from events.parser import to_ms

    try:
        return to_ms(text, ZoneInfo("UTC"))
    except RequestError as error:
        raise click.BadParameter(str(error), param_hint="--as-of") from None


def _weights(text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    try:
        pairs = (part.rsplit("=", 1) for part in text.split(","))
        weights = {key.strip(): float(weight) for key, weight in pairs}
    except ValueError:
        weights = {}
    if not weights or not all(0 <= weight < float("inf") for weight in weights.values()):
        raise click.BadParameter(f"must be VARIANT=WEIGHT pairs such as a=1,b=1, got {text!r}", param_hint="--weights")
    return weights


@click.command()
@click.argument("key")
@click.option(
    "--visitors-per-day", type=float, help="Visitors who reach the trigger; by default from the store's history."
)
@click.option("--conversion", metavar="SHARE", help="Share of them who buy, such as 3%; needs --visitors-per-day.")
@click.option(
    "--order-value-variation",
    type=float,
    default=1.0,
    show_default=True,
    help="Standard deviation of order values over their mean.",
)
@configs_option
@store_option
@format_option
def plan(
    key: str,
    visitors_per_day: float | None,
    conversion: str | None,
    order_value_variation: float,
    configs: str,
    store_url: str,
    format_: str,
) -> None:
    """Compute how many units and days experiment KEY needs, and what it can detect sooner."""
    from analysis.planning.plan import advice, given_baseline, needs, stored_baseline
    from analysis.queries.source import open_source
    from events.clock import now_ms
    from experiments.declarations.loading import load

    loaded = load(configs)
    experiment = loaded.experiment(key)
    if (visitors_per_day is None) != (conversion is None):
        raise click.UsageError("--visitors-per-day, --conversion: set both, or neither")
    if visitors_per_day is not None and conversion is not None:
        baseline = given_baseline(visitors_per_day, _percent(conversion), order_value_variation)
    else:
        if not store_exists(store_url):
            raise click.UsageError(
                f"--store: there is no store {store_url}; set --visitors-per-day and --conversion to plan without one"
            )
        with open_source(store_url, loaded.shop) as source:
            stored = stored_baseline(source, experiment, now_ms())
        if stored is None:
            raise AnalysisError(
                "--store: the store has no exposures; set --visitors-per-day and --conversion to plan without them"
            )
        baseline = stored
    results = needs(experiment, baseline)
    sentences = advice(experiment, results)
    if format_ == "json":
        values = {"experiment": key, "units_per_day": baseline.units_per_day, "origin": baseline.origin}
        click.echo(json.dumps(values | {"needs": [need.to_dict() for need in results], "advice": sentences}, indent=2))
        return
    from analysis.render.terminal import print_plan

    print_plan(experiment, baseline, results, sentences)


def _percent(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise click.BadParameter(
            f"must be a share between 0% and 100%, such as 3%, got {text!r}", param_hint="--conversion"
        )
    return share


@click.command()
@click.argument("configs", default="configs")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings too.")
@store_option
@format_option
def check(configs: str, strict: bool, store_url: str, format_: str) -> None:
    """
    Validate every declaration in CONFIGS, and warn of what ruins experiments.

    With faults the exit code is 1, and no server uses any declaration of the folder. Each warning says why it matters and
    what to write instead. If the store exists, its traffic and its running experiments are checked too.
    """
    from experiments.declarations.lint import lint
    from experiments.declarations.loading import load
    from experiments.errors import DeclarationError

    try:
        loaded = load(configs)
    except DeclarationError as error:
        if format_ == "json":
            faults = [asdict(fault) for fault in error.faults]
            click.echo(json.dumps({"passed": False, "faults": faults, "warnings": []}, indent=2))
        else:
            total = _count(len(error.faults), "fault")
            click.echo(f"{error}\n{total} in {configs}: none of its declarations is used.", err=True)
        raise click.exceptions.Exit(1) from None
    warnings = lint(loaded)
    source = click.get_current_context().get_parameter_source("store_url")
    if source is not click.core.ParameterSource.DEFAULT and not store_exists(store_url):
        raise click.UsageError(f"--store: there is no store {store_url}")
    if store_exists(store_url):
        from analysis.planning.store_lint import lint_with_store

        warnings += lint_with_store(loaded, store_url)
    passed = not (strict and warnings)
    if format_ == "json":
        payload = {"passed": passed, "faults": [], "warnings": [asdict(warning) for warning in warnings]}
        click.echo(json.dumps(payload, indent=2))
    else:
        for warning in warnings:
            click.echo(str(warning))
        counts = (
            f"{_count(len(loaded.experiments), 'experiment')}, {_count(len(loaded.products), 'product')}, no faults"
        )
        click.echo(f"{configs}: {counts}, {_count(len(warnings), 'warning')}.")
    if not passed:
        raise click.exceptions.Exit(1)


def _count(n: int, noun: str) -> str:
    """Write a number of things, such as `no warnings`, `1 experiment` or `2 products`."""
    return count_of(n, noun) if n else f"no {noun}s"


commands = [check, plan, report, analyze, aa_check, dashboard]
