"""Ship, stop, or keep running: a rule over always-valid intervals, so that it may be asked on any day."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from analysis.lifts import Lift
from analysis.trust import Check
from experiments.declaration import Experiment

if TYPE_CHECKING:
    from analysis.reports import MetricResult

Guards = Mapping[str, Mapping[str, Any]]
Decision = Literal["ship", "stop", "keep_running", "no_difference", "withheld"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What to do now.

    Attributes:
        variant: The variant that the decision is about; None where it is about none.
        reasons: Whole sentences.
    """

    decision: Decision
    variant: str | None
    reasons: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON values of the report."""
        return {"decision": self.decision, "variant": self.variant, "reasons": self.reasons}


def decide(
    experiment: Experiment, metrics: Mapping[str, "MetricResult"], checks: Iterable[Check]
) -> tuple[Guards, Verdict]:
    """
    Decide by rule.

    Ship the best of the variants whose primary metric is above the control's with every guardrail above its margin; stop when
    every variant is below the control, or below a guardrail's margin; say that there is no difference when every interval
    lies within the plan's minimum effect.

    Returns:
        The guardrails of the variant that leads (or ships), and the verdict.
    """
    name = experiment.metrics.primary
    primary = metrics[name]
    guards = {key: _guardrails(experiment, metrics, key) for key in primary.lifts}
    verdict = _verdict(experiment, primary, guards, [check for check in checks if check.passed is False])
    leading = verdict.variant or max(primary.lifts, key=lambda key: _estimate(primary.lifts[key]), default=None)
    return ({} if leading is None else guards[leading]), verdict


def _verdict(
    experiment: Experiment, primary: "MetricResult", guards: Mapping[str, Guards], failed: list[Check]
) -> Verdict:
    name, minimum, lifts = experiment.metrics.primary, experiment.plan.minimum_effect, primary.lifts
    if failed:
        return Verdict("withheld", None, [f"The check {check.name} failed: {check.detail}" for check in failed])
    if not lifts:
        return Verdict("keep_running", None, [f"{name} cannot be had: {primary.reason or 'no variant takes part'}."])
    best_first = sorted(lifts, key=lambda key: _estimate(lifts[key]), reverse=True)
    above = [key for key in best_first if (lifts[key].anytime.absolute.low or 0) > 0]
    for key in above:
        if all(one["passed"] for one in guards[key].values()):
            return Verdict(
                "ship", key, [f"{name} of {key} is above the control's, whichever day it is read.", *_kept(guards[key])]
            )
    if all(_is_below(lifts[key]) or _has_lost(guards[key]) for key in lifts):
        return Verdict("stop", None, [_why_stop(name, key, lifts[key], guards[key]) for key in best_first])
    if above:
        return Verdict("keep_running", above[0], [_why_not_ship(name, key, guards[key]) for key in above])
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
        name: _guardrail(margin, metrics[name].lifts.get(variant))
        for name, margin in experiment.metrics.guardrails.items()
    }


def _guardrail(margin: float, lift: Lift | None) -> dict[str, Any]:
    relative = lift.anytime.relative if lift else None
    if relative is None or relative.low is None or relative.high is None:
        reason = relative.reason if relative else "the metric cannot be had"
        return {"margin": margin, "passed": False, "low": None, "high": None, "reason": reason}
    return {"margin": margin, "passed": relative.low > margin, "low": relative.low, "high": relative.high}


def _has_lost(guards: Guards) -> list[str]:
    """Give the guardrails whose whole interval is below their margin."""
    return [name for name, one in guards.items() if one["high"] is not None and one["high"] < one["margin"]]


def _is_below(lift: Lift) -> bool:
    high = lift.anytime.absolute.high
    return high is not None and high < 0


def _why_stop(name: str, key: str, lift: Lift, guards: Guards) -> str:
    if _is_below(lift):
        return f"{name} of {key} is below the control's, whichever day it is read."
    return f"{key} has lost more than its margin of {', '.join(_has_lost(guards))}."


def _why_not_ship(name: str, key: str, guards: Guards) -> str:
    lost = _has_lost(guards)
    if lost:
        return f"{name} of {key} is above the control's, but it has lost more than its margin of {', '.join(lost)}."
    at_risk = ", ".join(guard for guard, one in guards.items() if not one["passed"])
    return f"{name} of {key} is above the control's, but {at_risk} may have lost more than its margin."


def _kept(guards: Guards) -> list[str]:
    return [
        f"{name} has lost no more than its margin of {abs(one['margin']) * 100:g}%." for name, one in guards.items()
    ]


def _estimate(lift: Lift) -> float:
    return -float("inf") if lift.absolute.estimate is None else lift.absolute.estimate


def _within(lift: Lift, minimum: float) -> bool:
    low, high = lift.anytime.relative.low, lift.anytime.relative.high
    return low is not None and high is not None and -minimum < low and high < minimum
