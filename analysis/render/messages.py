"""
Every sentence and label around a report; those of trust checks and verdicts are in `reports/messages.py`.

Plain and exact: an interval is never called a probability, no difference seen is never called no difference, and statistically
significant is never called important. tests/analysis/render/test_messages.py forbids the usual misreadings.
"""

import math
import time
from collections.abc import Iterator

from analysis.render import numbers
from analysis.reports.model import (
    Check,
    CrossEffects,
    Decomposition,
    Lift,
    MetricResult,
    OrderTotals,
    OrderValues,
    Posteriors,
    Report,
    SegmentResult,
)
from experiments.plurals import plural

DECISIONS = {
    "ship": "Ship",
    "stop": "Stop",
    "keep_running": "Keep running",
    "no_difference": "No difference that matters",
    "withheld": "Withheld",
}
DECISION_MEANS = {
    "ship": "It is better than the control on the primary metric, and no guardrail has lost more than its margin.",
    "stop": "No variant is worth continuing with.",
    "keep_running": "Not enough data yet.",
    "no_difference": "If there is a difference, it is smaller than the minimum effect of the plan.",
    "withheld": "A trust check failed. Fix the cause first: no figure below can be believed until then.",
}
CHECK_STATES = {True: "passed", False: "FAILED", None: "not enough data yet"}
CHECKS_PASSED = "also passed: {names}"
CHECKS_OPEN = "not enough data yet: {names}"
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
    "conversion": "Conversion",
    "orders_per_buyer": "Orders per buyer",
    "average_order_value": "Average order value",
    "revenue_per_visitor": "Revenue per visitor",
}
CENTRES = {"mean": "mean (solid line)", "median": "median (dashed)", "mode": "most frequent value (dotted)"}

TRUST = "Can it be trusted?"
LEFT_OUT = "What is not counted, and why"
METHODS_TITLE = "Methods and definitions"
NOTHING_YET = "Nothing to report yet"
REFUSED = "No report"
REFUSED_MEANS = "Figures that mix what cannot be added up are worse than none: fix the data, then run the report again."
SIMULATED = "SIMULATED: these visitors and orders are not real."
NO_EXPOSURES = "The store has no exposures of this experiment yet: there is nothing to report."
EXPLAINS = "Only units that bought are in it: it explains the result, and never decides."
DECIDES = "primary metric"
EXPLAINS_SHORT = "explains the result, never decides: only units that bought are in it"
NOT_COMPUTED = "cannot be computed: {reason}"
MIND = "Do not use these figures yet: {checks} failed."
EARLY = "The planned sample size is not reached: until then only the last column may be read."
ONE_READING = "Interval and p are valid for one reading, at the planned sample size{together}."
ONE_READING_OF_A_FILE = (
    "Interval and p are valid for one reading, at a sample size that was fixed in advance{together}."
)
TOGETHER = ", for all variants together"
ANY_DAY = "The last column is valid on any day."
FOREST_NOTE = "Dot: estimate. Thick line: {level} interval for one reading at the planned sample size. Thin line: valid on any day."
FOREST_NOTE_FIXED = "Dot: estimate. Thick line: {level} interval for one reading."
FACTORS_NOTE = (
    "Bars: the change of each factor. Thin lines: {level} intervals, for one reading at the planned sample size."
)
GUARD_NOTE = (
    "Thin line: gain or loss, valid on any day. Upright mark: the margin; the whole line must stay to the right of it."
)
ANY_DAY_BAND = "The band is always valid: you may read it daily. A dashed line marks the day on which the planned sample size is expected."
SINCE = (
    "Units that have been followed at least that long. A gain that fades with the days is a novelty effect. "
    "Each day has an interval of its own."
)
SEGMENTS = "Segments suggest what to test next; they do not decide. p-values are corrected for the number of segments and variants."
FUNNEL = "These steps do not decide: only exposed units, which all variants have, can be compared."
OTHERWISE = "Other readings of the same comparisons; the verdict does not use them"
ALONE = "this comparison alone"
ADJUSTED = "adjusted for {covariate}"
CAPPED = "the largest values capped at {cap}"
LOOK = "at planned look {number} of {looks}"
CUT = "An arrow marks an interval that continues beyond the chart."

METHODS = (
    ("Unit", "A visitor, customer or company that was exposed at the trigger, in the control too, buyer or not. All figures are per unit, not per order or page view."),
    ("Lift", "How much higher or lower the value of a variant is than that of the control, as a share of the control. pp are percentage points."),
    ("Interval", "Computed by a method that includes the true lift in {level} of experiments, for all variants of a metric together (Dunnett)."),
    ("On any day", "An always-valid interval (a confidence sequence): you may read it daily and stop at any time. The verdict uses it alone."),
    ("p", "How often variants that do not differ would show a difference at least this large. It does not say how large or how likely an effect is."),
    ("Tests", "Means are compared by Welch's t and Fieller's intervals, shares of units by score tests and intervals, ratios of sums by the delta method."),
    ("Adjusted", "The same comparison after removing what each unit's behaviour before its exposure explains (CUPED). It narrows the interval, and changes nothing on average."),
    ("Why it moved", "Revenue per visitor = conversion × orders per buyer × average order value; the three log lifts add up to the first."),
    ("Segments", "For ideas, not for decisions: p-values are corrected for their number (Holm). Cochran's Q tests whether the effect differs."),
)  # fmt: skip


def sentence(text: str) -> str:
    """Return a text as a sentence."""
    return f"{text[:1].upper()}{text[1:]}."


def metric_title(name: str) -> str:
    """Return the name of a metric in words."""
    return name.replace("_", " ")


def readable(text: str, report: Report) -> str:
    """Replace the names of metrics in a sentence by words."""
    for name in report.metrics:
        text = text.replace(name, metric_title(name)) if report.currency else text
    return text


def headline(report: Report) -> str:
    """Return the verdict in a few words."""
    verdict = report.verdict
    if verdict is None:
        return "Comparison without a verdict"
    if verdict.decision == "ship":
        return f"Ship {verdict.variant}"
    if verdict.decision == "stop":
        return f"Stop: keep {report.variants[0].key}"
    return "Verdict withheld" if verdict.decision == "withheld" else DECISIONS[verdict.decision]


def about(report: Report) -> list[str]:
    """Say what was read: when, how many units, which epochs."""
    units = sum(row.units for row in report.variants)
    parts = [f"{units:,} {plural(units, 'unit', 'units')} in {len(report.variants)} variants"]
    if report.window_days is not None:
        moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(report.as_of_ms / 1000))
        epochs = ", ".join(map(str, report.epochs)) or "none"
        parts = [f"as of {moment}", *parts, f"epoch {epochs}", f"{report.window_days}-day window"]
    return [*parts, f"{numbers.level(report.confidence)} confidence"]


def failed(report: Report) -> list[Check]:
    """Return the trust checks that failed."""
    return [check for check in report.checks if check.passed is False]


def leading_variant(report: Report) -> str:
    """Return the variant that the guardrails are of: the one to ship, or else the one that leads."""
    verdict = report.verdict
    if verdict is None or verdict.monthly_value is None:
        return ""
    return verdict.variant or verdict.monthly_value.variant or ""


def orders_sentence(orders: OrderTotals) -> str:
    """Say what became of every order of the store."""
    labels = {**FATES, "elsewhere": "of other visitors, or outside the window"}
    parts = [f"{n:,} {labels.get(name, name)}" for name, n in orders.to_dict().items() if name != "counted" and n]
    return f"{_counted(orders)}{'; not counted: ' + ', '.join(parts) if parts else ''}."


def orders_counted(orders: OrderTotals) -> str:
    """Say how many orders count."""
    return f"{_counted(orders)}."


def _counted(orders: OrderTotals) -> str:
    return f"{orders.counted:,} {plural(orders.counted, 'order', 'orders')} counted"


def left_out(report: Report) -> list[tuple[str, str]]:
    """Return what was not read, or does not count, and why."""
    rows = [(check.label, check.detail) for check in report.checks if check.name in ("multiple_exposure", "bots")]
    for name, n in report.orders.to_dict().items() if report.orders else ():
        if name != "counted" and n:
            rows.append(("Orders", f"{n:,} {FATES.get(name, name)}"))
    if report.earlier_exposures:
        rows.append(("Earlier exposures", earlier(report)))
    if report.weights_changed:
        rows.append(
            ("Weights", "They changed during the experiment: variants are compared within each set of weights.")
        )
    return rows


def earlier(report: Report) -> str:
    """Say why exposures of earlier epochs were not read."""
    n = report.earlier_exposures
    exposures = plural(n, "earlier exposure is", "earlier exposures are")
    return f"{n:,} {exposures} not read: variants, unit, trigger or salt have changed since."


def money_sentence(report: Report) -> str | None:
    """Say what the leading variant would bring in a month; None where that is unknown, or must not be believed."""
    verdict = report.verdict
    if verdict is None or verdict.decision == "withheld":
        return None
    value = verdict.monthly_value
    if value is None or value.estimate is None or value.low is None or value.high is None:
        return None
    currency = report.currency or "USD"
    metric = str(value.metric).removesuffix("_per_visitor").capitalize()
    estimate, low, high = (numbers.round_money(end, currency) for end in (value.estimate, value.low, value.high))
    scope = f"if all {value.units:,} units of 30 days saw {value.variant}"
    return f"{metric} compared with the control, {scope}: {estimate} ({low} to {high} on any day)."


def waiting(report: Report) -> str | None:
    """Say how long the experiment still has to run."""
    verdict = report.verdict
    if verdict is None:
        return None
    if verdict.days_left:
        days = plural(verdict.days_left, "day", "days")
        return f"At the current pace, the planned sample size is reached in {verdict.days_left:,} {days}."
    if verdict.decision == "keep_running" and verdict.days_left == 0:
        return "The planned sample size is reached: more days will change little."
    return None


def legend(report: Report) -> str:
    """Say how intervals and p-values may be read."""
    together = "" if len(report.variants) == 2 else TOGETHER
    if report.verdict is None:
        return ONE_READING_OF_A_FILE.format(together=together)
    return f"{ONE_READING.format(together=together)} {ANY_DAY}"


def notes(metric: MetricResult, report: Report) -> list[str]:
    """Say what adjusting and capping change, and once why cells are empty."""
    sentences = [] if metric.reason is None else [f"No interval: {metric.reason}."]
    for key, lift in metric.lifts.items():
        sentences += [f"{key}: {sentence}" for sentence in _other_readings(lift, metric, report)]
    reasons: dict[str, list[str]] = {}
    anytime = report.verdict is not None or any(lift.anytime.p_value is not None for lift in metric.lifts.values())
    for key, lift in metric.lifts.items():
        for part, label in ((lift.simultaneous, "interval"), (lift.anytime, "on any day"))[: 1 + anytime]:
            reason = part.relative.reason or part.reason
            if reason:
                reasons.setdefault(f"{label}: {reason}", []).append(key)
    for why, keys in reasons.items():
        sentences.append(f"{why}." if len(keys) == len(metric.lifts) else f"{', '.join(keys)}: {why}.")
    return sentences


def _other_readings(lift: Lift, metric: MetricResult, report: Report) -> Iterator[str]:
    adjusted = lift.adjusted
    if adjusted is not None and (adjusted.variance_saved or 0) > 0.01:
        yield f"{_read(adjusted.lift)} adjusted for {adjusted.covariate}; {adjusted.variance_saved:.0%} less variance."
    if lift.capped is not None and _excludes_zero(lift, report) != _excludes_zero(lift.capped.lift, report):
        cap = value(lift.capped.high, metric, report)
        yield f"{_read(lift.capped.lift)} with the largest values capped at {cap}: a few large orders matter."
    if lift.across_metrics and lift.across_metrics.p_value is not None:
        yield f"p {numbers.p(lift.across_metrics.p_value)} corrected for the number of secondary metrics."


def _read(lift: Lift) -> str:
    family = lift.simultaneous.relative
    return f"{numbers.share(lift.relative.estimate)} ({numbers.share_range(family.low, family.high)})"


def _excludes_zero(lift: Lift, report: Report) -> bool:
    return lift.simultaneous.p_value is not None and lift.simultaneous.p_value < 1 - report.confidence


def value(amount: float | None, metric: MetricResult, report: Report) -> str:
    """Write the value of a metric: percent, money or a number."""
    if amount is None:
        return numbers.NONE
    if metric.kind == "proportion":
        return f"{amount:.2%}"
    if metric.is_money and report.currency:
        return numbers.money(amount, report.currency)
    return numbers.number(amount)


def difference(amount: float | None, metric: MetricResult, report: Report, scale: float | None = None) -> str:
    """Write a difference of two values of a metric, with its sign: percentage points, money (as `numbers.money`) or a number."""
    if amount is None:
        return numbers.NONE
    if metric.kind == "proportion":
        return numbers.points(amount)
    if metric.is_money and report.currency:
        return numbers.money(amount, report.currency, signed=True, scale=scale)
    return numbers.number(amount, signed=True)


def money(amount: float | None, currency: str) -> str:
    """Write an amount of money."""
    return numbers.NONE if amount is None else numbers.money(amount, currency)


def decomposition(key: str, decomposed: Decomposition) -> str | None:
    """Say in a sentence why revenue per visitor moved; None where that cannot be computed."""
    lifts = {name: factor.log_lift for name, factor in decomposed.factors.items() if factor.log_lift is not None}
    if len(lifts) < len(decomposed.factors):
        return None
    changes = {name: numbers.share(math.expm1(lift)) for name, lift in lifts.items()}
    return (
        f"{key}: {changes['revenue_per_visitor']} revenue = {changes['conversion']} conversion × "
        f"{changes['orders_per_buyer']} orders per buyer × {changes['average_order_value']} order value"
    )


def mode_sentence(key: str, arm: OrderValues) -> str | None:
    """Say whether the most frequent price band of a variant has moved."""
    shift = arm.modal_band_moved
    if shift is None:
        return None
    if shift.moved is None:
        return f"{key}: not enough data to see whether the most frequent price band moved: {shift.reason}."
    if not shift.moved:
        return f"{key}: the most frequent price band has not moved by more than random variation."
    return f"{key}: the most frequent price band moved {'up' if (shift.up or 0) > (shift.down or 0) else 'down'}."


def chances(posteriors: Posteriors) -> str | None:
    """Say which variant has the best chances by flat priors; None where they cannot be computed."""
    chances = {key: posterior.probability_best for key, posterior in posteriors.variants.items()}
    if None in chances.values():
        return None
    each = ", ".join(f"{key} {chance:.0%}" for key, chance in chances.items())
    return f"Bayesian reading, with flat priors: the chance to have the best {metric_title(posteriors.metric)}: {each}."


def other_experiment(key: str, effects: CrossEffects) -> str:
    """Say whether another experiment changes the effect of this one."""
    answer = f"not enough data: {effects.reason}" if effects.p_value is None else f"p {numbers.p(effects.p_value)}"
    return f"Does {key} change the effect? {answer}; {effects.units:,} units met both."


def differs(name: str, segment: SegmentResult) -> list[str]:
    """Say for each variant whether its effect differs between segments."""
    title = metric_title(name)
    return [
        f"{key}: not enough data to see whether the effect differs by {title}: {test.reason}."
        if test.corrected_p_value is None
        else f"{key}: does the effect differ by {title}? p {numbers.p(test.corrected_p_value)}, corrected."
        for key, test in segment.breakdown.interaction.items()
    ]


# Planning.
PLAN_ORIGIN = "From {origin}: {units:,.0f} eligible units a day."
PLAN_TERMS = "{confidence:g}% confidence over all variants together, {power:g}% power."
PLAN_UNKNOWN = "Nothing is known of {metrics}: give --visitors-per-day and --conversion."
PLAN_ENOUGH = "This shop has enough traffic for it."
PLAN_WEEKS = "The last columns: the smallest effect that can be detected after so many weeks. Run whole weeks, since weekends differ."
AA_CHECK = (
    "In {tests:,} tests in which nothing differed, a sound metric alarms in 5%. Where the rate is above the expected range, "
    "do not use the p-values and intervals of that metric on this shop's data."
)
