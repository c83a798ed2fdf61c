"""The report in a terminal of 100 columns; useful without colour, and never red against green."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.render import messages, numbers
from analysis.reports.model import Check, Interval, MetricResult, Report, SegmentResult
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
    """Print a report: first what to do and what failed, then why."""
    _print_head(report, console)
    if report.is_empty:
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


def print_plan(experiment: Experiment, baseline: "Baseline", needs: Sequence["Need"], advice: Sequence[str]) -> None:
    """Print what an experiment needs."""
    from analysis.planning.plan import WEEKS  # imports engines, which a report of a file does not need

    console = Console(width=WIDTH, highlight=False, markup=False)
    plan = experiment.plan
    console.print(Text(experiment.key, style="bold").append(f"  {experiment.title}", style="not bold"))
    origin = messages.PLAN_ORIGIN.format(origin=baseline.origin, units=baseline.units_per_day)
    _print_wrapped(console, origin, indent="", style="dim")
    terms = messages.PLAN_TERMS.format(confidence=plan.confidence * 100, power=plan.power * 100)
    _print_wrapped(console, terms, indent="", style="dim")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("  metric", no_wrap=True)
    for header in ("role", "effect", "per arm", "days", *(f"{week} wk" for week in WEEKS)):
        table.add_column(header, justify="left" if header == "role" else "right", no_wrap=True)
    for need in needs:
        effect = f"{'+' if need.role == 'primary' else '−'}{need.effect * 100:g}%"
        if need.units is None or need.days is None:
            table.add_row(f"  {need.metric}", need.role, effect, "–", "–", *("–" for _ in WEEKS))
            continue
        days = f"{max(1, need.days):,.0f}"
        seen = [_seen(need.seen[week]) for week in WEEKS]
        table.add_row(f"  {need.metric}", need.role, effect, f"{need.units:,}", days, *seen)
    console.print()
    console.print(table)
    for need in needs:
        if need.reason:
            _print_wrapped(console, f"{need.metric}: {need.reason}.", indent="  ", style="dim")
    console.print()
    unknown = [need.metric for need in needs if need.units is None]
    enough = messages.PLAN_UNKNOWN.format(metrics=", ".join(unknown)) if unknown else messages.PLAN_ENOUGH
    for sentence in advice or [enough]:
        _print_wrapped(console, sentence, indent="", style="bold" if advice else "")
    _print_wrapped(console, messages.PLAN_WEEKS, indent="", style="dim")


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
    """Print what passed and what has not enough data yet; what failed stands above the verdict."""
    for check in checks:
        if check.passed is not False and check.name in ("sample_ratio", "multiple_exposure"):
            _print_check(check, console)
    for passed, words in ((True, messages.CHECKS_PASSED), (None, messages.CHECKS_OPEN)):
        names = [check.name for check in checks[2:] if check.passed is passed]
        if names:
            mark, style = _MARKS[passed]
            console.print(Text("  ").append(mark, style=style).append(" " + words.format(names=", ".join(names))))


def _print_check(check: Check, console: Console) -> None:
    mark, style = _MARKS[check.passed]
    p_value = "" if check.p_value is None else f" (p {numbers.p(check.p_value)})"
    body = textwrap.wrap(f"{check.name}: {check.detail}{p_value}", WIDTH - 5 - len(mark))
    line = Text("  ").append(mark, style=style).append(" " + ("\n" + " " * (3 + len(mark))).join(body))
    console.print(line)


def _print_verdict(report: Report, console: Console) -> None:
    verdict = report.verdict
    assert verdict is not None  # noqa: S101  the caller has checked
    word = messages.DECISIONS[verdict.decision].upper()
    style = _DECISION_STYLES[verdict.decision]
    console.print(Text("Verdict: ").append(word + (f" {verdict.variant}" if verdict.variant else ""), style=style))
    readable = [messages.readable(reason, report) for reason in verdict.reasons]
    reasons = [] if verdict.decision == "withheld" else readable
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
        _print_wrapped(console, messages.NOT_COMPUTED.format(reason=metric.reason), indent="  ")
        return
    for key in metric.moments:
        for line in _lines(key, metric, report):
            console.print(line)
    for note in messages.notes(metric, report):
        _print_wrapped(console, note, indent="    ", style="dim")


def _print_details(report: Report, console: Console) -> None:
    """Print what explains the result, as far as it fits a screen; HTML and JSON have it all."""
    sentences = [messages.decomposition(key, factors) for key, factors in (report.decomposition or {}).items()]
    for name, segment in (report.segments or {}).items():
        sentences += _differing(name, segment, report)
    sentences += [messages.other_experiment(key, effects) for key, effects in (report.interactions or {}).items()]
    if report.posteriors:
        sentences.append(messages.chances(report.posteriors))
    console.print()
    for sentence in sentences:
        if sentence:
            _print_wrapped(console, sentence, indent="  ")


def _differing(name: str, segment: SegmentResult, report: Report) -> Iterator[str]:
    """Say where the effect differs between segments."""
    for key, test in segment.breakdown.interaction.items():
        p_value = test.corrected_p_value
        if p_value is not None and p_value < 1 - report.confidence:
            lifts = ", ".join(
                f"{value} {numbers.share(units.lifts[key].relative.estimate)}"
                for value, units in segment.breakdown.values.items()
            )
            yield f"{key}: the effect differs by {name} (p {numbers.p(p_value)}, corrected): {lifts}."


def print_error_rates(rates: Sequence["ErrorRate"], tests: int) -> None:
    """Print an A/A check."""
    console = Console(width=WIDTH, highlight=False, markup=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("  metric", no_wrap=True)
    for header in ("tests", "alarms at 5%", "expected", ""):
        table.add_column(header, justify="right", no_wrap=True)
    for rate in rates:
        mark, style = _MARKS[rate.sound]
        if rate.rate is None or rate.expected is None:
            table.add_row(f"  {rate.metric}", "–", "–", "–", Text(rate.reason or "", style="dim"))
            continue
        low, high = rate.expected
        expected = f"{low:.1%} to {high:.1%}"
        table.add_row(f"  {rate.metric}", f"{rate.tests:,}", f"{rate.rate:.1%}", expected, Text(mark, style=style))
    console.print(table)
    console.print()
    _print_wrapped(console, messages.AA_CHECK.format(tests=tests), indent="", style="dim")


def _print_wrapped(console: Console, sentence: str, *, indent: str, style: str = "") -> None:
    for line in textwrap.wrap(sentence, WIDTH - len(indent)):
        console.print(Text(indent + line, style=style))


def _title(name: str, report: Report) -> Text:
    title = Text(name.replace("_", " ") if report.currency else name, style="bold")
    kind = report.metrics[name].kind
    if report.primary == name:
        title.append(f"  {messages.DECIDES}", style="not bold")
    elif kind == "ratio" and report.currency:
        title.append(f"  {messages.EXPLAINS_SHORT}", style="not bold dim")
    return title


def _headers(report: Report) -> list[str]:
    headers = ["", "units", "value", "lift", f"{numbers.level(report.confidence)} interval", "p"]
    return [*headers, "on any day"] if report.verdict else headers


def _lines(key: str, metric: MetricResult, report: Report) -> Iterator[Text]:
    """Return the line of a variant; a name too long for its column has lines of its own before it."""
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
    """Write cells into columns; the first is aligned to the left."""
    line = Text(style=style)
    for place, cell in enumerate(cells[: len(_headers(report))]):
        padded = cell.ljust(WIDTHS[place]) if place == 0 else cell.rjust(WIDTHS[place])
        line.append(padded, style="bold" if place == bold else "")
    line.rstrip()
    return line


def _range(interval: Interval) -> str:
    return numbers.share_range(interval.low, interval.high)
