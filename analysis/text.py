"""The report in a terminal of 100 columns; useful without colour, and never red against green."""

import textwrap
import time
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.lifts import Interval, Lift
from analysis.plan import WEEKS, Baseline, Need
from analysis.reports import MetricResult, Report
from analysis.trust import Check
from experiments.declaration import Experiment
from experiments.money import exponent, format_money

WIDTH = 100

_MARKS = {True: ("✓", "green"), False: ("✗ FAILED", "bold magenta"), None: ("–", "dim")}
_DECISIONS = {
    "ship": ("SHIP", "bold green"),
    "stop": ("STOP", "bold magenta"),
    "keep_running": ("KEEP RUNNING", "bold cyan"),
    "no_difference": ("NO DIFFERENCE", "bold"),
    "withheld": ("WITHHELD", "bold magenta"),
}


def print_report(report: Report, console: Console) -> None:
    """Print a report."""
    _print_head(report, console)
    if report.orders is not None and not any(row.units for row in report.variants):
        _print_wrapped(
            console, "No exposures of this experiment in the store yet: there is nothing to report.", indent=""
        )
        return
    for check in report.checks:
        _print_check(check, console)
    if report.orders is not None:
        _print_wrapped(console, _orders(report.orders), indent="  ")
    order = [
        *([report.primary] if report.primary else []),
        *(name for name in report.metrics if name != report.primary),
    ]
    for name in order:
        console.print()
        console.print(_title(name, report))
        metric = report.metrics[name]
        if metric.reason:
            console.print(f"  cannot be had: {metric.reason}")
            continue
        console.print(_metric_table(metric, report))
        for note in _notes(metric, with_anytime=report.verdict is not None):
            _print_wrapped(console, note, indent="  ", style="dim")
    if report.verdict:
        _print_verdict(report, console)
    console.print()
    _print_wrapped(console, _legend(report), indent="", style="dim")


def print_plan(experiment: Experiment, baseline: Baseline, found: Sequence[Need], told: Sequence[str]) -> None:
    """Print what an experiment needs."""
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
    units = sum(row.units for row in report.variants)
    parts = [f"{units:,} units in {len(report.variants)} variants"]
    if report.window_days is not None:
        moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(report.as_of_ms / 1000))
        epochs = ", ".join(map(str, report.epochs)) or "none stored"
        parts = [f"as of {moment}", *parts, f"epoch {epochs}", f"{report.window_days}-day window"]
    console.print(" · ".join([*parts, f"{_level(report)} confidence"]), style="dim")
    if report.earlier_exposures:
        sentence = (
            f"{report.earlier_exposures:,} exposures are not read: weights, offers, unit or trigger have changed since."
        )
        _print_wrapped(console, sentence, indent="")
    if report.simulated:
        console.print("SIMULATED: these visitors and orders are made up.", style="bold yellow")


def _print_check(check: Check, console: Console) -> None:
    mark, style = _MARKS[check.passed]
    p_value = "" if check.p_value is None else f" (p {_p(check.p_value)})"
    body = textwrap.wrap(f"{check.name}: {check.detail}{p_value}", WIDTH - 5 - len(mark))
    line = Text("  ").append(mark, style=style).append(" " + ("\n" + " " * (3 + len(mark))).join(body))
    console.print(line)


def _print_verdict(report: Report, console: Console) -> None:
    verdict = report.verdict
    assert verdict is not None  # noqa: S101  the caller asked
    word, style = _DECISIONS[verdict.decision]
    console.print()
    console.print(Text("Verdict: ").append(word + (f" {verdict.variant}" if verdict.variant else ""), style=style))
    for reason in verdict.reasons:
        _print_wrapped(console, reason, indent="  ")


def _orders(orders: Mapping[str, int]) -> str:
    """Say what became of every order of the store."""
    said = {
        "elsewhere": "of others or outside their window",
        "without_unit": "without a visitor",
        "unverified": "unverified",
    }
    parts = [f"{n:,} {said.get(name, name)}" for name, n in orders.items() if name != "counted" and n]
    return f"{orders['counted']:,} orders counted{'; not counted: ' + ', '.join(parts) if parts else ''}."


def _legend(report: Report) -> str:
    together = "" if len(report.variants) == 2 else ", for all variants together"
    anytime = " The last column may be read on any day, as often as you like." if report.verdict else ""
    return f"Interval and p are meant for one reading at the planned end{together}.{anytime}"


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


def _metric_table(metric: MetricResult, report: Report) -> Table:
    value = _formatter(metric, report)
    control = next(iter(metric.moments))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("  variant", overflow="fold", max_width=30, min_width=13)
    lift_header = f"lift over {control}" if len(control) <= 8 else "lift over control"
    headers = {"units": 7, "value": 9, lift_header: 14, f"{_level(report)} interval": 17, "p": 6}
    if report.verdict:
        headers["on any day"] = 17
    for header, width in headers.items():
        table.add_column(header, justify="right", no_wrap=True, min_width=width)
    for key, arm in metric.moments.items():
        assert arm is not None  # noqa: S101  only a metric with a reason lacks moments
        cells = [f"  {key}", f"{arm.n:,}", "–" if arm.value is None else value(arm.value)]
        lift = metric.lifts.get(key)
        told = _lift_cells(lift) if lift else ["control" if key == control else "weight 0", "", "", ""]
        told = told[: len(headers) - 2]
        certain = lift is not None and (lift.simultaneous.p_value or 1) < 1 - report.confidence
        lifted, *others = told
        table.add_row(*map(Text, cells), Text(lifted, style="bold" if certain else ""), *map(Text, others))
    return table


def _lift_cells(lift: Lift) -> list[str]:
    family = lift.simultaneous
    return [
        _share(family.relative.estimate),
        _range(family.relative),
        _p(family.p_value),
        _range(lift.anytime.relative),
    ]


def _range(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return "–"
    return f"{_share(interval.low)} to {_share(interval.high)}"


def _share(share: float | None) -> str:
    if share is None:
        return "–"
    digits = 0 if abs(share) >= 1 else 1
    return f"{share:+.{digits}%}".replace("-", "−") if share < 100 else ">+9999%"


def _p(p_value: float | None) -> str:
    if p_value is None:
        return "–"
    if p_value < 0.0001:
        return "<.0001"
    return ">.999" if p_value > 0.999 else f"{p_value:.4f}".removeprefix("0")


def _level(report: Report) -> str:
    return f"{report.confidence * 100:.4g}%"


def _formatter(metric: MetricResult, report: Report) -> Callable[[float], str]:
    if metric.kind == "proportion":
        return lambda number: f"{number:.2%}"
    if metric.is_money and report.currency:
        currency = report.currency
        return lambda number: format_money(number * 10 ** exponent(currency), currency)
    return lambda number: f"{number:,.4f}" if abs(number) < 10_000 else f"{number:,.0f}"


def _notes(metric: MetricResult, *, with_anytime: bool) -> list[str]:
    """Say once why cells are empty."""
    reasons: dict[str, list[str]] = {}
    for key, lift in metric.lifts.items():
        for part, label in ((lift.simultaneous, "interval"), (lift.anytime, "on any day"))[: 1 + with_anytime]:
            reason = part.relative.reason or part.reason
            if reason:
                reasons.setdefault(f"{label}: {reason}", []).append(key)
    everywhere = len(metric.lifts)
    return [f"{why}." if len(keys) == everywhere else f"{', '.join(keys)}: {why}." for why, keys in reasons.items()]
