"""What it meant: sums out of the store, moments, lifts, trust, verdict, report. Private; never on a public port."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.reports.experiment import report
    from analysis.reports.file import analyze
    from analysis.reports.model import Report
    from analysis.stats.comparisons.readings import Lift
    from analysis.stats.lift import lift
    from analysis.stats.moments import Moments

__all__ = ["Lift", "Moments", "Report", "analyze", "lift", "report"]

# Imported when first used: statistics take a second to import, and `crosslift --help` needs none.
_MODULES = {
    "Lift": "analysis.stats.comparisons.readings",
    "Moments": "analysis.stats.moments",
    "Report": "analysis.reports.model",
    "analyze": "analysis.reports.file",
    "lift": "analysis.stats.lift",
    "report": "analysis.reports.experiment",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    import_module("analysis.render.notebook").register()
    return getattr(import_module(_MODULES[name]), name)
