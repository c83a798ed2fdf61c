"""The commands around the store: explain, import."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from experiments.cli import configs_option, format_option
from experiments.refusals import describe

if TYPE_CHECKING:
    from experiments.assignment import Step

store_option = click.option(
    "--store",
    "store_url",
    default="sqlite:///crosslift.db",
    show_default=True,
    metavar="URL",
    help="Where events are kept.",
)


@click.command("import")
@click.argument("kind", type=click.Choice(["exposures", "interactions", "orders"]))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--skip-bad-rows", is_flag=True, help="Import the good rows of a file that has bad ones.")
@configs_option
@store_option
def import_(kind: str, file: Path, skip_bad_rows: bool, configs: str, store_url: str) -> None:
    """
    Import a CSV FILE of exposures, interactions or orders.

    Importing a file again changes nothing. When a row is bad, nothing is imported and the exit code is 1, unless
    --skip-bad-rows is given.
    """
    from rich.console import Console
    from rich.progress import Progress

    from events.clock import now_ms
    from events.files import BadRows, import_csv, refuse_unreadable
    from events.store import open_store
    from experiments.loading import load

    loaded = load(configs)
    refuse_unreadable(file)  # before a store is made for nothing
    store = open_store(store_url)
    try:
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
            task = progress.add_task(f"importing {kind}", total=None)
            imported = import_csv(
                file,
                kind,
                store,
                loaded,
                skip_bad_rows=skip_bad_rows,
                now_ms=now_ms(),
                progress=lambda rows: progress.advance(task, rows),
            )
    except BadRows as error:
        count = error.imported.rejected_count
        click.echo(f"{error}\n{count} bad row{'s' if count > 1 else ''}: nothing was imported.", err=True)
        raise click.exceptions.Exit(1) from None
    finally:
        store.close()
    for line, reason in imported.rejected:
        click.echo(f"{file}:{line}: {reason}", err=True)
    if any(imported.ignored):
        click.echo(f"Columns not used: {', '.join(filter(None, imported.ignored))}.", err=True)
    rows = f"{imported.accepted:,} rows of {kind} imported, {imported.duplicates:,} there already"
    click.echo(f"{rows}, {imported.rejected_count:,} bad.")


@click.command()
@click.argument("key")
@click.argument("visitor")
@click.option(
    "--context", metavar="JSON", default="{}", help='What is known of the visit, such as {"category": "laptops"}.'
)
@configs_option
@store_option
@format_option
def explain(key: str, visitor: str, context: str, configs: str, store_url: str, format_: str) -> None:
    """Say which variant of experiment KEY a VISITOR gets, and every step to it; with a store at hand, in which epoch."""
    from experiments.assignment import explain as explain_assignment
    from experiments.assignment import unit_of
    from experiments.loading import load

    known = _json_object(context)
    loaded = load(configs)
    experiment = loaded.experiment(key)
    unit_id = unit_of(experiment, visitor, known)
    steps, outcome = explain_assignment(experiment, unit_id, known, holdout=loaded.shop.holdout)
    epoch = _epoch(store_url, key)
    if format_ == "json":
        shown = {"variant": outcome.variant, "placement": outcome.placement, "reason": outcome.reason}
        told = {"experiment": key, "unit_id": unit_id, "epoch": epoch, **shown}
        click.echo(json.dumps(told | {"steps": [asdict(step) for step in steps]}, indent=2))
        return
    width = max(len(step.name) for step in steps)
    for step in steps:
        mark = _mark(step, outcome.exposable)
        click.echo(f"  {mark} {step.name:<{width}}  {step.detail}")
    served = outcome.variant or "not in the experiment"
    if epoch is not None:
        click.echo(f"    {'epoch':<{width}}  {epoch}")
    click.echo(f"{visitor} -> {served} (placement {outcome.placement}, reason {outcome.reason})")


def _mark(step: "Step", exposable: bool) -> str:
    if step.name.startswith("variant."):
        return ">" if step.passed and exposable else " "
    return "✓" if step.passed else "✗"


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise click.BadParameter(f"found {describe(text)}; wanted a JSON object", param_hint="--context")
    return value


def _epoch(store_url: str, key: str) -> int | None:
    """Give the newest epoch that a store knows; None where there is no store, or it knows none."""
    from contextlib import closing

    from events.store import open_store

    if store_url.startswith("sqlite:///") and not Path(store_url.removeprefix("sqlite:///")).is_file():
        return None
    with closing(open_store(store_url)) as store:
        return store.newest_epoch(key)


commands = [explain, import_]
