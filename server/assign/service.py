"""Which variants a visitor gets; a fault serves the control and shows itself."""

import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from events.clock import now_ms
from events.records import Exposure, parse
from events.stores.protocol import Store
from experiments.assignment.draw import Assignment, assign, draw, serve, unit_id_of
from experiments.assignment.holdout import HELD_OUT, PROGRAMME
from experiments.assignment.tokens import Claim, Signer
from experiments.declarations.model import HOLDOUT, Experiment
from experiments.errors import RequestError
from server.assign.declarations import Declarations, Live
from server.assign.prepared import NO_UNIT, Held, Served, Shape
from server.http.bodies import AssignmentsBody
from server.http.problems import Problem

log = logging.getLogger("crosslift")


def mint_visitor_id(at_ms: int) -> str:
    """Make a visitor id that sorts by time, so that stores append instead of scattering: 48 bits of time, 80 at random."""
    return f"{at_ms:012x}{secrets.token_hex(10)}"


class Asking:
    """One request's visitor and context, and what has been found out about them."""

    def __init__(self, live: Live, visitor_id: str, context: Mapping[str, Any]) -> None:
        self.live = live
        self.visitor_id = visitor_id
        self.context = context
        self.viewing = live.serving.narrowed(context)
        self.units = {kind: self._unit(kind) for kind in live.serving.units}
        self._taken: dict[str | None, bool] = {}

    def _unit(self, kind: str) -> tuple[str | None, bool]:
        """Give the unit of a kind, None where the request does not name it, and whether it is held out."""
        unit_id, share = unit_id_of(kind, self.visitor_id, self.context), self.live.configs.shop.holdout
        return unit_id, share > 0 and unit_id is not None and draw(f"holdout:{unit_id}") < share

    def held(self) -> Held:
        """Give who is held out, as `Serving.resting` asks it."""
        return tuple([None if unit_id is None else held for unit_id, held in self.units.values()])

    def claim(self, one: Served, given: Assignment) -> tuple[str, str, str, int] | None:
        """Give what an exposure to an assignment would say, as a `Claim` does; None for a unit that takes part in nothing."""
        unit_id = self.units[one.unit][0]
        if given.reason == "assigned" and given.variant is not None and unit_id is not None and one.epoch is not None:
            return one.key, given.variant, unit_id, one.epoch
        if given.reason == "holdout" and unit_id is not None:
            return claim_of(self.live, one.experiment, unit_id, self.context, given)
        return None

    def is_taken(self, layer: str | None) -> bool:
        """Tell whether an experiment of a layer has the visitor: the controls of its others would stand beside its variants."""
        found = self._taken.get(layer)
        if found is None:
            found = self._taken[layer] = any(map(self._has, self.live.serving.layers[layer]))
        return found

    def _has(self, one: Served) -> bool:
        unit_id, held = self.units[one.unit]
        return unit_id is not None and assign(one.experiment, unit_id, self.context, holdout=float(held)).exposable


class Answer:
    """
    What a visitor gets.

    Attributes:
        asking: The request.
        given: The assignments that were made, by key.
        exposable: Whether tokens are given.

    `made` are the assignments as bits of `Serving.listed`; the others are `resting`, unless only some were asked for.
    """

    def __init__(
        self, asking: Asking, given: dict[str, Assignment], made: int, resting: Held | None, signer: Signer, at_s: int
    ) -> None:
        self.asking = asking
        self.given = given
        self.exposable = True
        self._made = made
        self._resting = resting
        self._signer = signer
        self._at_s = at_s

    def shown(self, shape: Shape = Served.shown) -> dict[str, Any]:
        """Give the assignments by key, in the order of the declarations or as they were asked for, for orjson."""
        asking, by_key, shown = self.asking, self.asking.live.serving.by_key, {}
        if self._resting is not None:
            shown = asking.live.serving.resting(self._resting, shape).shown(asking.viewing)
        for key, one in self.given.items():
            served = by_key.get(key)
            if served is None:
                shown[key] = self._unknown(key)
                continue
            claim = asking.claim(served, one) if self.exposable else None
            token = None if claim is None else self._signer.sign(claim, self._at_s)
            shown[key] = served.encoded(shape, one, token, asking.viewing)
        return shown

    def _unknown(self, key: str) -> dict[str, Any]:
        told = {"variant": None, "placement": "none", "offer": None, "reason": "unknown"}
        return told | {"epoch": self.asking.live.epochs.get(key), "exposure_token": None}

    def reasons(self) -> dict[str, int]:
        """Count the assignments by reason."""
        counted: dict[str, int] = {}
        if self._resting is not None:
            resting = self.asking.live.serving.resting(self._resting, Served.shown).reasons
            counted = {reason: (bits & ~self._made).bit_count() for reason, bits in resting.items()}
        for one in self.given.values():
            counted[one.reason] = counted.get(one.reason, 0) + 1
        return counted


class Assignments:
    """Answers `POST /v1/assignments`."""

    def __init__(
        self, declarations: Declarations, store: Store, signer: Signer, clock_ms: Callable[[], int] = now_ms
    ) -> None:
        self._declarations = declarations
        self._store = store
        self._signer = signer
        self._clock_ms = clock_ms

    def answer(self, body: AssignmentsBody, visitor_id: str, *, signed_s: int | None = None) -> Answer:
        """
        Give every experiment's assignment for a visitor, or those that the body names.

        With `expose`, the exposures are durable before the answer is given; where they cannot be written, the control is
        served, and nothing is exposed. A `preview` token shows its variant, and exposes nobody to it. Exposure tokens are
        signed as of `signed_s`, or now.

        Raises:
            Problem: 400 for a preview token that is not ours or has expired.
        """
        live = self._declarations.live
        asking = Asking(live, visitor_id, body.context)
        resting: Held | None = None
        made = 0
        if body.experiments is None:
            resting = asking.held()
            made = live.serving.concerned(body.context) | live.serving.resting(resting, Served.shown).open
            given = {one.key: _assign(asking, one) for one in live.serving.of(made)}
        else:
            by_key = live.serving.by_key
            given = {key: _assign(asking, by_key[key]) if key in by_key else _NOT_KNOWN for key in body.experiments}
        if body.preview is not None:
            key, shown = self._previewed(live, body.preview)
            given[key], made = shown, made | live.serving.bit(key)
        at_s = self._clock_ms() // 1000 if signed_s is None else signed_s
        answer = Answer(asking, given, made, resting, self._signer, at_s)
        if body.expose:
            answer.exposable = self._expose(asking, given)
        return answer

    def _previewed(self, live: Live, token: str) -> tuple[str, Assignment]:
        try:
            key, variant = self._signer.verify_preview(token, self._clock_ms() // 1000)
        except RequestError as error:
            raise Problem(400, str(error)) from None
        experiment = live.configs.experiments.get(key)
        if experiment is None or variant not in experiment.variants:
            raise Problem(400, f"preview: found {key}, variant {variant}, which is not declared; wanted one that is")
        return key, serve(experiment, variant, "preview")

    def _expose(self, asking: Asking, given: dict[str, Assignment]) -> bool:
        """Write the exposures; where that cannot be, turn the assignments to the control, and give False."""
        live, at_ms, attributes = asking.live, self._clock_ms(), plain(asking.context)
        by_key = live.serving.by_key
        claims = {key: asking.claim(by_key[key], one) for key, one in given.items() if key in by_key}
        exposed = {key: Claim(*claim) for key, claim in claims.items() if claim is not None}
        try:
            self._store.write(
                [one for claim in exposed.values() for one in exposures_of(live, claim, at_ms, attributes)]
            )
        except Exception:  # whatever it is, the shop goes on with the control
            log.exception("exposures cannot be written; the control is served")
            for key in exposed:
                if given[key].exposable:
                    experiment = live.configs.experiments[key]
                    given[key] = serve(experiment, experiment.control, "fault")
            return False
        return True


_NOT_KNOWN = Assignment(None, "none", None, "unknown")


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


def _assign(asking: Asking, one: Served) -> Assignment:
    unit_id, held = asking.units[one.unit]
    if unit_id is None:
        return NO_UNIT
    try:
        found = assign(one.experiment, unit_id, asking.context, holdout=float(held))
        if found.reason == "layer" and asking.is_taken(one.layer):
            return Assignment(None, "none", None, "layer")
        return found
    except Exception:  # as above
        log.exception("assigning %s failed; the control is served", one.key)
        return serve(one.experiment, one.experiment.control, "fault")


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
