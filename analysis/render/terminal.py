"""The report in a terminal of 100 columns; useful without colour, and never red against green."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.render import messages, numbers
from analysis.reports.model import MetricResult, Report
from analysis.reports.trust_checks import Check
from analysis.stats.comparisons.readings import Interval
from experiments.declarations.model import Experiment

if TYPE_CHECKING:
    from analysis.planning.aa_check import ErrorRate
    from analysis.planning.plan import Baseline, Need

WIDTH = 100

_MARKS = {True: ("✓", "green"), False: ("✗ FAILED", "bold magenta"), None: ("–", "dim")}
_DECISION_STYLES = {
    "ship": "bold green",
    "stop": "bold magenta",
    "keep_running": "bold cyan",
    "no_difference": "bold",
    "withheld": "bold magenta",
}
WIDTHS = (20, 10, 12, 9, 20, 8, 20)  # of the columns: 99 together


def print_report(report: Report, console: Console) -> None:
    """Print a report: what to do and what speaks against it first, then why."""
    _print_head(report, console)
    if report.orders is not None and not any(row.units for row in report.variants):
        _print_wrapped(console, messages.NO_EXPOSURES, indent="")
        return
    failed = [check for check in report.checks if check.passed is False]
    for check in failed:
        _print_check(check, console)
    if report.verdict:
        _print_verdict(report, console)
    _print_checks(report.checks, console)
    if report.orders is not None:
        _print_wrapped(console, messages.orders_sentence(report.orders), indent="  ")
    console.print()
    order = [*([report.primary] if report.primary else [])]
    for place, name in enumerate([*order, *(name for name in report.metrics if name not in order)]):
        _print_metric(name, report, console, with_header=place == 0)
    _print_details(report, console)
    _print_wrapped(console, messages.legend(report), indent="", style="dim")
    if failed:
        sentence = messages.MIND.format(checks=", ".join(check.name for check in failed))
        _print_wrapped(console, sentence, indent="", style="bold magenta")


def print_plan(experiment: Experiment, baseline: "Baseline", found: Sequence["Need"], told: Sequence[str]) -> None:
    """Print what an experiment needs."""
    from analysis.planning.plan import WEEKS  # with its engines, which a report of a file has no need of

    console = Console(width=WIDTH, highlight=False, markup=False)
    plan = experiment.plan
    console.print(Text(experiment.key, style="bold").append(f"  {experiment.title}", style="not bold"))
    origin = f"From {baseline.origin}: {baseline.units_per_day:,.0f} eligible units a day."
    _print_wrapped(console, origin, indent="", style="dim")
    terms = f"{plan.confidence * 100:g}% confidence over all arms together, {plan.power * 100:g}% power."
    _print_wrapped(console, terms, indent="", style="dim")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("  metric", no_wrap=True)
    for header in ("role", "effect", "per arm", "days", *(f"{week} wk" for week in WEEKS)):
        table.add_column(header, justify="left" if header == "role" else "right", no_wrap=True)
    for need in found:
        effect = f"{'+' if need.role == 'primary' else '−'}{need.effect * 100:g}%"
        if need.units is None or need.days is None:
            table.add_row(f"  {need.metric}", need.role, effect, "–", "–", *("–" for _ in WEEKS))
            continue
        days = f"{max(1, need.days):,.0f}"
        seen = [_seen(need.seen[week]) for week in WEEKS]
        table.add_row(f"  {need.metric}", need.role, effect, f"{need.units:,}", days, *seen)
    console.print()
    console.print(table)
    for need in found:
        if need.reason:
            _print_wrapped(console, f"{need.metric}: {need.reason}.", indent="  ", style="dim")
    console.print()
    unknown = [need.metric for need in found if need.units is None]
    enough = "This shop has the traffic for it."
    if unknown:
        enough = f"Of {', '.join(unknown)} nothing can be told: give --visitors-per-day and --conversion."
    for sentence in told or [enough]:
        _print_wrapped(console, sentence, indent="", style="bold" if told else "")
    sentence = (
        "The last columns: the smallest effect that can be seen after so many weeks. Run whole weeks: weekends differ."
    )
    _print_wrapped(console, sentence, indent="", style="dim")


def _seen(share: float) -> str:
    return f"{share * 100:.0f}%" if share >= 0.1 else f"{share * 100:.1f}%"


def _print_head(report: Report, console: Console) -> None:
    head = Text(report.experiment, style="bold")
    if report.title:
        head.append(f"  {report.title}", style="not bold")
    console.print(head)
    _print_wrapped(console, " · ".join(messages.about(report)), indent="", style="dim")
    if report.earlier_exposures:
        _print_wrapped(console, messages.earlier(report), indent="")
    if report.simulated:
        console.print(messages.SIMULATED, style="bold yellow")


def _print_checks(checks: Sequence[Check], console: Console) -> None:
    """Print what passed and what cannot be told yet; what failed stands above the verdict."""
    for check in checks:
        if check.passed is not False and check.name in ("sample_ratio", "multiple_exposure"):
            _print_check(check, console)
    for passed, words in ((True, "passed too: {}"), (None, "not yet to be told: {}")):
        names = [one.name for one in checks[2:] if one.passed is passed]
        if names:
            mark, style = _MARKS[passed]
            console.print(Text("  ").append(mark, style=style).append(" " + words.format(", ".join(names))))


def _print_check(check: Check, console: Console) -> None:
    mark, style = _MARKS[check.passed]
    p_value = "" if check.p_value is None else f" (p {numbers.p(check.p_value)})"
    body = textwrap.wrap(f"{check.name}: {check.detail}{p_value}", WIDTH - 5 - len(mark))
    line = Text("  ").append(mark, style=style).append(" " + ("\n" + " " * (3 + len(mark))).join(body))
    console.print(line)


def _print_verdict(report: Report, console: Console) -> None:
    verdict = report.verdict
    assert verdict is not None  # noqa: S101  the caller asked
    word = messages.DECISIONS[verdict.decision].upper()
    style = _DECISION_STYLES[verdict.decision]
    console.print(Text("Verdict: ").append(word + (f" {verdict.variant}" if verdict.variant else ""), style=style))
    told = [messages.readable(reason, report) for reason in verdict.reasons]
    reasons = [] if verdict.decision == "withheld" else told
    for sentence in (*reasons, messages.money_sentence(report), messages.waiting(report)):
        if sentence:
            _print_wrapped(console, sentence, indent="  ")
    if verdict.decision == "withheld":
        _print_wrapped(console, messages.DECISION_MEANS["withheld"], indent="  ")


def _print_metric(name: str, report: Report, console: Console, *, with_header: bool) -> None:
    metric = report.metrics[name]
    if with_header:
        console.print(_row(report, _headers(report), style="dim"))
    console.print(_title(name, report))
    if not any(metric.moments.values()):
        _print_wrapped(console, f"cannot be had: {metric.reason}", indent="  ")
        return
    for key in metric.moments:
        for line in _lines(key, metric, report):
            console.print(line)
    for note in messages.notes(metric, report):
        _print_wrapped(console, note, indent="    ", style="dim")


def _print_details(report: Report, console: Console) -> None:
    """Print what explains the result, as far as it fits a screen; HTML and JSON have it all."""
    parts = report.details.get("decomposition") or {}
    told = [messages.changed_parts(key, found) for key, found in parts.items()]
    for name, segment in (report.details.get("segments") or {}).items():
        told += list(_differing(name, segment, report))
    told += [messages.beside_sentence(*one) for one in (report.details.get("interactions") or {}).items()]
    if report.details.get("bayesian"):
        told.append(messages.chances(report.details["bayesian"]))
    console.print()
    for sentence in told:
        if sentence:
            _print_wrapped(console, sentence, indent="  ")


def _differing(name: str, segment: Mapping[str, Any], report: Report) -> Iterator[str]:
    """Say where the effect differs between segments."""
    for key, one in segment["interaction"].items():
        p_value = one.get("corrected_p_value")
        if p_value is not None and p_value < 1 - report.confidence:
            values = {value: found["lifts"][key]["relative"]["estimate"] for value, found in segment["values"].items()}
            told_by = ", ".join(f"{value} {numbers.share(share)}" for value, share in values.items())
            yield f"{key}: the effect differs by {name} (p {numbers.p(p_value)}, corrected): {told_by}."


def print_error_rates(rates: Sequence["ErrorRate"], tests: int) -> None:
    """Print an A/A check."""
    console = Console(width=WIDTH, highlight=False, markup=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("  metric", no_wrap=True)
    for header in ("tests", "alarms at 5%", "chance allows", ""):
        table.add_column(header, justify="right", no_wrap=True)
    for one in rates:
        mark, style = _MARKS[one.sound]
        if one.rate is None or one.expected is None:
            table.add_row(f"  {one.metric}", "–", "–", "–", Text(one.reason or "", style="dim"))
            continue
        low, high = one.expected
        table.add_row(
            f"  {one.metric}", f"{one.tests:,}", f"{one.rate:.1%}", f"{low:.1%} to {high:.1%}", Text(mark, style=style)
        )
    console.print(table)
    console.print()
    sentence = (
        f"Of {tests:,} tests in which nothing differed, a metric that may be trusted alarms in 5%. Outside of what chance "
        "allows, its p and intervals must not be believed on this shop's data."
    )
    _print_wrapped(console, sentence, indent="", style="dim")


def _print_wrapped(console: Console, sentence: str, *, indent: str, style: str = "") -> None:
    for line in textwrap.wrap(sentence, WIDTH - len(indent)):
        console.print(Text(indent + line, style=style))


def _title(name: str, report: Report) -> Text:
    title = Text(name.replace("_", " ") if report.currency else name, style="bold")
    kind = report.metrics[name].kind
    if report.primary == name:
        title.append("  decides", style="not bold")
    elif kind == "ratio" and report.currency:
        title.append("  explains, never decides: it looks only at those who bought", style="not bold dim")
    return title


def _headers(report: Report) -> list[str]:
    headers = ["", "units", "value", "lift", f"{numbers.level(report.confidence)} interval", "p"]
    return [*headers, "on any day"] if report.verdict else headers


def _lines(key: str, metric: MetricResult, report: Report) -> Iterator[Text]:
    """Give a variant's line; a name too long for its column has lines of its own before it."""
    arm, lift = metric.moments[key], metric.lifts.get(key)
    *names, last = textwrap.wrap(key, WIDTHS[0] - 2) or [key]
    for name in names:
        yield Text(f"  {name}")
    cells = [f"  {last}", f"{arm.n:,}" if arm else "", messages.value(arm.value if arm else None, metric, report)]
    if lift is None:
        yield _row(report, [*cells, "control" if key == next(iter(metric.moments)) else "weight 0"])
        return
    family, anytime = lift.simultaneous, lift.anytime.relative
    cells += [
        numbers.share(family.relative.estimate),
        _range(family.relative),
        numbers.p(family.p_value),
        _range(anytime),
    ]
    certain = family.p_value is not None and family.p_value < 1 - report.confidence
    yield _row(report, cells, bold=3 if certain else None)


def _row(report: Report, cells: Sequence[str], style: str = "", bold: int | None = None) -> Text:
    """Put cells into columns; the first is aligned to the left."""
    line = Text(style=style)
    for place, cell in enumerate(cells[: len(_headers(report))]):
        padded = cell.ljust(WIDTHS[place]) if place == 0 else cell.rjust(WIDTHS[place])
        line.append(padded, style="bold" if place == bold else "")
    line.rstrip()
    return line


def _range(interval: Interval) -> str:
    return numbers.share_range(interval.low, interval.high)
