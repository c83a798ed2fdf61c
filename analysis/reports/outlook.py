"""What the leading variant would bring in a month, and how long there is to wait."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from analysis.planning.plan import Baseline, needs, taking_part, variation_of
from analysis.queries.aggregates import Cell
from analysis.queries.study import Study
from analysis.queries.unit_facts import DAY_MS
from analysis.reports.model import MetricResult
from analysis.reports.verdict import Verdict, leader
from experiments.declarations.model import declared_dict

MONTH_DAYS = 30
LEAST_SHARE = 1e-4  # of the traffic; fewer are stray units of an experiment that was stopped so
_VALUES = ("revenue_per_visitor", "margin_per_visitor")


def outlook(study: Study, metrics: Mapping[str, MetricResult], verdict: Verdict) -> Verdict:
    """
    Add to a verdict what the variant that leads would bring in 30 days, and the days that are left.

    The money is the metric's always-valid interval times the eligible units of 30 days at the pace so far, as if all of them got
    the variant. The days are those until every arm has the units that the plan's effect needs, from the variation seen so far.
    """
    arms = study.arms
    days = sorted({int(place[2]) for place, cell in study.cells.items() if cell.moments.n})
    if not days:
        return replace(verdict, monthly_value=_no_money("no exposures yet"), days_left_reason="no exposures yet")
    span = max(1.0, (min(study.asked.as_of_ms, days[-1] + DAY_MS) - days[0]) / DAY_MS)
    per_day = _eligible(study) / span
    left, reason = _days_left(study, arms, verdict, per_day, span)
    variant = verdict.variant or leader(metrics[study.experiment.metrics.primary])
    money = _monthly(study, metrics, variant, per_day)
    return replace(verdict, monthly_value=money, days_left=left, days_left_reason=reason)


def _eligible(study: Study) -> float:
    """Give how many units met the trigger, whatever share of them each epoch let in."""
    shares = {one.number: taking_part(one.declared) for one in study.epochs}
    now = taking_part(declared_dict(study.experiment))
    units = ((shares.get(place[1], now), cell.moments.n) for place, cell in study.cells.items())
    return sum(n / share for share, n in units if share > LEAST_SHARE)


def _monthly(study: Study, metrics: Mapping[str, MetricResult], variant: str | None, per_day: float) -> dict[str, Any]:
    primary = study.experiment.metrics.primary
    name = primary if primary in _VALUES else _VALUES[0]
    lift = metrics[name].lifts.get(variant or "")
    if lift is None:
        return _no_money("no variant has a lift")
    interval, units = lift.anytime.absolute, per_day * MONTH_DAYS
    shown: dict[str, Any] = {
        end: None if value is None else value * units
        for end, value in (("estimate", interval.estimate), ("low", interval.low), ("high", interval.high))
    }
    shown |= {"variant": variant, "metric": name, "units": round(units)}
    return shown if interval.reason is None else shown | {"reason": interval.reason}


def _no_money(reason: str) -> dict[str, Any]:
    return {"estimate": None, "low": None, "high": None, "reason": reason}


def _days_left(
    study: Study, arms: Mapping[str, Cell], verdict: Verdict, per_day: float, span: float
) -> tuple[int | None, str | None]:
    if verdict.decision in ("ship", "stop", "no_difference"):
        return 0, None
    if verdict.decision == "withheld":
        return None, "a trust check failed: more days would not mend it"
    metric = study.metrics[study.experiment.metrics.primary]
    spread = variation_of(metric, arms[study.control], study.columns)
    if spread is None:
        return None, "the control has no variation to plan with yet"
    need = needs(study.experiment, Baseline(per_day, {metric.name: spread}, "the store"))[0]
    if need.days is None:
        return None, need.reason
    return max(0, math.ceil(need.days - span)), None
