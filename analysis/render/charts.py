"""Chooses the charts of a report, and the words that stand for each."""

from collections.abc import Mapping, Sequence
from datetime import date

from analysis.render import messages, numbers, plots
from analysis.render.plots import Curve, Ends, Row, Write
from analysis.render.svg import Chart, Sheet
from analysis.reports.model import (
    CumulativePoint,
    DayPoint,
    Guardrail,
    Interval,
    MetricResult,
    OrderValues,
    Report,
    SegmentResult,
)
from events.clock import DAY_MS


def metric(sheet: Sheet, title: str, result: MetricResult, report: Report) -> Chart:
    """Draw the lifts of a metric; as differences where no lift has an interval."""
    level = numbers.level(report.confidence)
    control = next(iter(result.moments))
    relative = any(lift.simultaneous.relative.low is not None for lift in result.lifts.values())
    rows = []
    for key, lift in result.lifts.items():
        fixed, anytime = (
            reading.relative if relative else reading.absolute for reading in (lift.simultaneous, lift.anytime)
        )
        write = numbers.share if relative else lambda amount: messages.difference(amount, result, report)
        words = _in_words(fixed.estimate, _ends(fixed), write, level)
        if _ends(anytime):
            words += f", on any day {write(anytime.low)} to {write(anytime.high)}"
        rows.append(Row(key, fixed.estimate, _ends(fixed), _ends(anytime), words))
    note = messages.FOREST_NOTE if any(row.anytime for row in rows) else messages.FOREST_NOTE_FIXED
    note = note.format(level=level) + _cut(rows, relative=relative)
    if relative:
        return plots.forest(sheet, f"Lift in {title} over {control}", f"lift, % of {control}", rows, note=note)
    unit = _unit(result, report)
    write_difference = lambda amount: messages.difference(amount, result, report)  # noqa: E731
    return plots.forest(
        sheet,
        f"{title[:1].upper()}{title[1:]} less {control}'s, {unit}",
        f"difference, {unit}",
        rows,
        write_difference,
        note,
    )


def _unit(result: MetricResult, report: Report) -> str:
    if result.kind == "proportion":
        return "percentage points"
    return report.currency if result.is_money and report.currency else "in its own unit"


def _ends(interval: Interval | Guardrail) -> Ends | None:
    """Return the ends of an interval, where it has both."""
    return None if interval.low is None or interval.high is None else (interval.low, interval.high)


def _in_words(estimate: float | None, ends: Ends | None, write: Write, level: str) -> str:
    if estimate is None:
        return "not known"
    return write(estimate) + (f", {level} interval {write(ends[0])} to {write(ends[1])}" if ends else ", no interval")


def _cut(rows: Sequence[Row], *, relative: bool) -> str:
    ends = [end for row in rows for interval in (row.fixed, row.anytime) if interval for end in interval]
    return f" {messages.CUT}" if relative and any(abs(end) > plots.REACH for end in ends) else ""


def guardrails(sheet: Sheet, variant: str, guards: Mapping[str, Guardrail]) -> Chart:
    """Draw the interval of each guardrail against its margin."""
    rows = [
        Row(
            messages.metric_title(name),
            None,
            None,
            _ends(guard),
            f"margin {numbers.share(guard.margin)}, {numbers.share_range(guard.low, guard.high)} on any day",
            guard.margin,
        )
        for name, guard in guards.items()
    ]
    title = f"What {variant} may have gained or lost, against its margins"
    return plots.forest(sheet, title, "gain or loss, % of the control's", rows, note=messages.GUARD_NOTE)


def decomposition(sheet: Sheet, report: Report) -> tuple[list[Chart], list[str]]:
    """Draw why revenue per visitor moved, and say where that cannot be computed."""
    charts, notes = [], []
    control = report.variants[0].key
    for key, parts in (report.decomposition or {}).items():
        factors = parts.factors
        missing = next((factor.reason for factor in factors.values() if factor.reason), None)
        if missing:
            notes.append(f"{key}: cannot be computed: {missing}.")
            continue
        order = [*(name for name in messages.FACTORS if name != "revenue_per_visitor"), "revenue_per_visitor"]
        title = f"{key} compared with {control}: three changes make up the last"
        steps = [plots.Step.of(messages.FACTORS[name], factors[name]) for name in order]
        charts.append(plots.waterfall(sheet, title, "change, % (logarithmic scale, on which they add up)", steps))
    return charts, ([messages.FACTORS_NOTE.format(level=numbers.level(report.confidence)), *notes] if charts else notes)


def order_values(sheet: Sheet, values: Mapping[str, OrderValues], currency: str) -> Chart:
    """Draw the order values of all variants that have any."""
    arms = {key: arm for key, arm in values.items() if arm.orders}
    title = f"Share of each variant's orders by order value, {currency}"
    write = lambda amount: numbers.money(amount, currency)  # noqa: E731
    axis = f"order value, {currency}; the last band includes all above"
    return plots.histograms(sheet, title, axis, arms, messages.CENTRES, write)


def cumulative(sheet: Sheet, report: Report) -> list[Chart]:
    """Draw what was known of the primary metric on each day, a chart per variant, all on one scale."""
    points = report.curves.cumulative if report.curves else ()
    at = [float(date.fromisoformat(point.day).toordinal()) for point in points]
    curves = _curves(points, at)
    planned = _planned_day(report)
    marked = planned if planned is not None and planned <= at[-1] + max(14, 2 * (at[-1] - at[0])) else None
    limits = _shared([curve for curve in curves.values() if any(curve.ends)])
    axis = "units exposed up to"
    charts = []
    for key, curve in curves.items():
        if not any(curve.ends):
            continue
        ends = curve.ends[-1]
        words = f"On {points[-1].day}: {_in_words(curve.estimates[-1], ends, numbers.share, 'always-valid')}."
        if marked is not None:
            words += f" Dashed: the planned sample size, expected on {date.fromordinal(round(marked)).isoformat()}."
        title = f"{key}: cumulative lift in {messages.metric_title(report.primary or '')}, with the band that holds on all days"
        chart = plots.band(sheet, title, axis, curve, marked, limits, words)
        charts.append(chart)
    return charts


def since(sheet: Sheet, report: Report) -> list[Chart]:
    """Draw the lift by days since the exposure, a chart per variant, all on one scale."""
    points = report.curves.since_exposure if report.curves else ()
    curves = _curves(points, [float(point.day) for point in points])
    limits = _shared([curve for curve in curves.values() if any(curve.ends)])
    axis = "days since the exposure"
    level = numbers.level(report.confidence)
    charts = []
    for key, curve in curves.items():
        if not any(curve.ends):
            continue
        words = "; ".join(
            f"day {x:g} {_in_words(estimate, ends, numbers.share, level)}"
            for x, estimate, ends in zip(curve.at, curve.estimates, curve.ends, strict=True)
        )
        title = f"{key}: lift in {messages.metric_title(report.primary or '')} by days since the exposure, {level} intervals"
        charts.append(plots.days(sheet, title, axis, curve, limits, words + "."))
    return charts


def _curves(points: Sequence[CumulativePoint] | Sequence[DayPoint], at: list[float]) -> dict[str, Curve]:
    keys = list(points[0].lifts) if points else []
    lifts = {key: [point.lifts[key].relative for point in points] for key in keys}
    return {
        key: Curve(at, [lift.estimate for lift in curve], [_ends(lift) for lift in curve])
        for key, curve in lifts.items()
    }


def _shared(curves: Sequence[Curve]) -> Ends:
    limits = [curve.limits() for curve in curves]
    return min((low for low, _ in limits), default=-1.0), max((high for _, high in limits), default=1.0)


def _planned_day(report: Report) -> float | None:
    left = report.verdict.days_left if report.verdict else None
    return None if not left else float(date(1970, 1, 1).toordinal() + report.as_of_ms // DAY_MS + left)


def segment(sheet: Sheet, name: str, result: SegmentResult, report: Report) -> list[Chart]:
    """Draw the lift in each segment, a chart per variant."""
    level = numbers.level(report.confidence)
    charts: list[Chart] = []
    for key in result.breakdown.interaction:
        rows = []
        for value, units in result.breakdown.values.items():
            lift = units.lifts[key].relative
            words = _in_words(lift.estimate, _ends(lift), numbers.share, level)
            rows.append(Row(value, lift.estimate, _ends(lift), None, words))
        if not any(row.estimate is not None for row in rows):
            continue
        title = f"{key}: lift in {messages.metric_title(result.metric)} by {messages.metric_title(name)}"
        note = messages.FOREST_NOTE_FIXED.format(level=level) + _cut(rows, relative=True)
        charts.append(plots.forest(sheet, title, "lift, % of the control's", rows, note=note))
    return charts


def funnel(sheet: Sheet, counts_of: Mapping[str, Mapping[str, int]]) -> list[Chart]:
    """Draw how many units of each variant reached each step."""
    charts = []
    for key, counts in counts_of.items():
        labels = {messages.STEPS[step]: n for step, n in counts.items()}
        words = ", ".join(f"{step.lower()} {n:,}" for step, n in labels.items())
        charts.append(plots.steps(sheet, f"{key}: units and their share of the exposed", labels, f"{words}."))
    return charts
