"""Which variants a visitor gets; a fault serves the control and shows itself."""

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from events.clock import now_ms
from events.records import Exposure
from events.store import Store
from experiments.assignment import Assignment, assign, serve, unit_of
from experiments.declaration import declared_dict
from experiments.errors import RequestError
from experiments.loading import Configs
from experiments.offers import resolve
from server.requests import AssignmentsBody
from server.tokens import Claim, Signer

log = logging.getLogger("crosslift")


def mint_visitor_id(at_ms: int) -> str:
    """Make a visitor id that sorts by time, so that stores append instead of scattering: 48 bits of time, 80 at random."""
    return f"{at_ms:012x}{secrets.token_hex(10)}"


@dataclass(frozen=True)
class Live:
    """The declarations that are served now, and the epoch of each."""

    configs: Configs
    epochs: Mapping[str, int]


def open_epochs(configs: Configs, store: Store, at_ms: int) -> Live:
    """Open the epochs of all running experiments; a paused or ended one keeps its last."""
    epochs = {
        key: store.open_epoch(key, declared_dict(one), at_ms)
        for key, one in configs.experiments.items()
        if one.status == "running"
    }
    return Live(configs, epochs)


@dataclass(frozen=True, slots=True)
class Given:
    """An assignment, and the unit that it was made for; empty where there is none."""

    assignment: Assignment
    unit_id: str = ""


class Assignments:
    """Answers `POST /v1/assignments`."""

    def __init__(self, live: Live, store: Store, signer: Signer, clock_ms: Callable[[], int] = now_ms) -> None:
        self.live = live
        self._store = store
        self._signer = signer
        self._clock_ms = clock_ms

    def answer(self, body: AssignmentsBody, visitor_id: str) -> dict[str, Any]:
        """
        Give every experiment's assignment for a visitor, or those that the body names.

        With `expose`, the exposures are durable before the answer is given; where they cannot be written, the control is
        served, and nothing is exposed.
        """
        configs = self.live.configs
        keys = body.experiments
        if keys is None:
            keys = [key for key, one in configs.experiments.items() if one.status != "draft"]
        given = {key: self._assign(key, visitor_id, body.context) for key in keys}
        if body.expose:
            self._expose(given, body.context)
        shown = {key: self._shown(key, one, body.context) for key, one in given.items()}
        return {"visitor_id": visitor_id, "assignments": shown}

    def _assign(self, key: str, visitor_id: str, context: Mapping[str, Any]) -> Given:
        experiment = self.live.configs.experiments.get(key)
        if experiment is None:
            return Given(Assignment(None, "none", None, "unknown"))
        try:
            unit_id = unit_of(experiment, visitor_id, context)
        except RequestError:
            return Given(Assignment(None, "none", None, "no_unit"))
        try:
            return Given(assign(experiment, unit_id, context, holdout=self.live.configs.shop.holdout), unit_id)
        except Exception:  # whatever it is, the shop goes on with the control
            log.exception("assigning %s failed; the control is served", key)
            return Given(serve(experiment, experiment.control, "fault"))

    def _expose(self, given: dict[str, Given], context: Mapping[str, Any]) -> None:
        at_ms, attributes = self._clock_ms(), plain(context)
        exposed = {key: self._claim(key, one) for key, one in given.items() if one.assignment.exposable}
        try:
            self._store.write(
                [
                    Exposure(
                        experiment=key,
                        unit_id=claim.unit_id,
                        variant=claim.variant,
                        epoch=claim.epoch,
                        exposed_at_ms=at_ms,
                        attributes=attributes,
                    )
                    for key, claim in exposed.items()
                ]
            )
        except Exception:  # as above
            log.exception("exposures cannot be written; the control is served")
            for key in exposed:
                experiment = self.live.configs.experiments[key]
                given[key] = Given(serve(experiment, experiment.control, "fault"))

    def _claim(self, key: str, one: Given) -> Claim:
        variant = one.assignment.variant
        assert variant is not None  # noqa: S101  who is exposable has one
        return Claim(key, variant, one.unit_id, self.live.epochs[key])

    def _shown(self, key: str, one: Given, context: Mapping[str, Any]) -> dict[str, Any]:
        token = self._signer.sign(self._claim(key, one), self._clock_ms() // 1000) if one.assignment.exposable else None
        return {
            "variant": one.assignment.variant,
            "placement": one.assignment.placement,
            "offer": resolve(one.assignment.offer, self.live.configs.products, context),
            "reason": one.assignment.reason,
            "epoch": self.live.epochs.get(key),
            "exposure_token": token,
        }


def plain(context: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of a context what a segment can be made of: short text, numbers, true and false."""
    return {
        name: value
        for name, value in context.items()
        if isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= 256)
    }
