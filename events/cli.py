"""The commands that write what happened: import."""

import sys
from pathlib import Path

import click

from experiments.cli import configs_option

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
    from events.files import BadRows, import_csv
    from events.store import open_store
    from experiments.loading import load

    loaded = load(configs)
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


commands = [import_]
