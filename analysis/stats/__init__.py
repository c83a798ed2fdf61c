"""Pure numbers: moments in, intervals and p-values out. No Ibis, no declarations."""

import threading
from importlib import import_module

SLOW = (
    "scipy.stats",
    "statsmodels.stats.multitest",
    "statsmodels.stats.meta_analysis",
    "statsmodels.stats.proportion",
    "statsmodels.stats.power",
)


def preload(*modules: str) -> None:
    """Begin to import the slow libraries, and then modules of ours, on a thread: engines let go of the interpreter's lock."""
    names = (*SLOW, *modules)
    threading.Thread(target=lambda: [import_module(name) for name in names], name="crosslift-preload").start()
