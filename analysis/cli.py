"""The analyst's commands: report, analyze."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from events.cli import store_option
from experiments.cli import configs_option, format_option
from experiments.errors import RequestError

if TYPE_CHECKING:
    from analysis.reports import Report


def _writable(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """Refuse a place that cannot be written before the work is done, not after."""
    if path is not None:
        try:
            path.open("a").close()
        except OSError as error:
            raise click.BadParameter(f"found {str(path)!r}, which cannot be written: {error.strerror}") from None
    return path


out_option = click.option(
    "--out", type=click.Path(path_type=Path), callback=_writable, help="Write there instead of to the terminal."
)


@click.command()
@click.argument("key")
@click.option("--as-of", metavar="TIME", help="Read no later exposure or order, such as 2026-05-01; now by default.")
@configs_option
@store_option
@format_option
@out_option
def report(key: str, as_of: str | None, configs: str, store_url: str, format_: str, out: Path | None) -> None:
    """Report what experiment KEY has moved."""
    from analysis.reports import report as make_report

    _show(make_report(key, store_url, configs, _as_of_ms(as_of)), format_, out)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--variant", required=True, metavar="COL", help="Column that names each row's variant.")
@click.option("--control", metavar="VALUE", help="The variant that the others are compared with; `control` by default.")
@click.option("--unit", metavar="COL", help="Column that names each row's unit; rows are added up per unit first.")
@click.option("--mean", multiple=True, metavar="COL", help="A number per unit.")
@click.option("--proportion", multiple=True, metavar="COL", help="0 or 1 per unit.")
@click.option("--ratio", multiple=True, metavar="NUM/DEN", help="A ratio of two sums over units.")
@click.option("--weights", metavar="a=1,b=1", help="Declared weights, for the sample-ratio check; equal by default.")
@click.option("--confidence", type=click.FloatRange(0.5, 0.9999), default=0.95, show_default=True)
@format_option
@out_option
def analyze(
    file: Path,
    variant: str,
    control: str | None,
    unit: str | None,
    mean: tuple[str, ...],
    proportion: tuple[str, ...],
    ratio: tuple[str, ...],
    weights: str | None,
    confidence: float,
    format_: str,
    out: Path | None,
) -> None:
    """Compare the variants in a CSV or Parquet FILE of one row per unit."""
    from analysis.table import analyze as analyze_file

    shares = _weights(weights)
    _show(analyze_file(file, variant, control, unit, mean, proportion, ratio, shares, confidence), format_, out)


def _show(made: "Report", format_: str, out: Path | None) -> None:
    from rich.console import Console

    from analysis.text import WIDTH, print_report

    if format_ == "json":
        text = made.to_json() + "\n"
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


def _as_of_ms(text: str | None) -> int | None:
    if text is None:
        return None
    from zoneinfo import ZoneInfo

    from events.records import to_ms

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


commands = [report, analyze]
