"""The commands around the store: explain, export, backup, forget, prune; and the options that other rooms share."""

import json
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from events.stores.urls import DEFAULT, require_store, store_exists
from experiments.cli import configs_option, format_option
from experiments.plurals import count_of
from experiments.refusals import describe

if TYPE_CHECKING:
    import datetime as dt

    from rich.progress import Progress, ProgressColumn

    from events.stores.protocol import Store
    from experiments.assignment.draw import Step

store_option = click.option(
    "--store",
    "store_url",
    default=DEFAULT,
    envvar="CROSSLIFT_STORE",
    show_default=True,
    show_envvar=True,
    metavar="URL",
    help="Where events are stored.",
)


@click.command()
@click.argument("key")
@click.argument("visitor")
@click.option(
    "--context", metavar="JSON", default="{}", help='The context of the visit, such as {"category": "laptops"}.'
)
@configs_option
@store_option
@format_option
def explain(key: str, visitor: str, context: str, configs: str, store_url: str, format_: str) -> None:
    """Show which variant of experiment KEY a VISITOR gets, and every step to it; where there is a store, the epoch too."""
    from experiments.assignment.draw import explain as explain_assignment
    from experiments.assignment.draw import unit_of
    from experiments.declarations.loading import load

    attributes = _json_object(context)
    loaded = load(configs)
    experiment = loaded.experiment(key)
    unit_id = unit_of(experiment, visitor, attributes)
    steps, outcome = explain_assignment(experiment, unit_id, attributes, holdout=loaded.shop.holdout)
    epoch = _epoch(store_url, key)
    if format_ == "json":
        assignment = {"variant": outcome.variant, "placement": outcome.placement, "reason": outcome.reason}
        answer = {"experiment": key, "unit_id": unit_id, "epoch": epoch, **assignment}
        click.echo(json.dumps(answer | {"steps": [asdict(step) for step in steps]}, indent=2))
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
        raise click.BadParameter(f"must be a JSON object, got {describe(text)}", param_hint="--context")
    return value


def _epoch(store_url: str, key: str) -> int | None:
    """Return the newest epoch in a store; None where there is no store, or no epoch yet."""
    from events.stores.open_store import open_store

    if not store_exists(store_url):
        return None
    with closing(open_store(store_url)) as store:
        return store.newest_epoch(key)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@store_option
def export(folder: Path, store_url: str) -> None:
    """
    Bring a lake of Parquet files in DIR up to date with the store.

    Files are partitioned by day (UTC); only days that changed are written, each replaced whole.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

    from events.lake import export as export_lake

    with (
        existing_store(store_url) as store,
        progress_bar(TextColumn("exporting"), BarColumn(), MofNCompleteColumn()) as progress,
    ):
        task = progress.add_task("exporting", total=None)
        exported = export_lake(store, folder, lambda files, total: progress.update(task, completed=files, total=total))
    files = f"{count_of(exported.written, 'file')} written with {count_of(exported.rows, 'row')}"
    click.echo(f"{files}, {exported.unchanged:,} unchanged, {exported.removed:,} removed: {folder}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@store_option
def backup(file: Path, store_url: str) -> None:
    """
    Copy the whole store to a new FILE, while servers go on writing.

    The copy of SQLite is a store of its own; the copy of PostgreSQL is in pg_dump's custom format.
    """
    if file.exists():
        raise click.UsageError(f"{file}: must be a new file, got one that exists")
    if not file.parent.is_dir():
        raise click.UsageError(f"{file.parent}: must be a folder that exists, got none")
    unfinished = file.with_name(f".{file.name}.unfinished")
    try:
        with existing_store(store_url) as store:
            store.backup(unfinished)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    click.echo(f"{file}: {file.stat().st_size:,} bytes.")


@click.command()
@click.argument("visitor")
@click.option(
    "--lake",
    "lakes",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Another lake than those that this store was exported to; may be repeated.",
)
@click.option("--skip-missing-lakes", is_flag=True, help="Go on where a lake no longer exists.")
@store_option
@format_option
def forget(visitor: str, lakes: tuple[Path, ...], skip_missing_lakes: bool, store_url: str, format_: str) -> None:
    """
    Replace the ids of a VISITOR or customer by random pseudonyms, everywhere and permanently.

    The same person's other devices and customer numbers are replaced too, in the store and in its lakes; sums do not change.
    """
    from events.erasure import forget as forget_person

    with existing_store(store_url) as store:
        forgotten = forget_person(store, visitor, lakes, skip_missing_lakes)
    if format_ == "json":
        click.echo(json.dumps(asdict(forgotten), indent=2))
    else:
        changed = ", ".join(f"{table} {count:,}" for table, count in forgotten.rows.items() if count)
        click.echo(f"{count_of(forgotten.ids, 'id')} replaced by pseudonyms. Rows: {changed or 'none'}.")
        for lake, files in forgotten.lakes.items():
            click.echo(f"{lake}: {count_of(files, 'file')} rewritten.")
        for lake in forgotten.missing_lakes:
            click.echo(f"{lake}: no such folder, skipped.")
        click.echo("Order numbers stay. Earlier backups and copies still hold the ids.")


@click.command()
@click.option(
    "--before", required=True, type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="The first day (UTC) that stays."
)
@store_option
def prune(before: "dt.datetime", store_url: str) -> None:
    """
    Delete the interactions before a day; exposures and orders, which reports need, stay.

    Servers may go on writing. Lakes keep what was exported to them.
    """
    from datetime import UTC, datetime

    if before.replace(tzinfo=UTC) > datetime.now(UTC):
        raise click.UsageError(f"--before: must not be in the future, got {before.date()}")
    with existing_store(store_url) as store:
        count = store.prune_interactions(int(before.replace(tzinfo=UTC).timestamp() * 1000))
    click.echo(f"{count_of(count, 'interaction')} before {before.date()} deleted.")


def existing_store(store_url: str) -> "closing[Store]":
    """Open a store that exists: these commands have nothing to do in a new one."""
    from events.stores.open_store import open_store

    return closing(open_store(require_store(store_url).text))


def progress_bar(*columns: "ProgressColumn") -> "Progress":
    """Return a progress bar that shows on a terminal only, and leaves no trace there."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)


commands = [explain, export, backup, forget, prune]
