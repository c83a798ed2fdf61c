"""The commands that read what happened: check, plan, report, analyze, aa-check."""

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

if TYPE_CHECKING:
    from analysis.reports.model import Report

WATCH_EVERY_S = 2.0


def _writable(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """Refuse a place that cannot be written before the work is done, not after."""
    if path is not None:
        try:
            path.open("a").close()
        except OSError as error:
            raise click.BadParameter(f"found {str(path)!r}, which cannot be written: {error.strerror}") from None
    return path


report_format_option = click.option(
    "--format", "format_", type=click.Choice(["text", "html", "json", "csv"]), default="text", show_default=True
)
out_option = click.option(
    "--out", type=click.Path(path_type=Path), callback=_writable, help="Write there instead of to the terminal."
)


as_of_option = click.option(
    "--as-of", metavar="TIME", help="Read no later exposure or order, such as 2026-05-01; now by default."
)


@click.command()
@click.argument("key")
@as_of_option
@click.option("--with", "others", multiple=True, metavar="KEY", help="Ask whether experiment KEY changes the effect.")
@click.option("--watch", is_flag=True, help="Print again whenever the store has changed, until interrupted.")
@click.option("--bayesian", is_flag=True, help="Give chances to be best and expected losses too, as a second voice.")
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
    """Report what experiment KEY has moved; `holdout` reports what the whole programme brings."""
    from analysis.reports.experiment import report as make_report

    as_of_ms = _as_of_ms(as_of)
    if watch:
        if format_ != "text" or out or as_of:
            raise click.UsageError("--watch: found --format, --out or --as-of; wanted a report of now in the terminal")
        _watch(lambda: make_report(key, store_url, configs, None, others, bayesian=bayesian), store_url, configs)
        return
    try:
        made = make_report(key, store_url, configs, as_of_ms, others, bayesian=bayesian)
    except AnalysisError as error:
        if format_ == "html" and out:  # whoever opens the file must not find it empty, or an older report in it
            from analysis.render.html import refused

            out.write_text(refused(key, str(error)), encoding="utf-8")
        raise
    _show(made, format_, out)


@click.command("aa-check")
@click.argument("key")
@click.option("--tests", type=click.IntRange(20, 100_000), default=1000, show_default=True, help="How many A/A tests.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same splits.")
@as_of_option
@configs_option
@store_option
@format_option
def aa_check(key: str, tests: int, seed: int, as_of: str | None, configs: str, store_url: str, format_: str) -> None:
    """
    Split the units of experiment KEY into two random halves, many times, and count each metric's false alarms.

    Nothing differs between random halves, so a metric that may be trusted alarms in 5% of the tests. Exit code 1 where one does
    not.
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
        click.echo(json.dumps({"experiment": key, "seed": seed, "metrics": [one.to_dict() for one in rates]}, indent=2))
    else:
        from analysis.render.terminal import print_error_rates

        print_error_rates(rates, tests)
    if any(one.sound is False for one in rates):
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--variant", required=True, metavar="COL", help="Column that names each row's variant.")
@click.option("--control", metavar="VALUE", help="The variant that the others are compared with; `control` by default.")
@click.option("--unit", metavar="COL", help="Column that names each row's unit; rows are added up per unit first.")
@click.option("--mean", multiple=True, metavar="COL", help="A number per unit.")
@click.option("--proportion", multiple=True, metavar="COL", help="0 or 1 per unit.")
@click.option("--ratio", multiple=True, metavar="NUM/DEN", help="A ratio of two sums over units.")
@click.option("--quantile", multiple=True, metavar="COL:SHARE", help="A quantile over units, such as spend:0.5.")
@click.option("--covariate", metavar="COL", help="What each unit did before; what it explains is taken out, beside.")
@click.option("--segment", multiple=True, metavar="COL", help="Break the first metric down by it.")
@click.option("--planned-units", type=click.FloatRange(2), help="Of two arms; then results may be read on any day.")
@click.option("--correction", type=click.Choice(["holm", "benjamini_hochberg"]), help="Hold all metrics' p together.")
@click.option("--weights", metavar="a=1,b=1", help="Declared weights, for the sample-ratio check; equal by default.")
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
    """Compare the variants in a CSV or Parquet FILE of one row per unit."""
    from analysis.reports.file import analyze as analyze_file

    made = analyze_file(
        file, variant, control, unit, mean, proportion, ratio, _weights(weights), confidence,
        quantile, covariate, segment, planned_units, correction,
    )  # fmt: skip
    _show(made, format_, out)


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


def _show(made: "Report", format_: str, out: Path | None) -> None:
    from rich.console import Console

    from analysis.render.terminal import WIDTH, print_report

    if format_ != "text":
        text = _face(made, format_)
        if out:
            out.write_text(text, encoding="utf-8")
        else:
            click.echo(text, nl=False)
        return
    if out:
        with out.open("w", encoding="utf-8") as file:
            print_report(made, Console(file=file, width=WIDTH, highlight=False, markup=False))
        return
    print_report(made, Console(file=sys.stdout, width=WIDTH, highlight=False, markup=False))


def _face(made: "Report", format_: str) -> str:
    if format_ == "json":
        return made.to_json() + "\n"
    if format_ == "csv":
        return made.to_frame().to_csv(index=False)
    from analysis.render.html import page

    return page(made)


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
        raise click.BadParameter(f"found {text!r}; wanted VARIANT=WEIGHT pairs such as a=1,b=1", param_hint="--weights")
    return weights


@click.command()
@click.argument("key")
@click.option(
    "--visitors-per-day", type=float, help="Visitors who meet the trigger; the store's own history by default."
)
@click.option("--conversion", metavar="SHARE", help="Share of them who buy, such as 3%; goes with --visitors-per-day.")
@click.option(
    "--order-value-variation", type=float, default=1.0, show_default=True, help="Standard deviation over mean."
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
    """Say how many units and days experiment KEY needs, and what can be seen sooner."""
    from analysis.planning.plan import advice, given_baseline, needs, stored_baseline
    from analysis.queries.source import open_source
    from events.clock import now_ms
    from experiments.declarations.loading import load

    loaded = load(configs)
    experiment = loaded.experiment(key)
    if (visitors_per_day is None) != (conversion is None):
        raise click.UsageError("found one of --visitors-per-day and --conversion; wanted both, or neither")
    if visitors_per_day is not None and conversion is not None:
        baseline = given_baseline(visitors_per_day, _percent(conversion), order_value_variation)
    else:
        if not store_exists(store_url):
            raise click.UsageError(f"found no store {store_url}; wanted one, or --visitors-per-day and --conversion")
        with open_source(store_url, loaded.shop) as source:
            stored = stored_baseline(source, experiment, now_ms())
        if stored is None:
            raise AnalysisError("found no exposures in the store; wanted some, or --visitors-per-day and --conversion")
        baseline = stored
    found = needs(experiment, baseline)
    told = advice(experiment, found)
    if format_ == "json":
        shown = {"experiment": key, "units_per_day": baseline.units_per_day, "origin": baseline.origin}
        click.echo(json.dumps(shown | {"needs": [one.to_dict() for one in found], "advice": told}, indent=2))
        return
    from analysis.render.terminal import print_plan

    print_plan(experiment, baseline, found, told)


def _percent(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise click.BadParameter(f"found {text!r}; wanted a share such as 3%", param_hint="--conversion")
    return share


@click.command()
@click.argument("configs", default="configs")
@click.option("--strict", is_flag=True, help="Exit 1 for warnings too.")
@store_option
@format_option
def check(configs: str, strict: bool, store_url: str, format_: str) -> None:
    """
    Validate every declaration in CONFIGS, and warn of what ruins experiments.

    Faults make the exit code 1, and nothing of a faulty folder is used. Warnings say why they matter and what to write
    instead; with a store at hand they also look at its traffic and at what runs already.
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
            count = len(error.faults)
            click.echo(
                f"{error}\n{count} fault{'s' if count > 1 else ''} in {configs}: nothing of it is used.", err=True
            )
        raise click.exceptions.Exit(1) from None
    warnings = lint(loaded)
    source = click.get_current_context().get_parameter_source("store_url")
    if source is not click.core.ParameterSource.DEFAULT and not store_exists(store_url):
        raise click.UsageError(f"--store: found no store {store_url}; wanted one that events were written to")
    if store_exists(store_url):
        from analysis.planning.store_lint import lint_with_store

        warnings += lint_with_store(loaded, store_url)
    passed = not (strict and warnings)
    if format_ == "json":
        found = [asdict(warning) for warning in warnings]
        click.echo(json.dumps({"passed": passed, "faults": [], "warnings": found}, indent=2))
    else:
        for warning in warnings:
            click.echo(str(warning))
        counts = f"{len(loaded.experiments)} experiments, {len(loaded.products)} products, no faults"
        click.echo(f"{configs}: {counts}, {len(warnings) or 'no'} warning{'s' if len(warnings) != 1 else ''}.")
    if not passed:
        raise click.exceptions.Exit(1)


commands = [check, plan, report, analyze, aa_check, dashboard]
