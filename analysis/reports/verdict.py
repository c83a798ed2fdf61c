"""
Ship, stop, or keep running: a rule over always-valid intervals, so that it may be read on any day.

Beside the decision stands what the variant that leads would bring in a month, and how long there is to wait.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

from analysis.planning.plan import Baseline, needs, taking_part, variation_of
from analysis.queries.study import Study
from analysis.reports import messages
from analysis.reports.model import Check, Guardrail, Interval, Lift, MetricResult, MonthlyValue, Verdict
from events.clock import DAY_MS
from experiments.declarations.model import Experiment, declared_dict

MONTH_DAYS = 30
MIN_SHARE = 1e-4  # of the traffic; fewer are stray units of an experiment that was stopped so
_VALUES = ("revenue_per_visitor", "margin_per_visitor")

Guardrails = Mapping[str, Guardrail]
Better = Literal["higher", "lower"]


def decide(
    experiment: Experiment, metrics: Mapping[str, MetricResult], checks: Iterable[Check]
) -> tuple[Guardrails, Verdict]:
    """
    Decide by rule.

    Ship the best of the variants whose primary metric is better than the control's with every guardrail above its margin; stop
    when every variant is worse than the control, or below the margin of a guardrail; say that there is no difference when every
    interval lies within the minimum effect of the plan. Where lower is better, gains and losses change places.

    Returns:
        The guardrails of the variant that leads (or ships), and the verdict.
    """
    primary = metrics[experiment.metrics.primary]
    guardrails = {key: _guardrails(experiment, metrics, key) for key in primary.lifts}
    failed = [check for check in checks if check.passed is False]
    verdict = _withheld(failed) or _decide(experiment, primary, guardrails)
    leading = verdict.variant or leader(primary)
    return ({} if leading is None else guardrails[leading]), verdict


def leader(primary: MetricResult) -> str | None:
    """Return the variant with the best estimate; None where no variant takes part."""
    return max(primary.lifts, key=lambda key: _estimate(primary.lifts[key], primary.better), default=None)


def _withheld(failed: list[Check]) -> Verdict | None:
    if not failed:
        return None
    reasons = [messages.CHECK_FAILED.format(check=check.name, detail=check.detail) for check in failed]
    return Verdict("withheld", None, reasons)


def _decide(experiment: Experiment, primary: MetricResult, guardrails: Mapping[str, Guardrails]) -> Verdict:
    name, lifts, better = experiment.metrics.primary, primary.lifts, primary.better
    if not lifts:
        reason = messages.NOT_COMPUTED.format(metric=name, reason=primary.reason or messages.NO_VARIANT)
        return Verdict("keep_running", None, [reason])
    best_first = sorted(lifts, key=lambda key: _estimate(lifts[key], better), reverse=True)
    ahead = [key for key in best_first if (_gain(lifts[key].anytime.absolute, better)[0] or 0) > 0]
    for key in ahead:
        if all(guardrail.passed for guardrail in guardrails[key].values()):
            return Verdict("ship", key, _why_ship(name, key, guardrails[key], better))
    if all(_is_worse(lifts[key], better) or _lost(guardrails[key]) for key in lifts):
        return Verdict("stop", None, [_why_stop(name, key, lifts[key], guardrails[key], better) for key in best_first])
    if ahead:
        return Verdict("keep_running", ahead[0], [_why_not_ship(name, key, guardrails[key], better) for key in ahead])
    effect = experiment.plan.minimum_effect
    if all(_is_within(lift, effect) for lift in lifts.values()):
        return Verdict("no_difference", None, [messages.NO_DIFFERENCE.format(metric=name, effect=effect * 100)])
    anytime = lifts[best_first[0]].anytime
    if anytime.reason:
        return Verdict("keep_running", None, [messages.NO_ANYTIME.format(metric=name, reason=anytime.reason)])
    return Verdict("keep_running", None, [messages.UNDECIDED.format(metric=name)])


def _guardrails(experiment: Experiment, metrics: Mapping[str, MetricResult], variant: str) -> Guardrails:
    return {
        name: _guardrail(margin, metrics[name].lifts.get(variant), metrics[name].better)
        for name, margin in experiment.metrics.guardrails.items()
    }


def _guardrail(margin: float, lift: Lift | None, better: Better) -> Guardrail:
    """Compare a metric with its margin; where lower is better, a rise is the loss."""
    if lift is None:
        return Guardrail(margin, False, None, None, messages.METRIC_MISSING)
    relative = lift.anytime.relative
    low, high = _gain(relative, better)
    if lift.absolute.estimate == 0 and lift.relative.estimate is None:  # 0 in both variants
        return Guardrail(margin, True, 0.0, 0.0, messages.NEITHER_HAS_ANY)
    if low is None or high is None:
        return Guardrail(margin, False, None, None, relative.reason)
    return Guardrail(margin, low > margin, low, high)


def _gain(interval: Interval, better: Better) -> tuple[float | None, float | None]:
    """Return the ends of an interval, turned round where lower is better: above 0 is always a gain."""
    if better == "higher" or interval.low is None or interval.high is None:
        return interval.low, interval.high
    return -interval.high, -interval.low


def _lost(guardrails: Guardrails) -> list[str]:
    """Return the guardrails whose whole interval is below their margin."""
    return [name for name, guardrail in guardrails.items() if guardrail.is_lost]


def _is_worse(lift: Lift, better: Better) -> bool:
    high = _gain(lift.anytime.absolute, better)[1]
    return high is not None and high < 0


def _is_within(lift: Lift, minimum: float) -> bool:
    low, high = lift.anytime.relative.low, lift.anytime.relative.high
    return low is not None and high is not None and -minimum < low and high < minimum


def _estimate(lift: Lift, better: Better) -> float:
    if lift.absolute.estimate is None:
        return -float("inf")
    return lift.absolute.estimate if better == "higher" else -lift.absolute.estimate


def _side(better: Better, *, gains: bool = True) -> str:
    return "above" if gains == (better == "higher") else "below"


def _why_ship(name: str, key: str, guardrails: Guardrails, better: Better) -> list[str]:
    sentences = [
        messages.GUARDRAIL_KEPT.format(metric=metric, margin=abs(guardrail.margin) * 100)
        for metric, guardrail in guardrails.items()
    ]
    return [messages.DIFFERS.format(metric=name, variant=key, side=_side(better)), *sentences]


def _why_stop(name: str, key: str, lift: Lift, guardrails: Guardrails, better: Better) -> str:
    if _is_worse(lift, better):
        return messages.DIFFERS.format(metric=name, variant=key, side=_side(better, gains=False))
    return messages.GUARDRAIL_LOST.format(variant=key, guardrails=", ".join(_lost(guardrails)))


def _why_not_ship(name: str, key: str, guardrails: Guardrails, better: Better) -> str:
    lost = _lost(guardrails)
    at_risk = [metric for metric, guardrail in guardrails.items() if not guardrail.passed]
    sentence = messages.NOT_SHIPPED_LOST if lost else messages.NOT_SHIPPED_AT_RISK
    return sentence.format(metric=name, variant=key, side=_side(better), guardrails=", ".join(lost or at_risk))


def with_outlook(study: Study, metrics: Mapping[str, MetricResult], verdict: Verdict) -> Verdict:
    """
    Add to a verdict what the variant that leads would bring in 30 days, and the days that are left.

    The money is the always-valid interval of the metric times the eligible units of 30 days at the pace so far, as if all of
    them got the variant. The days are those until every variant has the units that the effect of the plan needs, from the
    variation seen so far.
    """
    days = sorted({place.day for place, cell in study.cells.items() if cell.moments.n})
    if not days:
        nothing = MonthlyValue(None, None, None, reason=messages.NO_EXPOSURES)
        return replace(verdict, monthly_value=nothing, days_left_reason=messages.NO_EXPOSURES)
    span = max(1.0, (min(study.scope.as_of_ms, days[-1] + DAY_MS) - days[0]) / DAY_MS)
    per_day = _eligible_units(study) / span
    left, reason = _days_left(study, verdict, per_day, span)
    variant = verdict.variant or leader(metrics[study.primary.name])
    money = _monthly_value(study, metrics, variant, per_day)
    return replace(verdict, monthly_value=money, days_left=left, days_left_reason=reason)


def _eligible_units(study: Study) -> float:
    """Return how many units met the trigger, whatever share of them each epoch let in."""
    shares = {epoch.number: taking_part(epoch.declared) for epoch in study.epochs}
    now = taking_part(declared_dict(study.experiment))
    units = ((shares.get(place.epoch, now), cell.moments.n) for place, cell in study.cells.items())
    return sum(n / share for share, n in units if share > MIN_SHARE)


def _monthly_value(
    study: Study, metrics: Mapping[str, MetricResult], variant: str | None, per_day: float
) -> MonthlyValue:
    name = study.primary.name if study.primary.name in _VALUES else _VALUES[0]
    lift = metrics[name].lifts.get(variant or "")
    if lift is None:
        return MonthlyValue(None, None, None, reason=messages.NO_LIFT)
    interval, units = lift.anytime.absolute, per_day * MONTH_DAYS
    estimate, low, high = (
        None if end is None else end * units for end in (interval.estimate, interval.low, interval.high)
    )
    return MonthlyValue(estimate, low, high, variant, name, round(units), interval.reason)


def _days_left(study: Study, verdict: Verdict, per_day: float, span: float) -> tuple[int | None, str | None]:
    if verdict.decision in ("ship", "stop", "no_difference"):
        return 0, None
    if verdict.decision == "withheld":
        return None, messages.NOT_MENDED
    variation = variation_of(study.primary, study.arms[study.control], study.columns)
    if variation is None:
        return None, messages.NO_VARIATION
    need = needs(study.experiment, Baseline(per_day, {study.primary.name: variation}, "the store"))[0]
    if need.days is None:
        return None, need.reason
    return max(0, math.ceil(need.days - span)), None
