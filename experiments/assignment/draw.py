"""
Which variant a unit gets: pure, stateless and the same on every machine.

Every decision is a comparison with `draw(text)`, the first 53 bits of SHA-256 as a share in [0, 1). The texts:

    holdout:<unit>                  below the shop's holdout share: no cross-sell at all
    layer:<layer>:<unit>            inside the declared range: may take part
    traffic:<salt>:<unit>           below the declared traffic: takes part
    variant:<salt>:<variant>:<unit> scores weight / -ln(draw); the largest score wins

The last line is weighted rendezvous hashing (Thaler and Ravishankar 1998; weights by exponential races): an arm's score does not
depend on the other arms, so a changed weight moves only the units that must move, all of them into or out of that arm.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from experiments.assignment.audience import meets, prepare
from experiments.declarations.conditions import Context, holds
from experiments.declarations.model import Condition, Experiment, Offer
from experiments.errors import RequestError
from experiments.refusals import describe

Reason = Literal[
    "assigned",
    "draft",
    "holdout",
    "preview",
    "paused",
    "ended",
    "audience",
    "layer",
    "traffic",
    "no_unit",
    "unknown",
    "fault",
]

MAX_UNIT_ID = 256

_SCALE = 1 / (1 << 53)
_EMPTY: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Assignment:
    """
    What a unit is served, and why.

    Attributes:
        variant: The variant served; None for a unit that is not in the experiment.
        placement: Where to show the offer; `none` for nowhere.
        offer: The offer as declared; None for none.
        reason: `assigned` is the only one that may be logged as an exposure.
    """

    variant: str | None
    placement: str
    offer: Offer | None
    reason: Reason

    @property
    def exposable(self) -> bool:
        """Whether the unit is in the experiment."""
        return self.reason == "assigned"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an explanation: its name, whether it let the unit through, and the figures behind it."""

    name: str
    passed: bool
    detail: str


class _Prepared:
    """What need not be done again for every unit: hashes begun, conditions sorted, outcomes made."""

    __slots__ = ("arms", "audience", "even", "layered", "outside", "partial", "served")

    def __init__(self, experiment: Experiment) -> None:
        salt = experiment.salt or experiment.key
        armed = {key: weight for key, weight in experiment.weights.items() if weight} or {experiment.control: 1.0}
        self.audience = prepare(experiment.audience)
        self.layered = experiment.layer is not None
        self.partial = experiment.traffic < 1
        self.even = len(set(armed.values())) == 1
        self.arms = [(key, weight, sha256(f"variant:{salt}:{key}:".encode()).copy) for key, weight in armed.items()]
        self.served = {key: serve(experiment, key, "assigned") for key in armed}
        self.outside = {reason: _outside(experiment, reason) for reason in _OUTSIDE}


_OUTSIDE: tuple[Reason, ...] = ("audience", "layer", "traffic")


def _prepared(experiment: Experiment) -> _Prepared:
    found: _Prepared | None = getattr(experiment, "_prepared", None)
    if found is None:
        found = _Prepared(experiment)
        object.__setattr__(experiment, "_prepared", found)
    return found


def draw(text: str) -> float:
    """Return the first 53 bits of SHA-256 of a text (UTF-8) as a share in [0, 1)."""
    return _share(sha256(text.encode()).digest())


def _share(digest: bytes) -> float:
    return (int.from_bytes(digest[:8]) >> 11) * _SCALE


def _score(weight: float, share: float) -> float:
    return weight / -math.log(share) if share else 0.0


def scores(experiment: Experiment, unit_id: str) -> dict[str, float]:
    """Return every variant's score for a unit; a variant of weight 0 scores 0 and is never chosen."""
    salt = experiment.salt or experiment.key
    found = {}
    for key, variant in experiment.variants.items():
        share = draw(f"variant:{salt}:{key}:{unit_id}") if variant.weight else 0.0
        found[key] = _score(variant.weight, share)
    return found


def choose(experiment: Experiment, unit_id: str) -> str:
    """Return the variant with the largest of the `scores`, without asking whether the unit takes part."""
    return _chosen(_prepared(experiment), unit_id)


def _chosen(ready: _Prepared, unit_id: str) -> str:
    unit, even, chosen = unit_id.encode(), ready.even, ready.arms[0][0]
    largest: Any = b"" if even else -1.0
    for key, weight, begun in ready.arms:
        hashed = begun()
        hashed.update(unit)
        digest = hashed.digest()  # where weights are equal, scores stand in the order of hashes
        score = digest if even else _score(weight, _share(digest))
        if score > largest:
            largest, chosen = score, key
    return chosen


def unit_id_of(kind: str, visitor_id: str | None, context: Context) -> str | None:
    """Return the id of a kind of unit, without white space around it; None where the request does not name a usable one."""
    unit = visitor_id if kind == "visitor_id" else context.get(kind)
    text = str(unit).strip() if isinstance(unit, (str, int)) and not isinstance(unit, bool) else ""
    return text if 0 < len(text) <= MAX_UNIT_ID and text.isprintable() else None


def unit_of(experiment: Experiment, visitor_id: str | None, context: Context) -> str:
    """
    Return the id of the unit that an experiment randomises, without white space around it.

    Raises:
        RequestError: The request does not name it.
    """
    found = unit_id_of(experiment.unit, visitor_id, context)
    if found is None:
        unit = visitor_id if experiment.unit == "visitor_id" else context.get(experiment.unit)
        wanted = f"1 to {MAX_UNIT_ID} printable characters, which {experiment.key} needs to assign a variant"
        raise RequestError(f"{experiment.unit}: found {describe(unit)}; wanted {wanted}")
    return found


def assign(experiment: Experiment, unit_id: str, context: Context = _EMPTY, *, holdout: float = 0.0) -> Assignment:
    """
    Assign a unit, deterministically.

    Args:
        experiment: The declaration.
        unit_id: The visitor, customer or company that is randomised; not empty.
        context: Attributes that the audience asks for.
        holdout: The shop's holdout, a share in [0, 1].

    Returns:
        The variant and why; the control for everybody while paused, the winner for everybody once ended.

    Raises:
        RequestError: The unit id is empty: it would be a random answer.
    """
    if not unit_id:
        raise RequestError(f"unit_id: found nothing; {experiment.key} needs it to assign a variant")
    status = experiment.status
    if holdout and status != "draft" and draw(f"holdout:{unit_id}") < holdout:
        return Assignment(None, "none", None, "holdout")
    if status == "draft":
        return Assignment(None, "none", None, "draft")
    if status != "running":
        return serve(experiment, experiment.winner or experiment.control, status)
    ready = _prepared(experiment)
    if ready.audience and not meets(ready.audience, context):
        return ready.outside["audience"]
    if ready.layered and not in_layer(experiment, unit_id):
        return ready.outside["layer"]
    if ready.partial and not in_traffic(experiment, unit_id):
        return ready.outside["traffic"]
    return ready.served[_chosen(ready, unit_id)]


def in_layer(experiment: Experiment, unit_id: str) -> bool:
    """Check whether a unit falls into the experiment's range of its layer; without a layer all do."""
    layer = experiment.layer
    return layer is None or layer.start <= draw(f"layer:{layer.name}:{unit_id}") < layer.end


def in_traffic(experiment: Experiment, unit_id: str) -> bool:
    """Check whether a unit falls into the share of traffic that takes part; raising the share never puts anybody out."""
    return (
        experiment.traffic >= 1 or draw(f"traffic:{experiment.salt or experiment.key}:{unit_id}") < experiment.traffic
    )


def serve(experiment: Experiment, key: str, reason: Reason) -> Assignment:
    """Return one variant of an experiment for a stated reason."""
    variant = experiment.variants[key]
    return Assignment(key, variant.placement, variant.offer, reason)


def _outside(experiment: Experiment, reason: Reason) -> Assignment:
    """Show the control's placement, as the shop would without the experiment, to a unit that is not in it."""
    control = experiment.variants[experiment.control]
    return Assignment(None, control.placement, control.offer, reason)


def _conditions(condition: Condition) -> str:
    parts = condition.model_dump(by_alias=True, exclude_none=True)
    said = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in parts.items()
    }
    return "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in said.items())


def explain(
    experiment: Experiment, unit_id: str, context: Context = _EMPTY, *, holdout: float = 0.0
) -> tuple[list[Step], Assignment]:
    """
    Return each step of an assignment with its figures, and the assignment itself.

    Raises:
        RequestError: The unit id is empty.
    """
    outcome = assign(experiment, unit_id, context, holdout=holdout)
    salt = experiment.salt or experiment.key
    steps = [Step("status", experiment.status == "running", experiment.status)]
    held = draw(f"holdout:{unit_id}")
    steps.append(Step("holdout", held >= holdout, f"draw {held:.6f}, held out below {holdout:.6f}"))
    for attribute, condition in experiment.audience.items():
        given = "not given" if context.get(attribute) is None else describe(context[attribute])
        detail = f"{given}, wanted {_conditions(condition)}"
        steps.append(Step(f"audience.{attribute}", holds(condition, attribute, context), detail))
    if experiment.layer:
        layer = experiment.layer
        share = draw(f"layer:{layer.name}:{unit_id}")
        steps.append(
            Step("layer", in_layer(experiment, unit_id), f"draw {share:.6f} in [{layer.start:.6f}, {layer.end:.6f})")
        )
    share = draw(f"traffic:{salt}:{unit_id}")
    steps.append(
        Step("traffic", in_traffic(experiment, unit_id), f"draw {share:.6f}, takes part below {experiment.traffic:.6f}")
    )
    winner = choose(experiment, unit_id)
    steps += [
        Step(f"variant.{key}", key == winner, f"weight {experiment.weights[key]:g}, score {score:.6f}")
        for key, score in scores(experiment, unit_id).items()
    ]
    return steps, outcome
