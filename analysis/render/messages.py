"""
Every sentence and label that a reader of reports meets, in one place.

Plain and exact: an interval is never called a probability, a difference that is not seen is never called none, and what
is certain is never called important. tests/analysis/render/test_messages.py forbids the usual misreadings.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from analysis.render import numbers
from analysis.reports.model import MetricResult, Report
from analysis.stats.comparisons.readings import Lift

DECISIONS = {
    "ship": "Ship",
    "stop": "Stop",
    "keep_running": "Keep running",
    "no_difference": "No difference that matters",
    "withheld": "Withheld",
}
DECISION_MEANS = {
    "ship": "It does better than the control on the metric that decides, and no guardrail has lost more than its margin.",
    "stop": "No variant is worth going on with.",
    "keep_running": "The data do not tell yet.",
    "no_difference": "Whatever difference there is, it is smaller than the one that the plan set out to see.",
    "withheld": "A trust check failed. Mend what it found first: no figure below can be believed until then.",
}
CHECKS = {
    "sample_ratio": "Units per variant as the weights say",
    "multiple_exposure": "One variant for each unit",
    "unmatched_orders": "Orders have a visitor",
    "pre_period": "Variants alike before the exposure",
    "bots": "Bots",
    "cost_coverage": "Costs are known",
    "too_good": "No effect beyond belief",
    "novelty": "Gains do not fade",
}
CHECK_STATES = {True: "passed", False: "FAILED", None: "cannot be told yet"}
FATES = {
    "elsewhere": "of visitors who are not in the experiment, or outside their window",
    "without_unit": "without a visitor",
    "unverified": "unverified",
}
STEPS = {
    "exposed": "Exposed",
    "seen": "Saw the offer",
    "clicked": "Clicked it",
    "added": "Added it to the cart",
    "declined": "Declined it",
    "bought": "Bought anything",
}
FACTORS = {
    "conversion": "Share who buy",
    "orders_per_buyer": "Orders per buyer",
    "average_order_value": "Average order value",
    "revenue_per_visitor": "Revenue per visitor",
}
CENTRES = {"mean": "mean (solid line)", "median": "median (dashed)", "mode": "most frequent value (dotted)"}

TRUST = "Can it be trusted?"
LEFT_OUT = "What was left out, and why"
METHODS_TITLE = "Methods and definitions"
NOTHING_YET = "Nothing to report yet"
REFUSED = "No report"
REFUSED_MEANS = "Figures that would mix what cannot be added up are worse than none: mend the data, then ask again."
SIMULATED = "SIMULATED: these visitors and orders are made up."
NO_EXPOSURES = "No exposures of this experiment in the store yet: there is nothing to report."
EXPLAINS = "It looks only at those who bought: it explains, and never decides."
DECIDES = "decides"
MIND = "Not to be believed yet: {checks} failed."
EARLY = "The planned size has not been reached: until then only the last column may be read."
ONE_READING = "Interval and p hold for one reading, at the planned size{together}."
ONE_READING_OF_A_FILE = "Interval and p hold for one reading, at a size that was fixed before{together}."
ANY_DAY = "The last column holds on every day it is read."
FOREST_NOTE = (
    "Dot: estimate. Thick line: {level} interval for one reading at the planned size. Thin line: holds on any day."
)
FOREST_NOTE_FIXED = "Dot: estimate. Thick line: {level} interval for one reading."
FACTORS_NOTE = "Bars: the change of each factor. Thin lines: {level} intervals, for one reading at the planned size."
GUARD_NOTE = (
    "Thin line: gain or loss, holds on any day. Upright mark: the margin; the whole line must stay to the right of it."
)
ANY_DAY_BAND = "The band is always valid: it may be looked at daily. A dashed line marks the day on which the planned size is expected."
SINCE = (
    "Units followed at least that long. A gain that fades with the days is a novelty; each day's interval is its own."
)
SEGMENTS = (
    "Segments suggest what to try next; they do not decide. p are corrected for the number of segments and variants."
)
FUNNEL = "What was seen and done does not decide: only the exposed, in all variants alike, can be compared."
OTHERWISE = "The same comparisons read otherwise; the verdict does not rest on these"
ALONE = "this comparison alone"
ADJUSTED = "adjusted for {covariate}"
CAPPED = "the largest values capped at {cap}"
LOOK = "at planned look {number} of {looks}"
CUT = "An arrow marks an interval that goes on beyond the picture."

METHODS = (
    ("Unit", "Whoever was exposed at the trigger, in the control too, buyer or not. All figures are per unit, not per order or page view."),
    ("Lift", "How much higher or lower a variant's value is than the control's, as a share of the control's. pp are percentage points."),
    ("Interval", "Made by a method that holds the true lift in {level} of experiments, for all variants of a metric together (Dunnett)."),
    ("On any day", "An always-valid interval (a confidence sequence): reading it daily, and stopping when it pleases, does not spoil it. The verdict rests on it alone."),
    ("p", "How often variants that do not differ would show a difference at least this large. It does not say how large or how likely an effect is."),
    ("Mean, shares", "Means are compared by Welch's t and Fieller's intervals, shares of units by score tests and intervals, sums over sums by the delta method."),
    ("Adjusted", "The same comparison with what each unit did before its exposure taken out, which narrows the interval and moves nothing on average."),
    ("Why it moved", "Revenue per visitor = share who buy × orders per buyer × average order value; the three log lifts add up to the first."),
    ("Segments", "Read to find ideas, not to decide: p are corrected for their number (Holm). Whether the effect differs is Cochran's Q."),
)  # fmt: skip


def metric_title(name: str) -> str:
    """Give a metric's name as a reader says it."""
    return name.replace("_", " ")


def readable(text: str, report: Report) -> str:
    """Write the metrics' names in a sentence as a reader says them."""
    for name in report.metrics:
        text = text.replace(name, metric_title(name)) if report.currency else text
    return text


def headline(report: Report) -> str:
    """Give the verdict in a few words."""
    verdict = report.verdict
    if verdict is None:
        return "Compared, without a verdict"
    if verdict.decision == "ship":
        return f"Ship {verdict.variant}"
    if verdict.decision == "stop":
        return f"Stop: keep {report.variants[0].key}"
    return "Verdict withheld" if verdict.decision == "withheld" else DECISIONS[verdict.decision]


def about(report: Report) -> list[str]:
    """Say what was read: when, how many units, which epochs."""
    units = sum(row.units for row in report.variants)
    parts = [f"{units:,} units in {len(report.variants)} variants"]
    if report.window_days is not None:
        moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(report.as_of_ms / 1000))
        epochs = ", ".join(map(str, report.epochs)) or "none stored"
        parts = [f"as of {moment}", *parts, f"epoch {epochs}", f"{report.window_days}-day window"]
    return [*parts, f"{numbers.level(report.confidence)} confidence"]


def failed(report: Report) -> list[str]:
    """Give the names of the trust checks that failed."""
    return [check.name for check in report.checks if check.passed is False]


def orders_sentence(orders: Mapping[str, int]) -> str:
    """Say what became of every order of the store."""
    said = {**FATES, "elsewhere": "of others or outside their window"}
    parts = [f"{n:,} {said.get(name, name)}" for name, n in orders.items() if name != "counted" and n]
    return f"{orders['counted']:,} orders counted{'; not counted: ' + ', '.join(parts) if parts else ''}."


def orders_counted(orders: Mapping[str, int]) -> str:
    """Say how many orders count."""
    return f"{orders['counted']:,} orders counted."


def left_out(report: Report) -> list[tuple[str, str]]:
    """Give what was not read, or does not count, and why."""
    found = [(check.name, check.detail) for check in report.checks if check.name in ("multiple_exposure", "bots")]
    rows = [(CHECKS[name], detail) for name, detail in found]
    for name, n in (report.orders or {}).items():
        if name != "counted" and n:
            rows.append(("Orders", f"{n:,} {FATES.get(name, name)}"))
    if report.earlier_exposures:
        rows.append(("Earlier exposures", earlier(report)))
    if report.to_dict()["weights_changed"]:
        rows.append(("Weights", "They were changed on the way: variants are compared within each set of weights."))
    return rows


def earlier(report: Report) -> str:
    """Say why exposures of earlier epochs were not read."""
    return f"{report.earlier_exposures:,} exposures are not read: weights, offers, unit or trigger have changed since."


def money_sentence(report: Report) -> str | None:
    """Say what the variant that leads would bring in a month; None where that cannot be had, or must not be believed."""
    verdict = report.verdict
    if verdict is None or verdict.decision == "withheld":
        return None
    money = verdict.monthly_value
    if money.get("low") is None:
        return None
    currency = report.currency or "USD"
    metric = str(money["metric"]).removesuffix("_per_visitor")
    low, high = (numbers.round_money(money[end], currency) for end in ("low", "high"))
    scope = f"if all {money['units']:,} units of 30 days met {money['variant']}"
    estimate = numbers.round_money(money["estimate"], currency)
    return f"{metric.capitalize()} over the control's, {scope}: {estimate} ({low} to {high} on any day)."


def waiting(report: Report) -> str | None:
    """Say how long there is to wait."""
    verdict = report.verdict
    if verdict is None:
        return None
    if verdict.days_left:
        days = "day" if verdict.days_left == 1 else "days"
        return f"At the pace so far the planned size is {verdict.days_left:,} {days} away."
    if verdict.decision == "keep_running" and verdict.days_left == 0:
        return "The planned size has been reached: more days will change little."
    return None


def legend(report: Report) -> str:
    """Say how intervals and p may be read."""
    together = "" if len(report.variants) == 2 else ", for all variants together"
    if report.verdict is None:
        return ONE_READING_OF_A_FILE.format(together=together)
    return f"{ONE_READING.format(together=together)} {ANY_DAY}"


def notes(metric: MetricResult, report: Report) -> list[str]:
    """Say what the units' history and caps change, and once why cells are empty."""
    told = [] if metric.reason is None else [f"No interval: {metric.reason}."]
    for key, lift in metric.lifts.items():
        told += [f"{key}: {sentence}" for sentence in _beside(lift, metric, report)]
    reasons: dict[str, list[str]] = {}
    anytime = report.verdict is not None or any(lift.anytime.p_value is not None for lift in metric.lifts.values())
    for key, lift in metric.lifts.items():
        for part, label in ((lift.simultaneous, "interval"), (lift.anytime, "on any day"))[: 1 + anytime]:
            reason = part.relative.reason or part.reason
            if reason:
                reasons.setdefault(f"{label}: {reason}", []).append(key)
    for why, keys in reasons.items():
        told.append(f"{why}." if len(keys) == len(metric.lifts) else f"{', '.join(keys)}: {why}.")
    return told


def _beside(lift: Lift, metric: MetricResult, report: Report) -> Iterator[str]:
    other = lift.adjusted
    if other is not None and (other.variance_saved or 0) > 0.01:
        yield f"{_read(other.lift)} adjusted for {other.covariate}; {other.variance_saved:.0%} less variance."
    if lift.capped is not None and _holds_no_zero(lift, report) != _holds_no_zero(lift.capped.lift, report):
        cap = value(lift.capped.high, metric, report)
        yield f"{_read(lift.capped.lift)} with the largest values capped at {cap}: a few of them matter."
    if lift.across_metrics and lift.across_metrics.p_value is not None:
        yield f"p {numbers.p(lift.across_metrics.p_value)} held together with the other secondary metrics."


def _read(lift: Lift) -> str:
    family = lift.simultaneous.relative
    return f"{numbers.share(lift.relative.estimate)} ({numbers.share_range(family.low, family.high)})"


def _holds_no_zero(lift: Lift, report: Report) -> bool:
    return lift.simultaneous.p_value is not None and lift.simultaneous.p_value < 1 - report.confidence


def value(amount: float | None, metric: MetricResult, report: Report) -> str:
    """Write a metric's value: percent, money or a number."""
    if amount is None:
        return numbers.NONE
    if metric.kind == "proportion":
        return f"{amount:.2%}"
    if metric.is_money and report.currency:
        return numbers.money(amount, report.currency)
    return numbers.number(amount)


def difference(amount: float | None, metric: MetricResult, report: Report, beside: float | None = None) -> str:
    """Write a difference of two values of a metric, with its sign: percentage points, money (as `figures.money`) or a number."""
    if amount is None:
        return numbers.NONE
    if metric.kind == "proportion":
        return numbers.points(amount)
    if metric.is_money and report.currency:
        return numbers.money(amount, report.currency, signed=True, beside=beside)
    return numbers.number(amount, signed=True)


def changed_parts(key: str, parts: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Say in a sentence why revenue per visitor moved; None where it cannot be told."""
    import math

    told = {name: part["log_lift"] for name, part in parts.items()}
    if None in told.values():
        return None
    changes = {name: numbers.share(math.expm1(lift)) for name, lift in told.items()}
    return (
        f"{key}: {changes['revenue_per_visitor']} revenue = {changes['conversion']} buyers × "
        f"{changes['orders_per_buyer']} orders each × {changes['average_order_value']} order value"
    )


def mode_sentence(key: str, arm: Mapping[str, Any]) -> str | None:
    """Say whether the most frequent price band of a variant has moved."""
    moved = arm.get("modal_band_moved")
    if moved is None:
        return None
    if moved["moved"] is None:
        return f"{key}: whether the most frequent price band moved cannot be told: {moved['reason']}."
    if not moved["moved"]:
        return f"{key}: no move of the most frequent price band can be told from chance."
    return f"{key}: the most frequent price band moved {'up' if moved['up'] > moved['down'] else 'down'}."


def chances(bayesian: Mapping[str, Any]) -> str | None:
    """Give the second voice's sentence."""
    told = {key: one["probability_best"] for key, one in bayesian["variants"].items()}
    if None in told.values():
        return None
    each = ", ".join(f"{key} {chance:.0%}" for key, chance in told.items())
    return f"A second voice, with flat priors: the chance to have the best {bayesian['metric']}: {each}."


def beside_sentence(other: str, one: Mapping[str, Any]) -> str:
    """Say whether another experiment changes this one's effect."""
    told = "cannot be told: " + one["reason"] if one["p_value"] is None else f"p {numbers.p(one['p_value'])}"
    return f"Does {other} change the effect? {told}; {one['units']:,} units met both."


def differs(name: str, segment: Mapping[str, Any]) -> list[str]:
    """Say for each variant whether its effect differs between segments."""
    told = []
    for key, one in segment["interaction"].items():
        p_value = one.get("corrected_p_value")
        if p_value is None:
            told.append(f"{key}: whether the effect differs by {metric_title(name)} cannot be told: {one['reason']}.")
        else:
            told.append(f"{key}: does the effect differ by {metric_title(name)}? p {numbers.p(p_value)}, corrected.")
    return told


# The dashboard.
STATUSES = {"draft": "draft", "running": "running", "paused": "paused", "ended": "ended"}
WORKING = "Being worked out: this page shows it as soon as it is there."
BEHIND = "Newer events are being worked in."
AS_OF = "Worked out {age}, in {took:.1f} s."
HEALTHY = "checks passed"
UNHEALTHY = "FAILED: {checks}"
NO_SERVER = "Rejected requests and reload errors of the running server are known with `--server http://HOST:PORT`."
NOT_LOADED = "The declarations in the folder cannot be read; what was read before is shown."
NO_ARRIVALS = "No exposures in the last 60 minutes."
OUTCOMES = {"accepted": "accepted", "duplicate": "sent again", "rejected": "rejected"}
UNMATCHED = "{n:,} of {total:,} counted orders ({share:.1%}) have no visitor."
PREVIEW = "A link shows its variant to whoever opens it for 24 hours, and is never logged as an exposure."
