"""The commands that read files: import and reconcile."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from events.cli import existing_store, progress_bar, store_option
from experiments.cli import configs_option, format_option
from experiments.plurals import count_of

if TYPE_CHECKING:
    import datetime as dt

    from events.imports.reconcile import Reconciliation


@click.command("import")
@click.argument("kind", type=click.Choice(["exposures", "interactions", "orders"]))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--skip-bad-rows", is_flag=True, help="Import the good rows of a file that has bad ones.")
@click.option("--shop", default="default", show_default=True, help="The shop of orders that do not name one.")
@configs_option
@store_option
def import_(kind: str, file: Path, skip_bad_rows: bool, shop: str, configs: str, store_url: str) -> None:
    """
    Import a CSV FILE of exposures, interactions or orders.

    The order exports of Shopify and WooCommerce are recognised by their headers. Importing a file again changes nothing.
    When a row is bad, nothing is imported and the exit code is 1, unless --skip-bad-rows is set.
    """
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from events.clock import now_ms
    from events.imports.csv import BadRows, import_csv
    from events.imports.csv_rows import count_lines, refuse_unreadable
    from events.stores.open_store import open_store
    from experiments.declarations.loading import load

    loaded = load(configs)
    refuse_unreadable(file)  # before a store is created for nothing
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
        bad = count_of(error.imported.rejected_count, "bad row")
        click.echo(f"{error}\n{bad}: nothing was imported.", err=True)
        raise click.exceptions.Exit(1) from None
    finally:
        store.close()
    for row in imported.rejected:
        click.echo(f"{file}:{row.line}: {row.reason}", err=True)
    if any(imported.ignored):
        click.echo(f"Columns not used: {', '.join(filter(None, imported.ignored))}.", err=True)
    if imported.recognised:
        click.echo(f"Recognised as {imported.recognised}.", err=True)
    rows = f"{count_of(imported.accepted, 'row')} of {kind} imported, {imported.duplicates:,} stored already"
    click.echo(f"{rows}, {imported.rejected_count:,} bad.")
    if imported.remarks:
        remarks = ", ".join(f"{count:,} {remark}" for remark, count in sorted(imported.remarks.items()))
        click.echo(f"Of these orders: {remarks}.")


_day = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--shop", default="", help="The shop whose orders are compared; not needed where the store has orders of one shop."
)
@click.option("--since", type=_day, help="The first day; by default that of the file's first order.")
@click.option("--until", type=_day, help="The last day; by default that of the file's last order.")
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

    Every order that differs is listed with its likely cause. FILE may be any file that `crosslift import orders` reads; nothing
    is imported. The exit code is 1 where an order differs.
    """
    from events.imports.reconcile import reconcile as compare
    from experiments.declarations.loading import load

    with existing_store(store_url) as store:
        first, last = (day.date() if day else None for day in (since, until))
        reconciliation = compare(file, store, load(configs), shop, first, last)
    if format_ == "json":
        click.echo(json.dumps(reconciliation.to_dict(), indent=2))
    else:
        _print(reconciliation)
    if reconciliation.differences:
        raise click.exceptions.Exit(1)


def _print(reconciliation: "Reconciliation") -> None:
    from experiments.money import format_money

    def text(name: str, value: int | None, signed: bool = False) -> str:
        if value is None:
            return "not counted"
        if name == "orders":
            return f"{value:+,}" if signed else f"{value:,}"
        return format_money(value, reconciliation.currency, signed=signed and value != 0)

    click.echo(f"Shop {reconciliation.shop}, {reconciliation.since} to {reconciliation.until}")
    click.echo(f"{'':<10} {'export':>18} {'store':>18} {'store - export':>18}")
    exported, stored = reconciliation.export.to_dict(), reconciliation.store.to_dict()
    for name in exported:
        difference = text(name, stored[name] - exported[name], signed=True)
        click.echo(f"{name:<10} {text(name, exported[name]):>18} {text(name, stored[name]):>18} {difference:>18}")
    for order in reconciliation.differences:
        net = f"export {text('net', order.export)}, store {text('net', order.store)}"
        click.echo(f"{order.order_id}  {order.what}: {net}\n   {order.cause}")
    count = len(reconciliation.differences)
    click.echo(f"{count_of(count, 'order')} differ{'s' if count == 1 else ''}.")


commands = [import_, reconcile]
