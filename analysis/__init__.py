"""What it meant: sums out of the store, moments, lifts, trust, verdict, report. Private; never on a public port."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.lifts import Lift, lift
    from analysis.moments import Moments
    from analysis.reports import report
    from analysis.results import Report
    from analysis.table import analyze

__all__ = ["Lift", "Moments", "Report", "analyze", "lift", "report"]

# Looked up when first asked for: statistics take two seconds to import, and `crosslift --help` needs none.
_HOMES = {
    "Lift": "lifts",
    "Moments": "moments",
    "Report": "results",
    "analyze": "table",
    "lift": "lifts",
    "report": "reports",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    return getattr(import_module(f"analysis.{_HOMES[name]}"), name)
