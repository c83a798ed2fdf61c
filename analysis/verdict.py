"""Ship, stop, or keep running: a rule over always-valid intervals, so that it may be asked on any day."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from analysis.lifts import Lift
from analysis.trust import Check
from experiments.declaration import Experiment

if TYPE_CHECKING:
    from analysis.reports import MetricResult

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
) -> tuple[dict[str, dict[str, Any]], Verdict]:
    """
    Decide by rule.

    Ship a variant whose primary metric is above the control's, with every guardrail above its margin; stop when every
    variant is below; say that there is no difference when every interval lies within the plan's minimum effect.

    Returns:
        The guardrails of the leading variant, and the verdict.
    """
    primary = metrics[experiment.metrics.primary]
    leader = max(primary.lifts, key=lambda key: _estimate(primary.lifts[key]), default=None)
    guardrails = {
        name: _guardrail(margin, metrics[name].lifts.get(leader or ""))
        for name, margin in experiment.metrics.guardrails.items()
    }
    failed = [check for check in checks if check.passed is False]
    if failed:
        return guardrails, Verdict(
            "withheld", None, [f"The check {check.name} failed: {check.detail}" for check in failed]
        )
    if leader is None:
        return guardrails, Verdict(
            "keep_running", None, [f"{experiment.metrics.primary} cannot be had: {primary.reason}."]
        )
    return guardrails, _read(experiment, primary.lifts, leader, guardrails)


def _read(
    experiment: Experiment, lifts: Mapping[str, Lift], leader: str, guardrails: Mapping[str, Mapping[str, Any]]
) -> Verdict:
    name, minimum = experiment.metrics.primary, experiment.plan.minimum_effect
    best = lifts[leader].anytime.absolute
    if best.low is None or best.high is None:
        return Verdict("keep_running", None, [f"{name} has no always-valid interval yet: {best.reason}."])
    open_guardrails = [guard for guard, one in guardrails.items() if not one["passed"]]
    if best.low > 0 and not open_guardrails:
        return Verdict(
            "ship",
            leader,
            [f"{name} of {leader} is above the control's, whichever day it is read.", *_kept(guardrails)],
        )
    if best.low > 0:
        at_risk = ", ".join(open_guardrails)
        reason = f"{name} of {leader} is above the control's, but {at_risk} may have lost more than its margin."
        return Verdict("keep_running", leader, [reason])
    if all(one.anytime.absolute.high is not None and one.anytime.absolute.high < 0 for one in lifts.values()):
        return Verdict("stop", None, [f"{name} of every variant is below the control's, whichever day it is read."])
    if all(_within(one, minimum) for one in lifts.values()):
        return Verdict("no_difference", None, [f"{name} of every variant is within {minimum:.0%} of the control's."])
    return Verdict(
        "keep_running",
        None,
        [f"{name}: the always-valid intervals still hold both a gain and a loss, or an effect that matters."],
    )


def _kept(guardrails: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [f"{name} has lost no more than its margin of {-one['margin']:.0%}." for name, one in guardrails.items()]


def _estimate(lift: Lift) -> float:
    return -float("inf") if lift.absolute.estimate is None else lift.absolute.estimate


def _within(lift: Lift, minimum: float) -> bool:
    low, high = lift.anytime.relative.low, lift.anytime.relative.high
    return low is not None and high is not None and -minimum < low and high < minimum


def _guardrail(margin: float, lift: Lift | None) -> dict[str, Any]:
    low = lift.anytime.relative.low if lift else None
    shown: dict[str, Any] = {"margin": margin, "passed": low is not None and low > margin, "low": low}
    if low is None:
        shown["reason"] = lift.anytime.relative.reason if lift else "there is no variant to hold against it"
    return shown
