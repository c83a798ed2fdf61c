"""Which variants a visitor gets; a fault serves the control and is logged."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from events.clock import now_ms
from events.stores.protocol import Store
from experiments.assignment.draw import Assignment, assign, draw, serve, unit_id_of
from experiments.assignment.offers import Viewing
from experiments.assignment.tokens import Claim, Signer
from experiments.errors import RequestError
from server.assign.declarations import Declarations, Live
from server.assign.exposures import claim_of, exposures_of, segment_attributes
from server.assign.prepared import NO_UNIT, HeldOut, PreparedExperiment, Shape
from server.http.bodies import AssignmentsBody
from server.http.problems import Problem

log = logging.getLogger("crosslift")

_UNKNOWN = Assignment(None, "none", None, "unknown")
_ASSIGNMENT = PreparedExperiment.assignment_values


class _Unit(NamedTuple):
    """The unit of one kind: None where the request does not name it."""

    unit_id: str | None
    is_held_out: bool


class _Visit:
    """One request's visitor, context and units, and which layers they take part in."""

    def __init__(self, live: Live, visitor_id: str, context: Mapping[str, Any]) -> None:
        self.live = live
        self.visitor_id = visitor_id
        self.context = context
        self.units = {kind: self._unit(kind) for kind in live.prepared.units}
        self._occupied: dict[str | None, bool] = {}

    def _unit(self, kind: str) -> _Unit:
        unit_id, share = unit_id_of(kind, self.visitor_id, self.context), self.live.configs.shop.holdout
        return _Unit(unit_id, share > 0 and unit_id is not None and draw(f"holdout:{unit_id}") < share)

    def held_out(self) -> HeldOut:
        """Return whether the unit of each kind is held out."""
        return tuple([None if unit_id is None else is_held_out for unit_id, is_held_out in self.units.values()])

    def assign(self, prepared: PreparedExperiment) -> Assignment:
        """Assign one experiment; a fault serves the control."""
        unit_id, is_held_out = self.units[prepared.unit]
        if unit_id is None:
            return NO_UNIT
        try:
            assignment = assign(prepared.experiment, unit_id, self.context, holdout=float(is_held_out))
            if assignment.reason == "layer" and self._occupies(prepared.layer):
                return Assignment(None, "none", None, "layer")
            return assignment
        except Exception:  # whatever it is, the shop goes on with the control
            log.exception("assigning %s failed; the control is served", prepared.key)
            return serve(prepared.experiment, prepared.experiment.control, "fault")

    def _occupies(self, layer: str | None) -> bool:
        """Check whether the visitor is in an experiment of a layer: controls of its others would stand beside its variant."""
        is_occupied = self._occupied.get(layer)
        if is_occupied is None:
            is_occupied = self._occupied[layer] = any(map(self._is_in, self.live.prepared.layers[layer]))
        return is_occupied

    def _is_in(self, prepared: PreparedExperiment) -> bool:
        unit_id, is_held_out = self.units[prepared.unit]
        if unit_id is None:
            return False
        return assign(prepared.experiment, unit_id, self.context, holdout=float(is_held_out)).exposable

    def claim(self, prepared: PreparedExperiment, assignment: Assignment) -> Claim | None:
        """Return what an exposure to an assignment says; None for a unit that takes part in nothing."""
        unit_id, epoch = self.units[prepared.unit].unit_id, prepared.epoch
        if unit_id is None:
            return None
        if assignment.reason == "assigned" and assignment.variant is not None and epoch is not None:
            return Claim(prepared.key, assignment.variant, unit_id, epoch)
        if assignment.reason == "holdout":
            return claim_of(self.live, prepared.experiment, unit_id, self.context, assignment)
        return None


@dataclass(frozen=True, slots=True)
class Assigned:
    """
    What a visitor gets, before it is encoded.

    Attributes:
        live: The declarations that hold for this request.
        visitor_id: The visitor.
        viewing: The product and the cart that offers depend on.
        assignments: The assignments that were computed, by key.
        claims: What exposure tokens vouch for, by key; empty where nobody may be exposed.
        held_out: Whose static answers complete the response; None where the request named its experiments.
        assigned_bits: The computed assignments as bits, which replace static answers.
    """

    live: Live
    visitor_id: str
    viewing: Viewing
    assignments: Mapping[str, Assignment]
    claims: Mapping[str, Claim]
    held_out: HeldOut | None
    assigned_bits: int

    def reasons(self) -> dict[str, int]:
        """Count the assignments by reason."""
        counts: dict[str, int] = {}
        if self.held_out is not None:
            static = self.live.prepared.static_answers(self.held_out, _ASSIGNMENT).reasons
            counts = {reason: (bits & ~self.assigned_bits).bit_count() for reason, bits in static.items()}
        for assignment in self.assignments.values():
            counts[assignment.reason] = counts.get(assignment.reason, 0) + 1
        return counts


class AssignmentService:
    """Assigns a visitor, and encodes the assignments."""

    def __init__(
        self, declarations: Declarations, store: Store, signer: Signer, clock_ms: Callable[[], int] = now_ms
    ) -> None:
        self._declarations = declarations
        self._store = store
        self._signer = signer
        self._clock_ms = clock_ms

    def assign(self, visitor_id: str, body: AssignmentsBody) -> Assigned:
        """
        Assign a visitor to every experiment, or to those that the body names.

        With `expose`, the exposures are durable on return; where they cannot be written, the control is served and nobody is
        exposed. A `preview` token serves its variant, and exposes nobody to it.

        Raises:
            Problem: 400 for a preview token that is invalid or expired.
        """
        live = self._declarations.live
        prepared, visit = live.prepared, _Visit(live, visitor_id, body.context)
        held_out: HeldOut | None = None
        bits = 0
        if body.experiments is None:
            held_out = visit.held_out()
            bits = prepared.relevant(body.context) | prepared.static_answers(held_out, _ASSIGNMENT).unanswered
            assignments = {experiment.key: visit.assign(experiment) for experiment in prepared.select(bits)}
        else:
            by_key = prepared.by_key
            assignments = {key: visit.assign(by_key[key]) if key in by_key else _UNKNOWN for key in body.experiments}
        if body.preview is not None:
            key, assignment = self._preview(live, body.preview)
            assignments[key], bits = assignment, bits | prepared.bit(key)
        claims = {
            key: claim
            for key, assignment in assignments.items()
            if key in prepared.by_key and (claim := visit.claim(prepared.by_key[key], assignment)) is not None
        }
        assigned = Assigned(live, visitor_id, prepared.view(body.context), assignments, claims, held_out, bits)
        return self._expose(assigned, body.context) if body.expose else assigned

    def encode(self, assigned: Assigned, shape: Shape = _ASSIGNMENT, *, signed_s: int | None = None) -> dict[str, Any]:
        """
        Return the assignments by key, encoded, in the order of the declarations or as they were asked for.

        Exposure tokens are signed as of `signed_s`, or now.
        """
        prepared, viewing = assigned.live.prepared, assigned.viewing
        at_s = self._clock_ms() // 1000 if signed_s is None else signed_s
        answers: dict[str, Any] = {}
        if assigned.held_out is not None:
            answers = prepared.static_answers(assigned.held_out, shape).encoded(viewing)
        for key, assignment in assigned.assignments.items():
            experiment, claim = prepared.by_key.get(key), assigned.claims.get(key)
            if experiment is None:
                answers[key] = _unknown_values(assigned.live, key)
                continue
            token = None if claim is None else self._signer.sign(claim, at_s)
            answers[key] = experiment.encode(shape, assignment, token, viewing)
        return answers

    def _preview(self, live: Live, token: str) -> tuple[str, Assignment]:
        try:
            key, variant = self._signer.verify_preview(token, self._clock_ms() // 1000)
        except RequestError as error:
            raise Problem(400, str(error)) from None
        experiment = live.configs.experiments.get(key)
        if experiment is None or variant not in experiment.variants:
            raise Problem(400, f"preview: must name a declared experiment and variant, got {key}, variant {variant}")
        return key, serve(experiment, variant, "preview")

    def _expose(self, assigned: Assigned, context: Mapping[str, Any]) -> Assigned:
        """Write the exposures; where that fails, return the controls, with nobody exposed."""
        live, at_ms, attributes = assigned.live, self._clock_ms(), segment_attributes(context)
        claims = assigned.claims.values()
        try:
            self._store.write([each for claim in claims for each in exposures_of(live, claim, at_ms, attributes)])
        except Exception:  # whatever it is, the shop goes on with the control
            log.exception("exposures cannot be written; the control is served")
            controls = {
                key: serve(live.configs.experiments[key], live.configs.experiments[key].control, "fault")
                for key in assigned.claims
                if assigned.assignments[key].exposable
            }
            return replace(assigned, assignments={**assigned.assignments, **controls}, claims={})
        return assigned


def _unknown_values(live: Live, key: str) -> dict[str, Any]:
    values = {"variant": None, "placement": "none", "offer": None, "reason": "unknown"}
    return values | {"epoch": live.epochs.get(key), "exposure_token": None}
