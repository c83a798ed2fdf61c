"""The command line: one group that mounts every room's commands."""

import sys

import click

import analysis.cli
import events.cli
import events.imports.cli
import experiments.cli
import server.cli
import simulation.cli
from experiments.errors import CrossliftError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="crosslift")
def cli() -> None:
    """Declare, assign, log and read experiments on cross-sell placements."""


for room in (experiments.cli, server.cli, events.cli, events.imports.cli, simulation.cli, analysis.cli):
    for command in room.commands:
        cli.add_command(command)


def main() -> None:
    """Run the command line; 0 done, 1 the answer is no, 2 wrong use."""
    try:
        cli()
    except CrossliftError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except UnicodeEncodeError:
        click.echo("Error: found an argument that is not UTF-8; wanted UTF-8 text", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
