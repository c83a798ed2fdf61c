"""How notebooks display reports and lifts: those know no HTML, so importing this adds it to them."""

from analysis.reports.model import Lift, Report


def _report_html(report: Report) -> str:
    from analysis.render.html import fragment  # templates and charts load with the first value displayed

    return str(fragment(report, prefix=f"crosslift-{report.experiment}-{report.as_of_ms}-"))


def _lift_html(lift: Lift) -> str:
    from analysis.render.html import lift_table

    return lift_table(lift)


def register() -> None:
    """Let notebooks display reports and lifts."""
    setattr(Report, "_repr_html_", _report_html)  # noqa: B010  no attribute that the class declares
    setattr(Lift, "_repr_html_", _lift_html)  # noqa: B010
