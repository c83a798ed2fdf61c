"""The commands that make shoppers up: simulate, demo."""

import json
import sys
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime

import click

from experiments.cli import configs_option, format_option


@click.command()
@click.option(
    "--server", default="http://127.0.0.1:8000", show_default=True, help="Address of a running `crosslift serve`."
)
@click.option("--key", envvar="CROSSLIFT_SECRET_KEY", required=True, help="A secret key; or set CROSSLIFT_SECRET_KEY.")
@click.option(
    "--shoppers", type=click.IntRange(1, 10_000_000), help="How many; as configs/simulation.yaml says by default."
)
@click.option("--seed", default=2026, show_default=True, help="The same seed and start make the same shoppers.")
@click.option("--start", metavar="DATE", help="When the first may come, such as 2026-05-01; 22 days ago by default.")
@configs_option
@format_option
def simulate(
    server: str, key: str, shoppers: int | None, seed: int, start: str | None, configs: str, format_: str
) -> None:
    """
    Send made-up shoppers through a running server.

    They behave as configs/simulation.yaml says; their visitor ids begin with `simulated-`, and reports say so.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from experiments.declarations.loading import load
    from simulation.run import Client
    from simulation.run import simulate as run
    from simulation.truth import load_truth

    loaded = load(configs)
    truth = load_truth(configs, loaded)
    count = shoppers or truth.shoppers
    start_ms = _start_ms(start, truth.days)
    columns = (TextColumn("simulated shoppers"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = not sys.stderr.isatty()
    progress = Progress(*columns, console=Console(stderr=True), disable=hidden, transient=True)
    with progress, closing(Client(server, key)) as client:
        task = progress.add_task("", total=count)
        counts = run(
            truth,
            loaded,
            client,
            seed=seed,
            shoppers=count,
            start_ms=start_ms,
            progress=lambda done: progress.advance(task, done),
        )
    _show(counts, seed, start_ms, format_)


@click.command()
@click.option(
    "--shoppers", type=click.IntRange(1, 10_000_000), help="How many; as configs/simulation.yaml says by default."
)
@click.option("--seed", default=2026, show_default=True)
@click.option("--serve", is_flag=True, help="Serve a demo shop too, while shoppers keep coming, until interrupted.")
@configs_option
def demo(shoppers: int | None, seed: int, serve: bool, configs: str) -> None:
    """Show the whole of crosslift: serve, simulate shoppers, report, and compare with the truth."""
    from rich.console import Console

    from simulation.demo import run_demo
    from simulation.shop import serve_demo

    console = Console(highlight=False, markup=False, width=100)
    (serve_demo if serve else run_demo)(configs, shoppers, seed, console)


def _show(counts: Counter[str], seed: int, start_ms: int, format_: str) -> None:
    start = datetime.fromtimestamp(start_ms / 1000, UTC).strftime("%Y-%m-%d")
    if format_ == "json":
        click.echo(json.dumps({"simulated": True, "seed": seed, "start": start, **counts}, indent=2))
        return
    click.echo(
        f"SIMULATED (seed {seed}, from {start}): {counts['shoppers']:,} shoppers, {counts['exposures']:,} exposures, "
        f"{counts['orders']:,} orders;\n{counts['delivered']:,} events delivered, some late, some twice: "
        f"{counts['accepted']:,} accepted, {counts['duplicates']:,} duplicates."
    )


def _start_ms(start: str | None, days: int) -> int:
    """Return the start in milliseconds; by default so long ago that the last shopper's week is over."""
    from simulation.shoppers import past_start_ms

    if start is None:
        return past_start_ms(days)
    try:
        moment = datetime.fromisoformat(start)
    except ValueError:
        raise click.BadParameter(f"found {start!r}; wanted a date such as 2026-05-01", param_hint="--start") from None
    return round(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)


commands = [simulate, demo]
