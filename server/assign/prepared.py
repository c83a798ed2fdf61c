"""
One set of declarations, prepared: everything about an answer that can be computed before a request comes.

Sets of experiments are integers here, one bit an experiment in the order of `PreparedDeclarations.listed`: intersecting two
sets is one operation, however many experiments run, and a set can be the key of a cache.
"""

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from experiments.assignment.audience import listed
from experiments.assignment.draw import Assignment, assign
from experiments.assignment.offers import NOTHING_VIEWED, PreparedOffer, Viewing, encode, encode_products, price_bundle
from experiments.declarations.conditions import Context
from experiments.declarations.loading import Configs
from experiments.declarations.model import Experiment

log = logging.getLogger("crosslift")

MAX_CACHED = 40_000  # encoded answers, half a kilobyte each

NO_UNIT = Assignment(None, "none", None, "no_unit")

# Whether the unit of each kind is held out, in the order of `PreparedDeclarations.units`; None where the request names no unit.
HeldOut = tuple[bool | None, ...]

# The JSON of an answer before and after its token; the key names everything else that the JSON depends on.
Templates = dict[tuple[Any, ...], tuple[bytes, bytes]]

_TOKEN = secrets.token_hex()  # stands in a template where the token of a request goes


class PreparedExperiment:
    """One experiment with its epoch, its offers encoded, and templates of its answers."""

    def __init__(
        self,
        experiment: Experiment,
        epoch: int | None,
        configs: Configs,
        products: Mapping[str, orjson.Fragment],
        templates: Templates,
    ) -> None:
        self.key = experiment.key
        self.experiment = experiment
        self.unit = experiment.unit
        self.layer = None if experiment.layer is None else experiment.layer.name
        self.epoch = epoch
        self.is_running = experiment.status == "running"
        self._configs = configs
        self._templates = templates
        self._control = experiment.control
        self._offers = {
            key: PreparedOffer(variant.offer, configs.products, products)
            for key, variant in experiment.variants.items()
            if variant.offer is not None
        }

    def offer(self, assignment: Assignment) -> PreparedOffer | None:
        """Return the offer of an assignment; a unit outside the experiment gets the control's."""
        return None if assignment.offer is None else self._offers[assignment.variant or self._control]

    def encode(self, shape: "Shape", assignment: Assignment, token: str | None, viewing: Viewing) -> orjson.Fragment:
        """
        Return an assignment in a shape, encoded as JSON.

        Only the token differs between visitors who view the same, so the rest is encoded once and split at the token.
        """
        offer = self.offer(assignment)
        seen = viewing if offer is not None and offer.varies(viewing) else None
        place = shape, self.key, assignment.variant, assignment.reason, assignment.placement, seen, token is None
        template = self._templates.get(place)
        if template is None:
            template = self._split_at_token(shape(self, assignment, None if token is None else _TOKEN, viewing))
            if len(self._templates) >= MAX_CACHED:
                self._templates.clear()
            self._templates[place] = template
        before, after = template
        return orjson.Fragment(before if token is None else before + token.encode() + after)

    @staticmethod
    def _split_at_token(answer: dict[str, Any]) -> tuple[bytes, bytes]:
        """Encode an answer whose token is a stand-in, and return what is before and after it."""
        before, _, after = encode(answer).partition(_TOKEN.encode())
        return before, after

    def assignment_values(self, assignment: Assignment, token: str | None, viewing: Viewing) -> dict[str, Any]:
        """Return an assignment as `POST /v1/assignments` answers it, for orjson."""
        offer = self.offer(assignment)
        return {
            "variant": assignment.variant,
            "placement": assignment.placement,
            "offer": None if offer is None else offer.shown(viewing),
            "reason": assignment.reason,
            "epoch": self.epoch,
            "exposure_token": token,
        }

    def page_values(self, assignment: Assignment, token: str | None, viewing: Viewing) -> dict[str, Any]:
        """Return an assignment as `POST /v1/page` answers it: with its trigger, its unit and the price of a bundle."""
        values = self.assignment_values(assignment, token, viewing)
        values["trigger"] = self.experiment.trigger
        values["unit"] = self.unit
        offer = self.offer(assignment)
        if offer is not None and offer.offer.kind == "bundle" and values["offer"] is not None:
            products, currency = self._configs.products, self._configs.shop.currency
            values["bundle"] = price_bundle(offer.offer, offer.ids(viewing), products, viewing.current, currency)
        return values


Shape = Callable[[PreparedExperiment, Assignment, str | None, Viewing], dict[str, Any]]


class StaticAnswers:
    """
    The answers that need no assignment: of experiments that are paused, ended, or whose audience is elsewhere.

    Attributes:
        unanswered: The experiments that must be assigned for every request all the same, as bits.
        reasons: The experiments that are answered with each reason, as bits.
    """

    def __init__(self, shape: Shape, assignments: Sequence[tuple[PreparedExperiment, Assignment | None]]) -> None:
        self.unanswered = 0
        self.reasons: dict[str, int] = {}
        self._shape = shape
        self._fixed: dict[str, Any] = {}  # in the order of the declarations; None keeps the place of other answers
        self._varying: list[tuple[PreparedExperiment, Assignment]] = []  # their offers depend on what is viewed
        self._by_viewing: dict[Viewing, dict[str, orjson.Fragment]] = {}
        for index, (experiment, assignment) in enumerate(assignments):
            self._fixed[experiment.key] = None
            if assignment is None:
                self.unanswered |= 1 << index
                continue
            self.reasons[assignment.reason] = self.reasons.get(assignment.reason, 0) | 1 << index
            offer = experiment.offer(assignment)
            if offer is None or offer.offer.products is None:
                values = shape(experiment, assignment, None, NOTHING_VIEWED)
                self._fixed[experiment.key] = orjson.Fragment(encode(values))
            else:
                self._varying.append((experiment, assignment))

    def encoded(self, viewing: Viewing) -> dict[str, Any]:
        """Return the answers by key, in the order of the declarations; None keeps the place of the others."""
        answers = self._fixed.copy()
        if self._varying:
            answers.update(self._encoded_varying(viewing))
        return answers

    def _encoded_varying(self, viewing: Viewing) -> dict[str, orjson.Fragment]:
        """Return the answers that depend on what is viewed; cached, since many visitors view the same product."""
        answers = self._by_viewing.get(viewing)
        if answers is None:
            answers = {
                experiment.key: orjson.Fragment(encode(self._shape(experiment, assignment, None, viewing)))
                for experiment, assignment in self._varying
            }
            if len(self._by_viewing) * len(answers) >= MAX_CACHED:
                self._by_viewing.clear()
            self._by_viewing[viewing] = answers
        return answers


@dataclass(frozen=True, slots=True)
class _Listing:
    """
    The experiments whose audience lists the values of one attribute, as bits.

    Attributes:
        attribute: Its name.
        others: The running experiments that do not ask for it.
        by_value: `others`, and the experiments that list the value.
    """

    attribute: str
    others: int
    by_value: Mapping[Any, int]


class PreparedDeclarations:
    """
    Which experiments a request concerns, and the answers for all others.

    Attributes:
        by_key: All that are declared.
        listed: All but drafts, in the order of the declarations: the answer to a request that names none.
        units: The kinds of unit that the experiments randomise.
        layers: The running experiments by the name of their layer.
    """

    def __init__(self, configs: Configs, epochs: Mapping[str, int]) -> None:
        products, templates = encode_products(configs.products), Templates()
        self.by_key = {
            key: PreparedExperiment(experiment, epochs.get(key), configs, products, templates)
            for key, experiment in configs.experiments.items()
        }
        self.listed = [prepared for prepared in self.by_key.values() if prepared.experiment.status != "draft"]
        self.units: Sequence[str] = sorted({prepared.unit for prepared in self.by_key.values()})
        self.layers: dict[str | None, list[PreparedExperiment]] = {}
        for prepared in self.listed:
            if prepared.is_running:
                self.layers.setdefault(prepared.layer, []).append(prepared)
        self._bits = {prepared.key: 1 << index for index, prepared in enumerate(self.listed)}
        self._running = sum(self._bits[prepared.key] for prepared in self.listed if prepared.is_running)
        self._narrow = 0  # the experiments that some context rules out without an assignment
        self._listings = self._list_audiences()
        self._products = configs.products
        self._offered = _offered_products(configs)
        self._selections: dict[int, tuple[PreparedExperiment, ...]] = {}
        self._static: dict[tuple[HeldOut, Shape], StaticAnswers] = {}
        for shape in (PreparedExperiment.assignment_values, PreparedExperiment.page_values):
            # Of a visitor without a customer id, as most are: the first request need not wait.
            self.static_answers(tuple(False if unit == "visitor_id" else None for unit in self.units), shape)

    def _list_audiences(self) -> list[_Listing]:
        """Index the audiences that list values, by attribute and value."""
        values_of: dict[str, dict[Any, int]] = {}
        narrow: dict[str, int] = {}
        for prepared in self.listed:
            for attribute, condition in prepared.experiment.audience.items():
                values = listed(condition)
                if not prepared.is_running or values is None or any(isinstance(value, bool) for value in values):
                    continue  # Python would look up true as 1
                bit = self._bits[prepared.key]
                narrow[attribute] = narrow.get(attribute, 0) | bit
                by_value = values_of.setdefault(attribute, {})
                for value in values:
                    by_value[value] = by_value.get(value, 0) | bit
                self._narrow |= bit
        listings = []
        for attribute, by_value in values_of.items():
            others = self._running & ~narrow[attribute]
            listings.append(_Listing(attribute, others, {value: others | bits for value, bits in by_value.items()}))
        return listings

    def relevant(self, context: Context) -> int:
        """
        Return the running experiments whose audience the context does not rule out, as bits.

        One dictionary lookup an attribute rules out all experiments of other pages at once.
        """
        bits = self._running
        for listing in self._listings:
            value = context.get(listing.attribute)
            is_listable = isinstance(value, (str, int, float))
            bits &= listing.by_value.get(value, listing.others) if is_listable else listing.others
        return bits

    def bit(self, key: str) -> int:
        """Return the bit of an experiment; 0 for one that is not listed."""
        return self._bits.get(key, 0)

    def select(self, bits: int) -> tuple[PreparedExperiment, ...]:
        """Return the experiments of a set of bits, in their order; cached, since pages of one kind ask for one set."""
        selection = self._selections.get(bits)
        if selection is None:
            selection = tuple(prepared for index, prepared in enumerate(self.listed) if bits >> index & 1)
            if len(self._selections) * len(self.listed) >= MAX_CACHED:
                self._selections.clear()
            self._selections[bits] = selection
        return selection

    def view(self, context: Context) -> Viewing:
        """Return what a visitor views, without what no answer depends on: equal views share their cached answers."""
        viewing = Viewing.of(context)
        product = self._products.get(viewing.current)
        complements = product.complements if product else ()
        avoided = [key for key in viewing.avoid if key in self._offered or key in complements]
        return Viewing(product.id if product else "", frozenset(avoided))

    def static_answers(self, held_out: HeldOut, shape: Shape) -> StaticAnswers:
        """Return the answers in a shape that such units get without an assignment."""
        answers = self._static.get((held_out, shape))
        if answers is None:
            by_unit = dict(zip(self.units, held_out, strict=True))
            assignments = [
                (prepared, self._static_assignment(prepared, by_unit[prepared.unit])) for prepared in self.listed
            ]
            answers = self._static[held_out, shape] = StaticAnswers(shape, assignments)
        return answers

    def _static_assignment(self, prepared: PreparedExperiment, is_held_out: bool | None) -> Assignment | None:
        """Assign without a context, where every context that does not concern the experiment gives the same."""
        if prepared.is_running and not self._bits[prepared.key] & self._narrow:
            return None
        if is_held_out is None:
            return NO_UNIT
        try:
            return assign(prepared.experiment, "-", holdout=float(is_held_out))
        except Exception:  # each request meets the fault again, and serves the control
            log.exception("%s cannot be prepared", prepared.key)
            return None


def _offered_products(configs: Configs) -> frozenset[str]:
    """Return the products that some offer lists."""
    offers = [variant.offer for experiment in configs.experiments.values() for variant in experiment.variants.values()]
    return frozenset(
        key for offer in offers if offer is not None and isinstance(offer.products, list) for key in offer.products
    )
