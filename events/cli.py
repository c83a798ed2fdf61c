"""The commands around the store: explain, import, export, backup, forget, prune."""

import json
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from events.stores.urls import DEFAULT, require_store, store_exists
from experiments.cli import configs_option, format_option
from experiments.refusals import describe

if TYPE_CHECKING:
    import datetime as dt

    from rich.progress import Progress, ProgressColumn

    from events.imports.reconcile import Reconciliation
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
    help="Where events are kept.",
)


@click.command("import")
@click.argument("kind", type=click.Choice(["exposures", "interactions", "orders"]))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--skip-bad-rows", is_flag=True, help="Import the good rows of a file that has bad ones.")
@click.option("--shop", default="default", show_default=True, help="The shop of orders that do not say theirs.")
@configs_option
@store_option
def import_(kind: str, file: Path, skip_bad_rows: bool, shop: str, configs: str, store_url: str) -> None:
    """
    Import a CSV FILE of exposures, interactions or orders.

    The order exports of Shopify and WooCommerce are recognised by their headers. Importing a file again changes nothing.
    When a row is bad, nothing is imported and the exit code is 1, unless --skip-bad-rows is given.
    """
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from events.clock import now_ms
    from events.imports.csv import BadRows, import_csv
    from events.imports.csv_rows import count_lines, refuse_unreadable
    from events.stores.open_store import open_store
    from experiments.declarations.loading import load

    loaded = load(configs)
    refuse_unreadable(file)  # before a store is made for nothing
    store = open_store(store_url)
    try:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with progress_bar(*columns) as progress:
            task = progress.add_task(f"importing {kind}", total=2 * count_lines(file))  # checked first, then written
            imported = import_csv(
                file,
                kind,
                store,
                loaded,
                skip_bad_rows=skip_bad_rows,
                shop=shop,
                now_ms=now_ms(),
                progress=lambda lines: progress.advance(task, lines),
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
    if imported.recognised:
        click.echo(f"Recognised as {imported.recognised}.", err=True)
    rows = f"{imported.accepted:,} rows of {kind} imported, {imported.duplicates:,} there already"
    click.echo(f"{rows}, {imported.rejected_count:,} bad.")
    if imported.remarks:
        told = ", ".join(f"{count:,} {remark}" for remark, count in sorted(imported.remarks.items()))
        click.echo(f"Of these orders: {told}.")


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
    from experiments.assignment.draw import explain as explain_assignment
    from experiments.assignment.draw import unit_of
    from experiments.declarations.loading import load

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
        done = export_lake(store, folder, lambda files, total: progress.update(task, completed=files, total=total))
    files = f"{done.written:,} files written with {done.rows:,} rows"
    click.echo(f"{files}, {done.unchanged:,} unchanged, {done.removed:,} removed: {folder}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@store_option
def backup(file: Path, store_url: str) -> None:
    """
    Copy the whole store to a new FILE, while servers go on writing.

    Of SQLite the copy is a store of its own; of PostgreSQL it is pg_dump's custom format.
    """
    if file.exists():
        raise click.UsageError(f"{file}: found a file already; wanted a name that is free")
    if not file.parent.is_dir():
        raise click.UsageError(f"{file.parent}: found no such folder; wanted one that exists")
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
    help="A lake besides those that this store was exported to; may be repeated.",
)
@click.option("--skip-missing-lakes", is_flag=True, help="Go on where a lake is not there any more.")
@store_option
@format_option
def forget(visitor: str, lakes: tuple[Path, ...], skip_missing_lakes: bool, store_url: str, format_: str) -> None:
    """
    Replace the ids of a VISITOR or customer by random pseudonyms, everywhere and for good.

    Devices and customer numbers that are known to be theirs go too, in the store and in its lakes; sums stay as they were.
    """
    from events.erasure import forget as forget_person

    with existing_store(store_url) as store:
        done = forget_person(store, visitor, lakes, skip_missing_lakes)
    if format_ == "json":
        click.echo(json.dumps(asdict(done), indent=2))
    else:
        changed = ", ".join(f"{table} {count:,}" for table, count in done.rows.items() if count)
        click.echo(f"{done.ids} id{'s' if done.ids > 1 else ''} replaced by pseudonyms. Rows: {changed or 'none'}.")
        for lake, files in done.lakes.items():
            click.echo(f"{lake}: {files:,} files rewritten.")
        for lake in done.missing_lakes:
            click.echo(f"{lake}: not there, skipped.")
        click.echo("Order numbers stay. Backups and copies made before still hold the ids.")


@click.command()
@click.option("--before", required=True, type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="A day (UTC), kept.")
@store_option
def prune(before: "dt.datetime", store_url: str) -> None:
    """
    Delete the interactions of before a day; exposures and orders, which reports rest on, stay.

    Servers may go on. Lakes keep what was exported to them.
    """
    from datetime import UTC, datetime

    if before.replace(tzinfo=UTC) > datetime.now(UTC):
        raise click.UsageError(f"--before: found {before.date()}, a day to come; wanted one that has begun")
    with existing_store(store_url) as store:
        count = store.prune_interactions(int(before.replace(tzinfo=UTC).timestamp() * 1000))
    click.echo(f"{count:,} interaction{'' if count == 1 else 's'} of before {before.date()} deleted.")


def existing_store(store_url: str) -> "closing[Store]":
    """Open a store that is there: these commands have nothing to do in a new one."""
    from events.stores.open_store import open_store

    return closing(open_store(require_store(store_url).text))


def progress_bar(*columns: "ProgressColumn") -> "Progress":
    """Give a progress bar that shows on a terminal only, and leaves nothing behind."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)


_day = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--shop", default="", help="Whose orders; not needed where the store has orders of one shop.")
@click.option("--since", type=_day, help="The first day; of the file's first order otherwise.")
@click.option("--until", type=_day, help="The last day; of the file's last order otherwise.")
@configs_option
@store_option
@format_option
def reconcile(
    file: Path,
    shop: str,
    since: "dt.datetime | None",
    until: "dt.datetime | None",
    configs: str,
    store_url: str,
    format_: str,
) -> None:
    """
    Compare the store's orders with FILE, the shop's own export: counts, gross, discounts, refunds, net.

    Every order that differs is listed with its likely cause. FILE may be any that `crosslift import orders` takes; nothing of
    it is imported. The exit code is 1 where something differs.
    """
    from events.imports.reconcile import reconcile as compare
    from experiments.declarations.loading import load

    with existing_store(store_url) as store:
        found = compare(
            file, store, load(configs), shop, since.date() if since else None, until.date() if until else None
        )
    if format_ == "json":
        click.echo(json.dumps(found.to_dict(), indent=2))
    else:
        _echo_reconciliation(found)
    if found.differences:
        raise click.exceptions.Exit(1)


def _echo_reconciliation(found: "Reconciliation") -> None:
    from experiments.money import format_money

    def shown(name: str, value: int | None, *, signed: bool = False) -> str:
        if value is None:
            return "not counted"
        return (
            f"{value:+,}"
            if name == "orders" and signed
            else (
                f"{value:,}" if name == "orders" else format_money(value, found.currency, signed=signed and value != 0)
            )
        )

    click.echo(f"Shop {found.shop}, {found.since} to {found.until}")
    click.echo(f"{'':<10} {'export':>18} {'store':>18} {'store - export':>18}")
    there, here = found.export.to_dict(), found.store.to_dict()
    for name in there:
        off = shown(name, here[name] - there[name], signed=True)
        click.echo(f"{name:<10} {shown(name, there[name]):>18} {shown(name, here[name]):>18} {off:>18}")
    for one in found.differences:
        net = f"export {shown('net', one.export)}, store {shown('net', one.store)}"
        click.echo(f"{one.order_id}  {one.what}: {net}\n   {one.cause}")
    count = len(found.differences)
    click.echo(f"{count:,} order{'' if count == 1 else 's'} differ{'s' if count == 1 else ''}.")


commands = [explain, import_, export, backup, forget, prune, reconcile]
