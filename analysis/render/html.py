"""The report as HTML: one file for a browser or paper, or a fragment for notebooks and the dashboard. No script, no network."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis.render import charts, messages, numbers
from analysis.render.svg import Chart, Sheet
from analysis.reports.model import Guardrail, Lift, MetricResult, OrderValues, Reading, Report, SegmentResult

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: its caption, its headers, and cells as text; the first cell of a row names it."""

    caption: str
    headers: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, slots=True)
class Part:
    """A section below the verdict: charts, tables, those that open when asked for, and the caveats that apply to them."""

    title: str
    charts: list[Chart] = field(default_factory=list)
    tables: list[Grid] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    badge: str = ""
    more: list[Grid] = field(default_factory=list)


def page(report: Report) -> str:
    """Return the report as one self-contained HTML file."""
    return _rendered("report.html", **_values(report))


def fragment(report: Report, prefix: str = "c") -> Markup:
    """
    Return the report as an element for another page, with its style.

    Args:
        report: The report.
        prefix: Separates the ids of its charts from those of other fragments on the page.
    """
    return Markup(_rendered("fragment.html", **_values(report, prefix)))  # noqa: S704  autoescaped


def body(report: Report, prefix: str = "c") -> str:
    """Return the report without its style, for a page that has it."""
    return _rendered("body.html", **_values(report, prefix))


def lift_table(lift: Lift) -> str:
    """Return the readings of a lift as a table with its style, for a notebook."""
    readings: dict[str, Reading] = {"alone": lift, "with its family": lift.simultaneous, "on any day": lift.anytime}
    if lift.adjusted is not None:
        readings["adjusted, alone"] = lift.adjusted.lift
    rows = [
        [
            name,
            numbers.share(one.relative.estimate),
            numbers.share_range(one.relative.low, one.relative.high),
            *(
                numbers.NONE if end is None else f"{end:,.6g}"
                for end in (one.absolute.estimate, one.absolute.low, one.absolute.high)
            ),
            numbers.p(one.p_value),
            one.relative.reason or one.reason or "",
        ]
        for name, one in readings.items()
    ]
    headers = ["reading", "lift", "interval", "difference", "low", "high", "p", "reason"]
    return _rendered("lift.html", table=Grid("The lift, read in several ways", headers, rows))


def refusal(title: str, reason: str) -> str:
    """Return what stands in place of a report that the data do not allow."""
    return _rendered("refusal.html", title=title, reason=reason)


def refused(title: str, reason: str) -> str:
    """Return a refusal as a page of its own."""
    return _rendered("refused.html", title=title, reason=reason)


@cache
def environment() -> Environment:
    """Return the environment of all pages: everything is escaped, and a missing value is an error."""
    loader = FileSystemLoader(TEMPLATES)
    pages = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_join_minus,
    )
    pages.globals["say"] = messages
    pages.globals["css"] = _css()
    return pages


def _join_minus(value: Any) -> Any:
    """Keep a minus on the line of its number: before a currency's sign, a browser would break the line."""
    return value.replace(numbers.MINUS, numbers.MINUS + "\u2060") if type(value) is str else value


def _rendered(name: str, **values: Any) -> str:
    return environment().get_template(name).render(**values)


@cache
def _css() -> Markup:
    return Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))  # noqa: S704  our own file


def _values(report: Report, prefix: str = "c") -> dict[str, Any]:
    sheet = Sheet(prefix)
    checks = sorted(report.checks, key=lambda check: (check.passed is not False, check.passed is None))
    level = numbers.level(report.confidence)
    failed = [f"“{check.label}”" for check in messages.failed(report)]
    return {
        "report": report,
        "empty": report.is_empty,
        "checks": [(check, _p_note(check.p_value)) for check in checks],
        "parts": [] if report.is_empty else list(_parts(report, sheet)),
        "left_out": messages.left_out(report),
        "mind": messages.MIND.format(checks=", ".join(failed)) if failed else "",
        "methods": [(term, text.format(level=level)) for term, text in messages.METHODS],
    }


def _p_note(p_value: float | None) -> str:
    return "" if p_value is None else f" (p\u00a0{numbers.p(p_value)})"


def _parts(report: Report, sheet: Sheet) -> Iterator[Part]:
    primary = [report.primary] if report.primary else []
    for name in [*primary, *(name for name in report.metrics if name != report.primary)]:
        yield _metric(name, report, sheet)
    if report.guardrails:
        yield _guardrails(report, sheet)
    yield from _details(report, sheet)


def _metric(name: str, report: Report, sheet: Sheet) -> Part:
    metric = report.metrics[name]
    badge = messages.DECIDES if report.primary == name else ""
    title = messages.metric_title(name) if report.currency else name
    if not any(metric.moments.values()):
        return Part(title, notes=[messages.sentence(messages.NOT_COMPUTED.format(reason=metric.reason))], badge=badge)
    notes = [messages.EXPLAINS] if metric.kind in ("ratio", "quantile") and report.currency and not badge else []
    notes.append(messages.legend(report))
    if report.verdict and report.verdict.days_left:
        notes.append(messages.EARLY)
    control = next(iter(metric.moments))
    caption = f"{title} by variant, with the lift over {control}"
    table = Grid(caption, _headers(report), [_metric_row(key, metric, report) for key in metric.moments])
    drawn = [charts.metric(sheet, title, metric, report)] if metric.lifts else []
    notes += messages.notes(metric, report)
    return Part(title, drawn, [table], notes, badge, [_otherwise(metric, report)] if metric.lifts else [])


def _otherwise(metric: MetricResult, report: Report) -> Grid:
    """Return the readings that the verdict does not use."""
    rows = []
    for key, lift in metric.lifts.items():
        readings: dict[str, Reading] = {messages.ALONE: lift}
        if lift.adjusted is not None:
            name = messages.ADJUSTED.format(covariate=lift.adjusted.covariate)
            readings[name] = lift.adjusted.lift.simultaneous
        if lift.capped is not None:
            cap = messages.value(lift.capped.high, metric, report)
            readings[messages.CAPPED.format(cap=cap)] = lift.capped.lift.simultaneous
        if lift.group_sequential is not None:
            look = lift.group_sequential
            readings[messages.LOOK.format(number=look.number, looks=look.looks)] = look.reading
        for name, reading in readings.items():
            relative = reading.relative
            interval = numbers.share_range(relative.low, relative.high)
            interval = relative.reason or reading.reason or "" if interval == numbers.NONE else interval
            rows.append([key, name, numbers.share(relative.estimate), interval, numbers.p(reading.p_value)])
    headers = ["variant", "reading", "lift", f"{numbers.level(report.confidence)} interval", "p"]
    return Grid(messages.OTHERWISE, headers, rows)


def _headers(report: Report) -> list[str]:
    level = numbers.level(report.confidence)
    headers = ["variant", "units", "value", "lift", f"{level} interval", "difference", "p"]
    return [*headers, "on any day"] if _reads_any_day(report) else headers


def _reads_any_day(report: Report) -> bool:
    """Check whether the report has always-valid readings: experiments do, files where a size was planned."""
    lifts = [lift for metric in report.metrics.values() for lift in metric.lifts.values()]
    return report.verdict is not None or any(lift.anytime.p_value is not None for lift in lifts)


def _metric_row(key: str, metric: MetricResult, report: Report) -> list[str]:
    arm, lift = metric.moments[key], metric.lifts.get(key)
    cells = [key, f"{arm.n:,}" if arm else numbers.NONE, messages.value(arm.value if arm else None, metric, report)]
    if lift is None:
        first = key == next(iter(metric.moments))
        return [*cells, "control" if first else "weight 0", *[""] * (len(_headers(report)) - 4)]
    return [*cells, *_lift_cells(lift, metric, report)]


def _lift_cells(lift: Lift, metric: MetricResult, report: Report) -> list[str]:
    family, anytime = lift.simultaneous, lift.anytime.relative
    cells = [
        numbers.share(family.relative.estimate),
        numbers.share_range(family.relative.low, family.relative.high),
        difference_range(family.absolute.estimate, (family.absolute.low, family.absolute.high), metric, report),
        numbers.p(family.p_value),
    ]
    return [*cells, numbers.share_range(anytime.low, anytime.high)] if _reads_any_day(report) else cells


def difference_range(
    estimate: float | None, ends: tuple[float | None, float | None], metric: MetricResult, report: Report
) -> str:
    """Write a difference with its interval, in the metric's unit."""
    if estimate is None or ends[0] is None or ends[1] is None:
        return messages.difference(estimate, metric, report)
    scale = max(abs(ends[0]), abs(ends[1]))
    low, high = (messages.difference(end, metric, report, scale).removesuffix(" pp") for end in ends)
    return f"{messages.difference(estimate, metric, report, scale)} ({low} to {high})"


def _guardrails(report: Report, sheet: Sheet) -> Part:
    guardrails = report.guardrails or {}
    variant = messages.leading_variant(report)
    rows = [_guardrail_row(name, guardrail) for name, guardrail in guardrails.items()]
    headers = ["metric", "margin", "gain or loss, on any day", "state"]
    has_interval = any(guardrail.low is not None for guardrail in guardrails.values())
    drawn = [charts.guardrails(sheet, variant, guardrails)] if has_interval else []
    caption = f"Guardrails of {variant}: what it may lose, and what it may have lost"
    return Part(f"Guardrails of {variant}", drawn, [Grid(caption, headers, rows)])


def _guardrail_row(name: str, guardrail: Guardrail) -> list[str]:
    state = "kept" if guardrail.passed else "lost" if guardrail.is_lost else "may be lost"
    interval = numbers.share_range(guardrail.low, guardrail.high) if guardrail.low is not None else guardrail.reason
    return [messages.metric_title(name), numbers.share(guardrail.margin), interval or "", state]


def _details(report: Report, sheet: Sheet) -> Iterator[Part]:
    drawn, notes = charts.decomposition(sheet, report)
    if drawn or notes:
        yield Part("Why revenue per visitor moved", drawn, notes=notes)
    values = report.order_values or {}
    if any(arm.orders for arm in values.values()):
        yield _order_values(values, report, sheet)
    drawn = charts.cumulative(sheet, report)
    if drawn:
        yield Part("Lift over time", drawn, notes=[messages.ANY_DAY_BAND])
    drawn = charts.since(sheet, report)
    if drawn:
        yield Part("Lift by days since the exposure", drawn, notes=[messages.SINCE])
    for name, segment in (report.segments or {}).items():
        yield _segment(name, segment, report, sheet)
    if report.funnel:
        yield _funnel(report.funnel, sheet)
    yield from _further(report)


def _order_values(values: Mapping[str, OrderValues], report: Report, sheet: Sheet) -> Part:
    currency = report.currency or "USD"
    rows = [
        [key, f"{arm.orders:,}", *(messages.money(centre, currency) for centre in (arm.mean, arm.median, arm.mode))]
        for key, arm in values.items()
    ]
    table = Grid("Order values: three measures of centre", ["variant", "orders", "mean", "median", "mode"], rows)
    notes = [note for key, arm in values.items() if (note := messages.mode_sentence(key, arm))]
    return Part("Order values", [charts.order_values(sheet, values, currency)], [table], [messages.EXPLAINS, *notes])


def _segment(name: str, segment: SegmentResult, report: Report, sheet: Sheet) -> Part:
    metric = report.metrics[segment.metric]
    rows = []
    for value, units in segment.breakdown.values.items():
        for key, corrected in units.lifts.items():
            relative = corrected.relative
            interval = numbers.share_range(relative.low, relative.high)
            share = numbers.share(relative.estimate)
            at = messages.value(units.value[key], metric, report)
            p_value = numbers.p(corrected.corrected_p_value)
            rows.append([value, key, f"{units.units[key]:,}", at, share, interval, p_value])
    headers = [name, "variant", "units", "value", "lift", f"{numbers.level(report.confidence)} interval", "corrected p"]
    title = f"Segments by {messages.metric_title(name)}"
    table = Grid(f"{messages.metric_title(segment.metric)} by {messages.metric_title(name)}", headers, rows)
    notes = [messages.SEGMENTS, *messages.differs(name, segment)]
    return Part(title, charts.segment(sheet, name, segment, report), [table], notes)


def _funnel(funnel: Mapping[str, Mapping[str, int]], sheet: Sheet) -> Part:
    steps = next(iter(funnel.values()))
    headers = ["variant", *(messages.STEPS[step].lower() for step in steps)]
    rows = [
        [key, *(f"{n:,} ({n / counts['exposed']:.1%})" if counts["exposed"] else f"{n:,}" for n in counts.values())]
        for key, counts in funnel.items()
    ]
    table = Grid("Units that reached each step, and their share of the exposed", headers, rows)
    return Part("Steps of the visitors", charts.funnel(sheet, funnel), [table], [messages.FUNNEL])


def _further(report: Report) -> Iterator[Part]:
    if report.interactions:
        notes = [messages.other_experiment(key, effects) for key, effects in report.interactions.items()]
        yield Part("With other experiments", notes=notes)
    sentence = messages.chances(report.posteriors) if report.posteriors else None
    if sentence:
        yield Part("Bayesian reading", notes=[sentence])
