"""One set of declarations made ready: all that can be known of an answer before a request comes."""

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from experiments.assignment.audience import listed
from experiments.assignment.draw import Assignment, assign
from experiments.assignment.offers import NOTHING_VIEWED, PreparedOffer, Viewing, encode, encode_products, price_bundle
from experiments.declarations.conditions import Context
from experiments.declarations.loading import Configs
from experiments.declarations.model import Experiment

log = logging.getLogger("crosslift")

MOST_KEPT = 40_000  # answers of half a kilobyte each

NO_UNIT = Assignment(None, "none", None, "no_unit")

# Whether the unit of each kind that is randomised is held out; None for one that the request does not name.
Held = tuple[bool | None, ...]


# What an answer is before and after its token; of the same experiment, shape, assignment and viewing it is always the same.
Templates = dict[tuple[Any, ...], tuple[bytes, bytes]]

_TOKEN = secrets.token_hex()  # stands in templates where a token will


class Served:
    """One experiment as it is served: its epoch, and its offers encoded."""

    def __init__(
        self,
        experiment: Experiment,
        epoch: int | None,
        configs: Configs,
        encoded: Mapping[str, orjson.Fragment],
        templates: Templates,
    ) -> None:
        self.key = experiment.key
        self.experiment = experiment
        self.unit = experiment.unit
        self.layer = None if experiment.layer is None else experiment.layer.name
        self.epoch = epoch
        self.runs = experiment.status == "running"
        self._configs = configs
        self._templates = templates
        self._control = experiment.control
        self._offers = {
            key: PreparedOffer(variant.offer, configs.products, encoded)
            for key, variant in experiment.variants.items()
            if variant.offer is not None
        }

    def offer(self, one: Assignment) -> PreparedOffer | None:
        """Give the offer of an assignment; who is not in the experiment is shown the control's."""
        return None if one.offer is None else self._offers[one.variant or self._control]

    def encoded(self, shape: "Shape", one: Assignment, token: str | None, viewing: Viewing) -> orjson.Fragment:
        """Give an assignment in a shape, encoded; only the token is new to a visitor who views what others have viewed."""
        offer = self.offer(one)
        seen = viewing if offer is not None and offer.varies(viewing) else None
        place = shape, self.key, one.variant, one.reason, one.placement, seen, token is None
        found = self._templates.get(place)
        if found is None:
            whole = encode(shape(self, one, None if token is None else _TOKEN, viewing))
            before, _, after = whole.partition(_TOKEN.encode())
            if len(self._templates) >= MOST_KEPT:
                self._templates.clear()
            found = self._templates[place] = before, after
        return orjson.Fragment(found[0] if token is None else found[0] + token.encode() + found[1])

    def shown(self, one: Assignment, token: str | None, viewing: Viewing) -> dict[str, Any]:
        """Give an assignment as `POST /v1/assignments` answers it, for orjson."""
        offer = self.offer(one)
        return {
            "variant": one.variant,
            "placement": one.placement,
            "offer": None if offer is None else offer.shown(viewing),
            "reason": one.reason,
            "epoch": self.epoch,
            "exposure_token": token,
        }

    def shown_on_page(self, one: Assignment, token: str | None, viewing: Viewing) -> dict[str, Any]:
        """Give an assignment as `POST /v1/page` answers it: with its trigger, its unit and the price of a bundle."""
        shown = self.shown(one, token, viewing)
        shown["trigger"] = self.experiment.trigger
        shown["unit"] = self.unit
        offer = self.offer(one)
        if offer is not None and offer.offer.kind == "bundle" and shown["offer"] is not None:
            products, currency = self._configs.products, self._configs.shop.currency
            shown["bundle"] = price_bundle(offer.offer, offer.ids(viewing), products, viewing.current, currency)
        return shown


Shape = Callable[[Served, Assignment, str | None, Viewing], dict[str, Any]]


class Resting:
    """
    What is answered for the experiments that need no assignment: paused, ended, or with an audience that is elsewhere.

    Attributes:
        open: Those that have to be assigned for each request all the same, as bits of `Serving.listed`.
        reasons: Those answered for each reason, as bits.
    """

    def __init__(self, shape: Shape, given: Sequence[tuple[Served, Assignment | None]]) -> None:
        self.open = 0
        self.reasons: dict[str, int] = {}
        self._shape = shape
        self._shown: dict[str, Any] = {}  # in the order of the declarations; None holds a place
        self._varying: list[tuple[Served, Assignment]] = []  # those whose offers depend on what is viewed
        self._varied: dict[Viewing, dict[str, orjson.Fragment]] = {}
        for index, (served, one) in enumerate(given):
            self._shown[served.key] = None
            if one is None:
                self.open |= 1 << index
                continue
            self.reasons[one.reason] = self.reasons.get(one.reason, 0) | 1 << index
            offer = served.offer(one)
            if offer is None or offer.offer.products is None:
                self._shown[served.key] = orjson.Fragment(encode(shape(served, one, None, NOTHING_VIEWED)))
            else:
                self._varying.append((served, one))

    def shown(self, viewing: Viewing) -> dict[str, Any]:
        """Give their answers by key, encoded, in the order of the declarations; others hold their place."""
        shown = self._shown.copy()
        if self._varying:
            shown.update(self._seen_from(viewing))
        return shown

    def _seen_from(self, viewing: Viewing) -> dict[str, orjson.Fragment]:
        """Give what depends on what is viewed, and keep it for others who view the same."""
        found = self._varied.get(viewing)
        if found is None:
            told = ((served, self._shape(served, one, None, viewing)) for served, one in self._varying)
            found = {served.key: orjson.Fragment(encode(shown)) for served, shown in told}
            if len(self._varied) * len(found) >= MOST_KEPT:
                self._varied.clear()
            self._varied[viewing] = found
        return found


class Serving:
    """
    Knows which experiments a request concerns, and what is answered for the others.

    Attributes:
        by_key: All that are declared.
        listed: Those that are answered when none are named, in the order of the declarations: all but drafts.
        units: The kinds of unit that all of them randomise.
        layers: Those that run in a layer, by its name.
    """

    def __init__(self, configs: Configs, epochs: Mapping[str, int]) -> None:
        encoded, templates = encode_products(configs.products), Templates()
        self.by_key = {
            key: Served(one, epochs.get(key), configs, encoded, templates) for key, one in configs.experiments.items()
        }
        self.listed = [one for one in self.by_key.values() if one.experiment.status != "draft"]
        self.units: Sequence[str] = sorted({one.unit for one in self.by_key.values()})
        self.layers: dict[str | None, list[Served]] = {}
        for one in self.listed:
            if one.runs:
                self.layers.setdefault(one.layer, []).append(one)
        self._bits = {one.key: 1 << index for index, one in enumerate(self.listed)}
        self._running = sum(self._bits[one.key] for one in self.listed if one.runs)
        self._narrow = 0  # those that some context rules out
        self._asked = self._by_attribute()
        self._products = configs.products
        self._listed = _listed_products(configs)
        self._sets: dict[int, tuple[Served, ...]] = {}
        self._resting: dict[tuple[Held, Shape], Resting] = {}
        for shape in (Served.shown, Served.shown_on_page):  # of a visitor who is nobody's customer, as most are
            self.resting(tuple(False if unit == "visitor_id" else None for unit in self.units), shape)

    def _by_attribute(self) -> list[tuple[str, int, dict[Any, int]]]:
        """Give for each attribute the experiments that do not list its values, and those besides that list each value."""
        listing: dict[str, dict[Any, int]] = {}
        narrow: dict[str, int] = {}
        for one in self.listed:
            for attribute, condition in one.experiment.audience.items():
                values = listed(condition)
                if not one.runs or values is None or any(isinstance(value, bool) for value in values):
                    continue  # true would be looked up as 1
                narrow[attribute] = narrow.get(attribute, 0) | self._bits[one.key]
                by_value = listing.setdefault(attribute, {})
                for value in values:
                    by_value[value] = by_value.get(value, 0) | self._bits[one.key]
                self._narrow |= self._bits[one.key]
        found = []
        for attribute, by_value in listing.items():
            others = self._running & ~narrow[attribute]
            found.append((attribute, others, {value: others | bits for value, bits in by_value.items()}))
        return found

    def concerned(self, context: Context) -> int:
        """Give the running experiments whose audience a context does not rule out at a glance, as bits."""
        bits = self._running
        for attribute, others, by_value in self._asked:
            value = context.get(attribute)
            bits &= by_value.get(value, others) if isinstance(value, (str, int, float)) else others
        return bits

    def bit(self, key: str) -> int:
        """Give the bit of an experiment; 0 for one that is not listed."""
        return self._bits.get(key, 0)

    def of(self, bits: int) -> tuple[Served, ...]:
        """Give the experiments of some bits, in their order."""
        found = self._sets.get(bits)
        if found is None:
            found = tuple(one for index, one in enumerate(self.listed) if bits >> index & 1)
            if len(self._sets) * len(self.listed) >= MOST_KEPT:
                self._sets.clear()
            self._sets[bits] = found
        return found

    def narrowed(self, context: Context) -> Viewing:
        """Read what a visitor looks at, without what no answer depends on: who looks at the same is answered alike."""
        viewing = Viewing.of(context)
        product = self._products.get(viewing.current)
        complements = product.complements if product else ()
        avoided = [one for one in viewing.avoid if one in self._listed or one in complements]
        return Viewing(product.id if product else "", frozenset(avoided))

    def resting(self, held: Held, shape: Shape) -> Resting:
        """Give what is answered in a shape, `Served.shown` or another, for such units without an assignment."""
        found = self._resting.get((held, shape))
        if found is None:
            by_kind = dict(zip(self.units, held, strict=True))
            given = [(one, self._given_at_rest(one, by_kind[one.unit])) for one in self.listed]
            found = self._resting[held, shape] = Resting(shape, given)
        return found

    def _given_at_rest(self, one: Served, held: bool | None) -> Assignment | None:
        """Assign without a context, where that is what every context gives that does not concern the experiment."""
        if one.runs and not self._bits[one.key] & self._narrow:
            return None
        if held is None:
            return NO_UNIT
        try:
            return assign(one.experiment, "-", holdout=float(held))
        except Exception:  # it is met again with each request, and the control is served
            log.exception("%s cannot be made ready", one.key)
            return None


def _listed_products(configs: Configs) -> frozenset[str]:
    """Give the products that some offer lists."""
    offers = [variant.offer for one in configs.experiments.values() for variant in one.variants.values()]
    return frozenset(
        key for offer in offers if offer is not None and isinstance(offer.products, list) for key in offer.products
    )
