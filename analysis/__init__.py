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

# Looked up when first asked for: statistics take two seconds to import, and `crosslift --help` needs none.
_HOMES = {
    "Lift": "stats.comparisons.readings",
    "Moments": "stats.moments",
    "Report": "reports.model",
    "analyze": "reports.file",
    "lift": "stats.lift",
    "report": "reports.experiment",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    import_module("analysis.render.notebook")
    return getattr(import_module(f"analysis.{_HOMES[name]}"), name)
