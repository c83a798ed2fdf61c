"""
The public names, and the command line that mounts the commands of every room.

Both are imported when they are first used, so that `import crosslift` is cheap.
"""

import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from analysis import Moments as Moments
    from analysis import analyze as analyze
    from analysis import lift as lift
    from analysis import report as report
    from events import open_store as open_store
    from experiments import assign as assign
    from experiments import load as load
    from server import create_app as create_app

    cli: click.Group

__all__ = ["Moments", "analyze", "assign", "create_app", "lift", "load", "open_store", "report"]

_ROOMS = ("experiments", "events", "server", "analysis", "simulation", "storefront")
_NEEDED = {  # a room, and the rooms that it imports
    "experiments": ("experiments",),
    "events": ("experiments", "events"),
    "server": ("experiments", "events", "server"),
    "analysis": ("experiments", "events", "analysis"),
}
_ROOM_OF = {
    "Moments": "analysis",
    "analyze": "analysis",
    "assign": "experiments",
    "create_app": "server",
    "lift": "analysis",
    "load": "experiments",
    "open_store": "events",
    "report": "analysis",
}


class HiddenPackage(ImportError):
    """Another package or module has the name of one of crosslift's packages and is found before it."""


def __getattr__(name: str) -> Any:
    if name == "cli":
        value = _command_line()
    elif name in _ROOM_OF:
        room = _ROOM_OF[name]
        _check_visible(_NEEDED[room])
        value = getattr(import_module(room), name)
    else:
        raise AttributeError(f"module 'crosslift' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _check_visible(rooms: Iterable[str]) -> None:
    """Check that Python finds our packages, and not others of the same names, without importing any."""
    home = Path(__file__).parent.resolve()
    for room in rooms:
        spec = find_spec(room)
        if spec is None:
            raise HiddenPackage(f"crosslift's package {room!r} is missing: install crosslift again", name=room)
        place = Path(spec.origin or next(iter(spec.submodule_search_locations or ()))).resolve()
        if place.parent != home / room:
            other = str(place.parent if place.name == "__init__.py" else place)
            fault = f"{other}: hides crosslift's own package {room!r}; rename it, or run Python from another folder"
            raise HiddenPackage(fault, name=room, path=other)


def _command_line() -> click.Group:
    """Build the command line: one group with the commands of every room."""
    _check_visible(_ROOMS)
    import analysis.cli
    import events.cli
    import events.imports.cli
    import experiments.cli
    import server.cli
    import simulation.cli

    group = click.Group(
        "crosslift",
        help="Declare, assign, log and read experiments on cross-sell placements.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    click.version_option(package_name="crosslift")(group)
    for room in (experiments.cli, server.cli, events.cli, events.imports.cli, simulation.cli, analysis.cli):
        for command in room.commands:
            group.add_command(command)
    return group


def main() -> None:
    """Run the command line; exit with 0 for done, 1 for a negative answer, 2 for wrong use."""
    try:
        commands = _command_line()
    except HiddenPackage as error:
        _fail(error)

    from experiments.errors import CrossliftError

    try:
        commands()
    except CrossliftError as error:
        _fail(error)
    except UnicodeEncodeError:
        _fail("an argument is not valid UTF-8")


def _fail(reason: object) -> NoReturn:
    click.echo(f"Error: {reason}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
