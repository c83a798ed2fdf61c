"""Which variants a visitor gets; a fault serves the control and shows itself."""

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from events.clock import now_ms
from events.records import Exposure, parse
from events.store import Store
from experiments.assignment import Assignment, assign, serve, unit_of
from experiments.declaration import HOLDOUT, Experiment
from experiments.errors import RequestError
from experiments.holdout import HELD_OUT, PROGRAMME
from experiments.offers import resolve
from experiments.tokens import Claim, Signer
from server.live import Declarations, Live
from server.problems import Problem
from server.requests import AssignmentsBody

log = logging.getLogger("crosslift")


def mint_visitor_id(at_ms: int) -> str:
    """Make a visitor id that sorts by time, so that stores append instead of scattering: 48 bits of time, 80 at random."""
    return f"{at_ms:012x}{secrets.token_hex(10)}"


@dataclass(frozen=True, slots=True)
class Given:
    """An assignment, and what an exposure of it would say; None for a unit that takes part in nothing."""

    assignment: Assignment
    claim: Claim | None = None


class Assignments:
    """Answers `POST /v1/assignments`."""

    def __init__(
        self, declarations: Declarations, store: Store, signer: Signer, clock_ms: Callable[[], int] = now_ms
    ) -> None:
        self._declarations = declarations
        self._store = store
        self._signer = signer
        self._clock_ms = clock_ms

    def answer(self, body: AssignmentsBody, visitor_id: str, *, signed_s: int | None = None) -> dict[str, Any]:
        """
        Give every experiment's assignment for a visitor, or those that the body names.

        With `expose`, the exposures are durable before the answer is given; where they cannot be written, the control is
        served, and nothing is exposed. A `preview` token shows its variant, and exposes nobody to it. Exposure tokens are
        signed as of `signed_s`, or now.

        Raises:
            Problem: 400 for a preview token that is not ours or has expired.
        """
        live = self._declarations.live
        keys = body.experiments
        if keys is None:
            keys = [key for key, one in live.configs.experiments.items() if one.status != "draft"]
        given = {key: _assign(live, key, visitor_id, body.context) for key in keys}
        if body.preview is not None:
            given |= self._previewed(live, body.preview)
        if body.expose:
            self._expose(live, given, body.context)
        at_s = self._clock_ms() // 1000 if signed_s is None else signed_s
        shown = {key: self._shown(live, key, one, body.context, at_s) for key, one in given.items()}
        return {"visitor_id": visitor_id, "assignments": shown}

    def _previewed(self, live: Live, token: str) -> dict[str, Given]:
        try:
            key, variant = self._signer.verify_preview(token, self._clock_ms() // 1000)
        except RequestError as error:
            raise Problem(400, str(error)) from None
        experiment = live.configs.experiments.get(key)
        if experiment is None or variant not in experiment.variants:
            raise Problem(400, f"preview: found {key}, variant {variant}, which is not declared; wanted one that is")
        return {key: Given(serve(experiment, variant, "preview"))}

    def _expose(self, live: Live, given: dict[str, Given], context: Mapping[str, Any]) -> None:
        at_ms, attributes = self._clock_ms(), plain(context)
        exposed = {key: one.claim for key, one in given.items() if one.claim is not None}
        try:
            self._store.write(
                [one for claim in exposed.values() for one in exposures_of(live, claim, at_ms, attributes)]
            )
        except Exception:  # whatever it is, the shop goes on with the control
            log.exception("exposures cannot be written; the control is served")
            for key in exposed:
                experiment, one = live.configs.experiments[key], given[key].assignment
                given[key] = Given(serve(experiment, experiment.control, "fault") if one.exposable else one)

    def _shown(self, live: Live, key: str, one: Given, context: Mapping[str, Any], at_s: int) -> dict[str, Any]:
        token = None if one.claim is None else self._signer.sign(one.claim, at_s)
        return {
            "variant": one.assignment.variant,
            "placement": one.assignment.placement,
            "offer": resolve(one.assignment.offer, live.configs.products, context),
            "reason": one.assignment.reason,
            "epoch": live.epochs.get(key),
            "exposure_token": token,
        }


def exposures_of(live: Live, claim: Claim, at_ms: int, attributes: Mapping[str, Any]) -> list[Exposure]:
    """
    Build the exposure that a claim vouches for, and after it the one to the programme that comes with it.

    A visitor who meets the trigger of any experiment is in the programme, as one who is held out would be there held out.
    """
    told = {"unit_id": claim.unit_id, "exposed_at_ms": at_ms, "attributes": attributes}
    own = parse(Exposure, {**told, "experiment": claim.experiment, "variant": claim.variant, "epoch": claim.epoch})
    experiment = live.configs.experiments.get(claim.experiment)
    if HOLDOUT not in live.epochs or experiment is None or experiment.unit != "visitor_id":
        return [own]
    return [own, parse(Exposure, {**told, "experiment": HOLDOUT, "variant": PROGRAMME, "epoch": live.epochs[HOLDOUT]})]


def _assign(live: Live, key: str, visitor_id: str, context: Mapping[str, Any]) -> Given:
    experiment = live.configs.experiments.get(key)
    if experiment is None:
        return Given(Assignment(None, "none", None, "unknown"))
    try:
        unit_id = unit_of(experiment, visitor_id, context)
    except RequestError:
        return Given(Assignment(None, "none", None, "no_unit"))
    try:
        one = assign(experiment, unit_id, context, holdout=live.configs.shop.holdout)
        if one.reason == "layer" and _belongs_elsewhere(live, experiment, visitor_id, context):
            return Given(Assignment(None, "none", None, "layer"))
        return Given(one, claim_of(live, experiment, unit_id, context, one))
    except Exception:  # as above
        log.exception("assigning %s failed; the control is served", key)
        return Given(serve(experiment, experiment.control, "fault"))


def _belongs_elsewhere(live: Live, experiment: Experiment, visitor_id: str, context: Mapping[str, Any]) -> bool:
    """Tell whether another experiment of the layer has the visitor: this one's control would stand beside its variants."""
    for other in live.configs.experiments.values():
        if other.key == experiment.key or not (
            other.layer and experiment.layer and other.layer.name == experiment.layer.name
        ):
            continue
        try:
            unit_id = unit_of(other, visitor_id, context)
        except RequestError:
            continue
        if assign(other, unit_id, context, holdout=live.configs.shop.holdout).exposable:
            return True
    return False


def claim_of(
    live: Live, experiment: Experiment, unit_id: str, context: Mapping[str, Any], one: Assignment
) -> Claim | None:
    """Give what an exposure would say: of the variant, or of being held out from what the unit would have taken part in."""
    if one.exposable and one.variant is not None:
        return Claim(experiment.key, one.variant, unit_id, live.epochs[experiment.key])
    if one.reason == "holdout" and experiment.unit == "visitor_id" and assign(experiment, unit_id, context).exposable:
        return Claim(HOLDOUT, HELD_OUT, unit_id, live.epochs[HOLDOUT])
    return None


def plain(context: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of a context what a segment can be made of: short text, numbers, true and false."""
    return {
        name: value
        for name, value in context.items()
        if isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= 256)
    }
