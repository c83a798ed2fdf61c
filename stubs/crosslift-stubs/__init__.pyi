"""Types of the public names, for type checkers of users: a single module cannot carry a py.typed of its own (PEP 561)."""

import click

from analysis import Moments as Moments
from analysis import analyze as analyze
from analysis import lift as lift
from analysis import report as report
from events import open_store as open_store
from experiments import assign as assign
from experiments import load as load
from server import create_app as create_app

class HiddenPackage(ImportError): ...

cli: click.Group

def main() -> None: ...
