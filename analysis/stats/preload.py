"""Imports the slow libraries on a thread while an engine runs the first query: both let go of the interpreter's lock."""

import threading
from importlib import import_module

MODULES = ("scipy.stats",)


def begin() -> None:
    """Begin to import; whoever needs a module earlier waits for it as for any import."""
    threading.Thread(target=lambda: [import_module(name) for name in MODULES], daemon=True).start()
