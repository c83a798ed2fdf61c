"""Ship, stop, or keep running: a rule over always-valid intervals, so that it may be asked on any day."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from analysis.reports.trust_checks import Check
from analysis.stats.comparisons.readings import Interval, Lift
from experiments.declarations.model import Experiment

if TYPE_CHECKING:
    from analysis.reports.model import MetricResult

Guards = Mapping[str, Mapping[str, Any]]
Decision = Literal["ship", "stop", "keep_running", "no_difference", "withheld"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What to do now.

    Attributes:
        variant: The variant that the decision is about; None where it is about none.
        reasons: Whole sentences.
        monthly_value: What the variant that leads would bring in 30 days over the control, with the always-valid interval.
        days_left: Until the plan's number of units is reached, at the pace so far; 0 once it is decided.
        days_left_reason: Why `days_left` is None.
    """

    decision: Decision
    variant: str | None
    reasons: list[str]
    monthly_value: Mapping[str, Any] = field(default_factory=dict)
    days_left: int | None = None
    days_left_reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON values of the report."""
        shown: dict[str, Any] = {"decision": self.decision, "variant": self.variant, "reasons": self.reasons}
        shown |= {"monthly_value": dict(self.monthly_value), "days_left": self.days_left}
        return shown if self.days_left_reason is None else shown | {"days_left_reason": self.days_left_reason}


def decide(
    experiment: Experiment, metrics: Mapping[str, "MetricResult"], checks: Iterable[Check]
) -> tuple[Guards, Verdict]:
    """
    Decide by rule.

    Ship the best of the variants whose primary metric is better than the control's with every guardrail above its margin; stop
    when every variant is worse than the control, or below a guardrail's margin; say that there is no difference when every
    interval lies within the plan's minimum effect. Where lower is better, gains and losses change places.

    Returns:
        The guardrails of the variant that leads (or ships), and the verdict.
    """
    name = experiment.metrics.primary
    primary = metrics[name]
    guards = {key: _guardrails(experiment, metrics, key) for key in primary.lifts}
    verdict = _verdict(experiment, primary, guards, [check for check in checks if check.passed is False])
    leading = verdict.variant or leader(primary)
    return ({} if leading is None else guards[leading]), verdict


def leader(primary: "MetricResult") -> str | None:
    """Give the variant with the best estimate; None where no variant takes part."""
    return max(primary.lifts, key=lambda key: _estimate(primary.lifts[key], primary.better), default=None)


def _verdict(
    experiment: Experiment, primary: "MetricResult", guards: Mapping[str, Guards], failed: list[Check]
) -> Verdict:
    name, minimum, lifts = experiment.metrics.primary, experiment.plan.minimum_effect, primary.lifts
    if failed:
        return Verdict("withheld", None, [f"The check {check.name} failed: {check.detail}" for check in failed])
    if not lifts:
        return Verdict("keep_running", None, [f"{name} cannot be had: {primary.reason or 'no variant takes part'}."])
    better = primary.better
    best_first = sorted(lifts, key=lambda key: _estimate(lifts[key], better), reverse=True)
    above = [key for key in best_first if (_gain(lifts[key].anytime.absolute, better)[0] or 0) > 0]
    for key in above:
        if all(one["passed"] for one in guards[key].values()):
            return Verdict(
                "ship",
                key,
                [f"{name} of {key} is {_side(better)} the control's, whichever day it is read.", *_kept(guards[key])],
            )
    if all(_is_worse(lifts[key], better) or _has_lost(guards[key]) for key in lifts):
        worse = {key: _is_worse(lifts[key], better) for key in best_first}
        return Verdict(
            "stop",
            None,
            [_why_stop(name, key, guards[key], worse[key] and _side(better, gains=False)) for key in best_first],
        )
    if above:
        return Verdict(
            "keep_running", above[0], [_why_not_ship(name, key, guards[key], _side(better)) for key in above]
        )
    if all(_within(one, minimum) for one in lifts.values()):
        return Verdict(
            "no_difference", None, [f"{name} of every variant is within {minimum * 100:g}% of the control's."]
        )
    reason = lifts[best_first[0]].anytime.reason
    if reason:
        return Verdict("keep_running", None, [f"{name} has no always-valid interval yet: {reason}."])
    sentence = f"{name}: the always-valid intervals still hold both a gain and a loss, or an effect that matters."
    return Verdict("keep_running", None, [sentence])


def _guardrails(experiment: Experiment, metrics: Mapping[str, "MetricResult"], variant: str) -> Guards:
    return {
        name: _guardrail(margin, metrics[name].lifts.get(variant), metrics[name].better)
        for name, margin in experiment.metrics.guardrails.items()
    }


def _guardrail(margin: float, lift: Lift | None, better: str) -> dict[str, Any]:
    """Hold a metric against its margin; where lower is better, a rise is the loss, and `low` and `high` are of minus the lift."""
    relative = lift.anytime.relative if lift else None
    low, high = (None, None) if relative is None else _gain(relative, better)
    if lift is not None and lift.absolute.estimate == 0 and lift.relative.estimate is None:  # 0 in both arms
        return {"margin": margin, "passed": True, "low": 0.0, "high": 0.0, "reason": "no unit of either arm has any"}
    if low is None or high is None:
        reason = relative.reason if relative else "the metric cannot be had"
        return {"margin": margin, "passed": False, "low": None, "high": None, "reason": reason}
    return {"margin": margin, "passed": low > margin, "low": low, "high": high}


def _gain(interval: Interval, better: str) -> tuple[float | None, float | None]:
    """Give an interval's ends, turned round where lower is better: above 0 is always a gain."""
    if better == "higher" or interval.low is None or interval.high is None:
        return interval.low, interval.high
    return -interval.high, -interval.low


def _has_lost(guards: Guards) -> list[str]:
    """Give the guardrails whose whole interval is below their margin."""
    return [name for name, one in guards.items() if one["high"] is not None and one["high"] < one["margin"]]


def _is_worse(lift: Lift, better: str) -> bool:
    high = _gain(lift.anytime.absolute, better)[1]
    return high is not None and high < 0


def _side(better: str, *, gains: bool = True) -> str:
    return "above" if gains == (better == "higher") else "below"


def _why_stop(name: str, key: str, guards: Guards, side: str | Literal[False]) -> str:
    if side:
        return f"{name} of {key} is {side} the control's, whichever day it is read."
    return f"{key} has lost more than its margin of {', '.join(_has_lost(guards))}."


def _why_not_ship(name: str, key: str, guards: Guards, side: str) -> str:
    lost = _has_lost(guards)
    if lost:
        return f"{name} of {key} is {side} the control's, but it has lost more than its margin of {', '.join(lost)}."
    at_risk = ", ".join(guard for guard, one in guards.items() if not one["passed"])
    return f"{name} of {key} is {side} the control's, but {at_risk} may have lost more than its margin."


def _kept(guards: Guards) -> list[str]:
    return [
        f"{name} has lost no more than its margin of {abs(one['margin']) * 100:g}%." for name, one in guards.items()
    ]


def _estimate(lift: Lift, better: str) -> float:
    if lift.absolute.estimate is None:
        return -float("inf")
    return lift.absolute.estimate if better == "higher" else -lift.absolute.estimate


def _within(lift: Lift, minimum: float) -> bool:
    low, high = lift.anytime.relative.low, lift.anytime.relative.high
    return low is not None and high is not None and -minimum < low and high < minimum
