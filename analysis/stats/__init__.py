"""Pure numbers: moments in, intervals and p-values out. No Ibis, no declarations."""

from importlib import import_module

_HEAVY = ("statsmodels.stats.multitest", "statsmodels.stats.meta_analysis", "statsmodels.stats.proportion",
          "statsmodels.stats.power", "statsmodels.regression.linear_model")  # fmt: skip


def preload() -> None:
    """Import SciPy's and statsmodels' heavy modules, which takes a second; reports do so on a thread during the first query."""
    for name in ("scipy.stats", *_HEAVY):
        import_module(name)
