"""The report in a terminal of 100 columns; useful without colour, and never red against green."""

import math
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.lifts import Interval, Lift
from analysis.plan import WEEKS, Baseline, Need
from analysis.results import MetricResult, Report
from analysis.trust import Check
from analysis.verdict import Verdict
from experiments.declaration import Experiment
from experiments.money import exponent, format_money

if TYPE_CHECKING:
    from analysis.aa_check import ErrorRate

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
    _print_checks(report.checks, console)
    if report.orders is not None:
        _print_wrapped(console, _orders(report.orders), indent="  ")
    order = [
        *([report.primary] if report.primary else []),
        *(name for name in report.metrics if name != report.primary),
    ]
    for name in order:
        _print_metric(name, report, console)
    if report.details:
        console.print()
        _print_details(report, console)
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


def _print_checks(checks: Sequence[Check], console: Console) -> None:
    for check in checks:
        if check.passed is False or check.name in ("sample_ratio", "multiple_exposure"):
            _print_check(check, console)
    for passed, words in ((True, "passed too: {}"), (None, "not yet to be told: {}")):
        names = [one.name for one in checks[2:] if one.passed is passed]
        if names:
            mark, style = _MARKS[passed]
            console.print(Text("  ").append(mark, style=style).append(" " + words.format(", ".join(names))))


def _print_metric(name: str, report: Report, console: Console) -> None:
    console.print()
    console.print(_title(name, report))
    metric = report.metrics[name]
    if metric.reason:
        _print_wrapped(console, f"cannot be had: {metric.reason}", indent="  ")
        return
    console.print(_metric_table(metric, report))
    for note in _notes(metric, with_anytime=report.verdict is not None):
        _print_wrapped(console, note, indent="  ", style="dim")


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
    for sentence in _outlook(verdict, report):
        _print_wrapped(console, sentence, indent="  ")


def _outlook(verdict: Verdict, report: Report) -> Iterator[str]:
    """Say what the leading variant would bring in a month, and how long there is to wait."""
    money = verdict.monthly_value
    currency = report.currency or "USD"

    def told(amount: float) -> str:
        shown = format_money(abs(round(amount)) * 10 ** exponent(currency), currency).removesuffix(".00")
        return ("+" if amount >= 0 else "−") + shown

    if money.get("low") is not None:
        metric = str(money["metric"]).removesuffix("_per_visitor")
        span = f"{told(money['low'])} to {told(money['high'])} on any day"
        scope = f"if all {money['units']:,} units of 30 days met {money['variant']}"
        yield f"{metric.capitalize()} over the control's, {scope}: {told(money['estimate'])} ({span})."
    if verdict.days_left:
        yield f"At the pace so far the planned size is {verdict.days_left:,} days away."
    elif verdict.decision == "keep_running" and verdict.days_left == 0:
        yield "The planned size has been reached: more days will change little."


def _print_details(report: Report, console: Console) -> None:
    """Print what explains the result, as far as it fits a screen; JSON has it all."""
    decomposition = report.details.get("decomposition") or {}
    for key, parts in decomposition.items():
        told = {name: part["log_lift"] for name, part in parts.items()}
        if None not in told.values():
            changes = {name: _share(math.expm1(lift)) for name, lift in told.items()}
            sentence = (
                f"{key}: {changes['revenue_per_visitor']} revenue = {changes['conversion']} buyers × "
                f"{changes['orders_per_buyer']} orders each × {changes['average_order_value']} order value"
            )
            _print_wrapped(console, sentence, indent="  ")
    for name, segment in (report.details.get("segments") or {}).items():
        for key, one in segment["interaction"].items():
            p_value = one.get("corrected_p_value")
            if p_value is not None and p_value < 1 - report.confidence:
                values = {
                    value: found["lifts"][key]["relative"]["estimate"] for value, found in segment["values"].items()
                }
                told_by = ", ".join(f"{value} {_share(share)}" for value, share in values.items())
                sentence = f"{key}: the effect differs by {name} (p {_p(p_value)}, corrected): {told_by}."
                _print_wrapped(console, sentence, indent="  ")
    for other, one in (report.details.get("interactions") or {}).items():
        told_of = "cannot be told: " + one["reason"] if one["p_value"] is None else f"p {_p(one['p_value'])}"
        _print_wrapped(
            console, f"Does {other} change the effect? {told_of}; {one['units']:,} units met both.", indent="  "
        )
    bayesian = report.details.get("bayesian")
    if bayesian:
        chances = {key: one["probability_best"] for key, one in bayesian["variants"].items()}
        if None not in chances.values():
            told_chances = ", ".join(f"{key} {chance:.0%}" for key, chance in chances.items())
            sentence = (
                f"A second voice, with flat priors: the chance to have the best {bayesian['metric']}: {told_chances}."
            )
            _print_wrapped(console, sentence, indent="  ")


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
    """Say what the units' history and caps change, and once why cells are empty."""
    notes = []
    for key, lift in metric.lifts.items():
        other = lift.adjusted
        if other is not None and (other.variance_saved or 0) > 0.01:
            told = f"{_share(other.lift.relative.estimate)} ({_range(other.lift.simultaneous.relative)})"
            notes.append(f"{key}: {told} adjusted for {other.covariate}; {other.variance_saved:.0%} less variance.")
        if lift.capped is not None and _certain(lift) != _certain(lift.capped.lift):
            told = f"{_share(lift.capped.lift.relative.estimate)} ({_range(lift.capped.lift.simultaneous.relative)})"
            notes.append(
                f"{key}: {told} with the largest values capped at {lift.capped.high:,.2f}: a few of them matter."
            )
    reasons: dict[str, list[str]] = {}
    for key, lift in metric.lifts.items():
        for part, label in ((lift.simultaneous, "interval"), (lift.anytime, "on any day"))[: 1 + with_anytime]:
            reason = part.relative.reason or part.reason
            if reason:
                reasons.setdefault(f"{label}: {reason}", []).append(key)
    for why, keys in reasons.items():
        notes.append(f"{why}." if len(keys) == len(metric.lifts) else f"{', '.join(keys)}: {why}.")
    return notes


def _certain(lift: Lift) -> bool:
    return lift.simultaneous.p_value is not None and lift.simultaneous.p_value < 0.05
