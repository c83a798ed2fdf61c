"""What an exposure says of a unit, and the records that it becomes."""

from collections.abc import Mapping
from typing import Any

from events.records import Exposure, parse
from experiments.assignment.draw import Assignment, assign
from experiments.assignment.holdout import HELD_OUT, PROGRAMME
from experiments.assignment.tokens import Claim
from experiments.declarations.model import HOLDOUT, Experiment
from server.assign.declarations import Live


def claim_of(
    live: Live, experiment: Experiment, unit_id: str, context: Mapping[str, Any], assignment: Assignment
) -> Claim | None:
    """Return what an exposure says: the variant, or that the unit is held out of an experiment it would be in."""
    if assignment.exposable and assignment.variant is not None:
        return Claim(experiment.key, assignment.variant, unit_id, live.epochs[experiment.key])
    if assignment.reason != "holdout" or experiment.unit != "visitor_id":
        return None
    if assign(experiment, unit_id, context).exposable:
        return Claim(HOLDOUT, HELD_OUT, unit_id, live.epochs[HOLDOUT])
    return None


def exposure_fields(claim: Claim, at_ms: int, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the exposure that a claim vouches for."""
    return {
        "experiment": claim.experiment,
        "variant": claim.variant,
        "unit_id": claim.unit_id,
        "epoch": claim.epoch,
        "exposed_at_ms": at_ms,
        "attributes": attributes,
    }


def exposures_of(live: Live, claim: Claim, at_ms: int, attributes: Mapping[str, Any]) -> list[Exposure]:
    """
    Return the exposure that a claim vouches for, and after it the exposure to the whole programme.

    A visitor who meets the trigger of any experiment is in the programme, as a visitor who is held out is in its holdout.
    """
    own = parse(Exposure, exposure_fields(claim, at_ms, attributes))
    experiment = live.configs.experiments.get(claim.experiment)
    if HOLDOUT not in live.epochs or experiment is None or experiment.unit != "visitor_id":
        return [own]
    programme = Claim(HOLDOUT, PROGRAMME, claim.unit_id, live.epochs[HOLDOUT])
    return [own, parse(Exposure, exposure_fields(programme, at_ms, attributes))]


def segment_attributes(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a context that segments can be made of: short text, numbers, true and false."""
    return {
        name: value
        for name, value in context.items()
        if isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= 256)
    }
