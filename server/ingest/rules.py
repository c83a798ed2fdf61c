"""
The one interpretation of an event: what its fields mean, and which events are refused.

`collector` applies these rules to one event at a time and `batch` to lists of one kind, so both accept the same events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from events.records import FUTURE_MS, EventRecord, Interaction, InteractionKind, parse
from experiments.assignment.draw import assign, unit_of
from experiments.assignment.tokens import Claim, Signer
from experiments.declarations.model import HOLDOUT, Experiment
from experiments.errors import RequestError
from experiments.refusals import describe
from server.assign.declarations import Live
from server.assign.exposures import claim_of, exposures_of, segment_attributes
from server.http.bodies import DerivedExposure, TokenExposure
from server.http.keys import KeyKind

LATE_MS = 7 * 86_400_000  # how long a browser's outbox may have waited
INTERACTIONS = get_args(InteractionKind)
MONEY = ("order", "refund")  # only a secret key may send these
TYPES = ("exposure", *INTERACTIONS, *MONEY)

Event = Mapping[str, Any]

_NO_CONTEXT: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class EventRules:
    """
    How the events of one request are read.

    Attributes:
        live: The declarations that hold.
        signer: Verifies exposure tokens.
        key_kind: What the request's key allows; events sent with a publishable key may be a week late, and no later.
        now_ms: When the request came: the time of events that state none.
    """

    live: Live
    signer: Signer
    key_kind: KeyKind
    now_ms: int

    def records(self, event: Event) -> Sequence[EventRecord]:
        """
        Read one event of any type.

        Raises:
            RequestError: What is wrong with the event.
        """
        event_type = event.get("type")
        if event_type not in TYPES:
            raise RequestError(f"type: must be one of {', '.join(TYPES)}, got {describe(event_type)}")
        if event_type in INTERACTIONS:
            interaction = self.live.reader.interaction(self.interaction_fields(event))
            self.check_interaction(interaction)
            return [interaction]
        fields = {name: value for name, value in event.items() if name != "type"}
        if event_type == "order":
            return [self.live.reader.order(fields)]
        if event_type == "refund":
            return [self.live.reader.refund(fields)]
        return self._exposure(self.live.reader.spelled_out(fields))

    def interaction_fields(self, event: Event) -> dict[str, Any]:
        """Return the fields of an interaction: its type is its kind, and an event without a time happened now."""
        fields = dict(event)
        if "kind" in fields:
            raise RequestError("kind: must not be sent; the event's type is its kind, got both")
        fields["kind"] = fields.pop("type")
        if fields.get("occurred_at") is None and fields.get("occurred_at_ms") is None:
            fields["occurred_at_ms"] = self.now_ms
        return fields

    def check_interaction(self, interaction: Interaction) -> None:
        """
        Check that an interaction names a declared variant, at a time that its sender may state.

        Raises:
            RequestError: It does not.
        """
        self.check_time(interaction.occurred_at_ms, "occurred_at")
        variants = self._experiment(interaction.experiment).variants
        if interaction.variant not in variants:
            raise RequestError(f"variant: must be one of {', '.join(variants)}, got {describe(interaction.variant)}")

    def _exposure(self, fields: Mapping[str, Any]) -> Sequence[EventRecord]:
        sent: TokenExposure | DerivedExposure
        if "exposure_token" in fields:
            sent = parse(TokenExposure, fields)
            at_ms, attributes = sent.exposed_at_ms or self.now_ms, sent.attributes
            claim = self.claim_of_token(sent.exposure_token, at_ms)
            self._check_agreement(sent, claim)
        else:
            sent = parse(DerivedExposure, fields)
            at_ms, attributes = sent.exposed_at_ms or self.now_ms, sent.context | sent.attributes
            claim = self.claim_of_assignment(sent.experiment, sent.unit_id, sent.variant, sent.context)
        self.check_time(at_ms, "exposed_at")
        return exposures_of(self.live, claim, at_ms, segment_attributes(attributes))

    def check_time(self, at_ms: int, name: str) -> None:
        """
        Check the time of an event.

        Raises:
            RequestError: It is in the future, or too long ago for a publishable key.
        """
        if at_ms > self.now_ms + FUTURE_MS:
            raise RequestError(f"{name}: must be at most five minutes in the future, got a later time")
        if self.key_kind == "publishable" and at_ms < self.now_ms - LATE_MS:
            raise RequestError(
                f"{name}: must be within the last 7 days, got an earlier time; send older events with a secret key"
            )

    def claim_of_token(self, token: str, at_ms: int) -> Claim:
        """
        Return what the token of an exposure vouches for.

        Raises:
            RequestError: The token is invalid, or had expired at the time of the exposure.
        """
        return self.signer.verify(token, at_ms // 1000)

    def claim_of_assignment(
        self, key: str, visitor_id: str, sent_variant: str | None = None, context: Mapping[str, Any] = _NO_CONTEXT
    ) -> Claim:
        """
        Assign the unit of an exposure without a token again; the variant that its sender states must agree.

        Raises:
            RequestError: The unit is not in the experiment, or in another variant.
        """
        experiment = self._experiment(key)
        unit_id = unit_of(experiment, visitor_id, context)
        assignment = assign(experiment, unit_id, context, holdout=self.live.configs.shop.holdout)
        claim = claim_of(self.live, experiment, unit_id, context, assignment)
        if claim is None:
            got = f"one that is not ({assignment.reason}); do not send its exposures"
            raise RequestError(f"unit_id: must be a unit that is in {experiment.key}, got {got}")
        if sent_variant is not None and sent_variant != assignment.variant:
            expected = "absent, since the unit is held out"
            if assignment.variant is not None:
                expected = f"{describe(assignment.variant)}, as assigned"
            raise RequestError(f"variant: must be {expected}, got {describe(sent_variant)}")
        return claim

    def _check_agreement(self, sent: TokenExposure, claim: Claim) -> None:
        """Check that what an exposure says besides its token agrees with the token."""
        if (
            claim.experiment != HOLDOUT
        ):  # a visitor who is held out was served an experiment, and exposed to the holdout
            _agree("experiment", sent.experiment, claim.experiment)
            _agree("variant", sent.variant, claim.variant)
        declared = self.live.configs.experiments.get(claim.experiment)  # None if removed since the token was signed
        if claim.experiment == HOLDOUT or (declared is not None and declared.unit == "visitor_id"):
            _agree("unit_id", sent.unit_id, claim.unit_id)  # other units are customers, who may come with a visitor id

    def _experiment(self, key: str) -> Experiment:
        experiment = self.live.configs.experiments.get(key)
        if experiment is None:
            raise RequestError(f"experiment: must be one that is declared, got {describe(key)}")
        return experiment


def _agree(name: str, sent: str | None, signed: str) -> None:
    if sent is not None and sent != signed:
        raise RequestError(f"{name}: must be {describe(signed)}, as the token says, got {describe(sent)}")
