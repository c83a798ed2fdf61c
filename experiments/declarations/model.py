"""What a merchant declares: the classes that validate it, and the contradictions that no single field can show."""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from experiments.declarations.metrics import COLUMNS, METRICS, is_metric
from experiments.declarations.yaml_source import KeyPath
from experiments.placements import OFFER_KINDS, OFFERS_OF_PRODUCTS
from experiments.quantities import (
    Amount,
    Currency,
    Days,
    Discount,
    Effect,
    ExperimentKey,
    Holdout,
    Identifier,
    Margin,
    Name,
    Origin,
    Placement,
    Probability,
    Rate,
    Share,
    Text,
    TimeZone,
    VariantKey,
    identifier,
    refuse,
)

HOLDOUT = "holdout"  # the key of the experiment that the shop's holdout is

Contradiction = tuple[KeyPath, str, str]  # the path, what was found, what is wanted


class Declared(BaseModel):
    """The base of all declarations: no unknown keys, no silent conversions, no later changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _products(value: object) -> object:
    if value == "complements":
        return value
    ids = [identifier(item) for item in value] if isinstance(value, list) else []
    if not ids or not all(isinstance(item, str) and 0 < len(item) <= 256 for item in ids):
        raise refuse("`complements`, or a list of product ids")
    return ids


def _scalar(value: object) -> object:
    if not isinstance(value, (str, int, float, bool)) or (isinstance(value, float) and not math.isfinite(value)):
        raise refuse("text, a number, true or false")
    return value


def _condition(value: object) -> object:
    if value is None or value == {}:
        raise refuse("a value, or conditions such as {at_least: 20}")
    return {"is": value} if not isinstance(value, dict) else value


AnyScalar = Annotated[Any, BeforeValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})]


class Condition(Declared):
    """What one attribute of the visitor's context must be; all that is given must hold."""

    equals: AnyScalar | None = Field(None, alias="is")
    not_: AnyScalar | None = Field(None, alias="not")
    in_: list[AnyScalar] | None = Field(None, alias="in", min_length=1)
    not_in: list[AnyScalar] | None = Field(None, min_length=1)
    at_least: float | None = Field(None, allow_inf_nan=False)
    at_most: float | None = Field(None, allow_inf_nan=False)
    exists: bool | None = None

    def holds_nobody(self) -> bool:
        """Whether no visitor can meet the condition."""
        given = self.model_fields_set - {"exists"}
        empty = self.at_least is not None and self.at_most is not None and self.at_least > self.at_most
        return empty or (self.exists is False and bool(given))


class Layer(Declared):
    """A named slice of the traffic: experiments of one layer with disjoint ranges never share a visitor."""

    name: Name
    start: Share = Field(alias="from")
    end: Share = Field(alias="to")


class Offer(Declared):
    """
    What is offered; `products` are ids, or the catalogue's complements of the product in the request's context.

    `threshold` is the cart's value, `quantity` the number of items, from which free shipping, a gift or a discount is given.
    """

    kind: Literal[OFFER_KINDS]  # type: ignore[valid-type]
    products: (
        Annotated[
            list[Identifier] | Literal["complements"],
            BeforeValidator(_products, json_schema_input_type=list[Identifier] | Literal["complements"]),
        ]
        | None
    ) = None
    limit: int = Field(3, ge=1, le=50)
    headline: Text | None = None
    discount: Discount | None = None
    threshold: Amount | None = None
    quantity: int | None = Field(None, ge=1, le=1000)
    decline: bool = False


class Variant(Declared):
    """One arm: how much of the traffic, where on the page, and what is offered there."""

    weight: float = Field(1.0, ge=0, le=1e9, allow_inf_nan=False)
    placement: Placement
    offer: Offer | None = None

    def contradictions(self, path: KeyPath) -> Iterator[Contradiction]:
        """Return what is wrong between the fields of the variant at a path."""
        if self.placement == "none" and self.offer:
            yield (*path, "offer"), "an offer with `placement: none`", "a placement, or no offer"
        if self.placement != "none" and not self.offer:
            yield path, f"`placement: {self.placement}` with nothing to show there", "an offer"
        if self.offer and self.offer.kind in OFFERS_OF_PRODUCTS and not self.offer.products:
            yield (*path, "offer"), f"a {self.offer.kind} without products", "`products`: ids, or `complements`"
        if self.offer and self.offer.kind == "discount" and not self.offer.discount:
            yield (*path, "offer"), "a discount without an amount", "`discount`, such as 10% or 5.00"


class CustomMetric(Declared):
    """
    A merchant's own metric, over units.

    A `mean` is the sum of a column per unit, a `proportion` the share of units in which it is above 0, a `ratio` the sum of one
    column over the sum of another (`per`). With a `tag`, only lines of products that carry it count.
    """

    kind: Literal["mean", "proportion", "ratio"]
    of: Literal[COLUMNS]  # type: ignore[valid-type]
    per: Literal[COLUMNS] | None = None  # type: ignore[valid-type]
    tag: Name | None = None
    better: Literal["higher", "lower"] = "higher"

    def contradictions(self, path: KeyPath) -> Iterator[Contradiction]:
        """Return what is wrong between the fields of the metric at a path."""
        if self.kind == "ratio" and self.per is None:
            yield path, "a ratio of one column", "`per`: the column that it is divided by"
        if self.kind != "ratio" and self.per is not None:
            yield (*path, "per"), f"a divisor of a {self.kind}", "none, or `kind: ratio`"
        if self.tag is not None and self.of not in ("units", "gross", "orders"):
            yield (
                (*path, "tag"),
                f"a tag with `{self.of}`",
                "one with `units`, `gross` or `orders`, which lines tell apart",
            )


class Metrics(Declared):
    """
    What decides, what explains, and what must not get worse by more than a margin.

    `custom` are a merchant's own metrics by name. `segments` are exposure attributes that the primary metric is broken down by,
    `returning` among them, which every store knows. `correction` holds the p of the secondary metrics together.
    """

    primary: str = "revenue_per_visitor"
    secondary: list[str] = ["conversion", "average_order_value"]
    guardrails: dict[str, Margin] = {}
    custom: dict[Name, CustomMetric] = {}
    segments: Annotated[list[Name], Field(max_length=10)] = ["device", "customer_type", "returning"]
    correction: Literal["holm", "benjamini_hochberg"] | None = None


class Plan(Declared):
    """
    What the experiment was planned to see, and how it is read.

    `cap` is the percentile of buyers at which money is capped for the capped reading beside the plain one; `looks` asks for
    group-sequential bounds at so many equally spaced readings.
    """

    minimum_effect: Effect = 0.05
    power: Probability = 0.8
    confidence: Probability = 0.95
    window: Days = 7
    cap: Probability | None = 0.99
    looks: Annotated[int, Field(ge=2, le=50)] | None = None


class Experiment(Declared):
    """One experiment, as declared in `configs/experiments/<key>.yaml`."""

    # For experiments.assignment.draw; in a slot, since it holds of this very object, and no copy or comparison is to see it.
    __slots__ = ("_prepared",)

    key: ExperimentKey
    title: Text
    hypothesis: Text = ""
    status: Literal["draft", "running", "paused", "ended"] = "draft"
    winner: VariantKey | None = None
    unit: Literal["visitor_id", "customer_id", "company_id"] = "visitor_id"
    trigger: Name = "product_page"
    traffic: Share = 1.0
    salt: Name | None = None
    layer: Layer | None = None
    audience: dict[
        str, Annotated[Condition, BeforeValidator(_condition, json_schema_input_type=AnyScalar | Condition)]
    ] = {}
    variants: dict[VariantKey, Variant] = Field(min_length=2, max_length=50)
    metrics: Metrics = Metrics()
    plan: Plan = Plan()

    @property
    def control(self) -> str:
        """The key of the first variant."""
        return next(iter(self.variants))

    @property
    def weights(self) -> dict[str, float]:
        """The declared weight of every variant."""
        return {key: variant.weight for key, variant in self.variants.items()}

    def contradictions(self) -> Iterator[Contradiction]:
        """Return what is wrong between fields that are each right by themselves."""
        if self.key == HOLDOUT:
            yield ("key",), f"`{HOLDOUT}`, which is the shop's own", "another key"
        if not any(self.weights.values()):
            yield ("variants",), "no weight above 0", "at least one"
        if self.winner is not None and self.winner not in self.variants:
            yield ("winner",), f"`{self.winner}`", f"one of the variants: {', '.join(self.variants)}"
        if self.winner is not None and self.status != "ended":
            yield ("winner",), f"a winner while the status is {self.status}", "`status: ended`, or no winner"
        if self.layer and self.layer.start >= self.layer.end:
            yield ("layer",), "a range that holds nobody", "`from` below `to`"
        for attribute, condition in self.audience.items():
            if condition.holds_nobody():
                yield (
                    ("audience", attribute),
                    "conditions that nobody can meet",
                    "some that exclude one another no more",
                )
        for key, variant in self.variants.items():
            yield from variant.contradictions(("variants", key))
        yield from self._unknown_metrics()

    def _unknown_metrics(self) -> Iterator[Contradiction]:
        named: list[tuple[KeyPath, str]] = [(("metrics", "primary"), self.metrics.primary)]
        named += [(("metrics", "secondary", index), name) for index, name in enumerate(self.metrics.secondary)]
        named += [(("metrics", "guardrails", name), name) for name in self.metrics.guardrails]
        for path, name in named:
            if not is_metric(name) and name not in self.metrics.custom:
                known = [*METRICS, "p90_order_value (or another quantile)", *self.metrics.custom]
                yield path, f"the unknown metric `{name}`", f"one of {', '.join(known)}"
        for name, metric in self.metrics.custom.items():
            path = ("metrics", "custom", name)
            if is_metric(name):
                yield path, f"a metric of its own by the name `{name}`, which every shop has", "another name"
            yield from metric.contradictions(path)


class OrderRules(Declared):
    """
    What of an order is revenue, and which orders count.

    `preset: shopify` is Shopify's own order value: gross less discounts, without tax and shipping, refunds not taken off. `count`
    names reasons for which orders would be left out and here are not, `exclude_tags` tags of orders or customers that do not
    count. `rates` say what 1 of another currency is worth in the shop's; orders in any other are refused. `trust_browser` lets
    orders count that only a browser has told of.
    """

    preset: Literal["shopify"] | None = None
    tax: bool = False
    shipping: bool = False
    refunds: bool = True
    exclude_sources: list[Identifier] = []
    exclude_tags: list[Identifier] = []
    count: list[Identifier] = []
    rates: dict[Currency, Rate] = {}
    trust_browser: bool = False

    def contradictions(self) -> Iterator[Contradiction]:
        """Return what a preset already says."""
        if self.preset and self.model_fields_set & {"tax", "shipping", "refunds"}:
            yield ("orders",), "a preset beside rules of its own", "the preset, or tax, shipping and refunds"

    @property
    def takes_refunds_off(self) -> bool:
        """Whether refunds lower revenue."""
        return self.refunds and self.preset is None


class Shop(Declared):
    """
    The shop as a whole, from `configs/shop.yaml`; without that file, a shop in USD and UTC.

    `plan` holds for experiments that do not say otherwise. `addon_ratio` is how dear a complement may be beside the product that
    it complements before `check` warns: cheap add-ons sell, equal-priced ones do not. `origins` are whose pages may ask a server
    of another origin.
    """

    currency: Currency = "USD"
    time_zone: TimeZone = "UTC"
    platform: Literal["shopify", "woocommerce", "custom"] = "custom"
    holdout: Holdout = 0.0
    addon_ratio: Share = 0.75
    origins: list[Origin] = []
    plan: Plan = Plan()
    orders: OrderRules = OrderRules()

    def contradictions(self) -> Iterator[Contradiction]:
        """Return what is wrong between fields that are each right by themselves."""
        yield from self.orders.contradictions()
        if self.currency in self.orders.rates:
            yield ("orders", "rates"), f"a rate of {self.currency}, the shop's own currency", "rates of others"


class Product(Declared):
    """One product of the catalogue; price and cost in major units of the shop's currency."""

    id: Identifier
    title: Text
    price: Amount
    cost: Amount | None = None
    url: Text = ""
    image: Text = ""
    tags: list[str] = []
    complements: list[Identifier] = []


class Catalog(Declared):
    """The products that offers are made of, from `configs/catalog.yaml`."""

    products: list[Product] = []

    def contradictions(self) -> Iterator[Contradiction]:
        """Return the ids that stand twice."""
        seen: dict[str, int] = {}
        for index, product in enumerate(self.products):
            if product.id in seen:
                wanted = f"each id once; products.{seen[product.id]} has it already"
                yield ("products", index, "id"), f"the id `{product.id}` a second time", wanted
            seen.setdefault(product.id, index)


def declared_dict(experiment: Experiment) -> dict[str, Any]:
    """Return a declaration as plain JSON values, the way a merchant would write it."""
    return experiment.model_dump(mode="json", by_alias=True, exclude_none=True)


def material(declared: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the part of a declaration whose change opens a new epoch.

    Texts, status and segments are left out: they change what people read, not what visitors get.
    """
    rest = {name: value for name, value in declared.items() if name not in ("title", "hypothesis", "status", "winner")}
    if "metrics" in rest:
        rest["metrics"] = {name: value for name, value in rest["metrics"].items() if name != "segments"}
    rest["variants"] = {
        key: variant
        | {"offer": {name: value for name, value in variant.get("offer", {}).items() if name != "headline"}}
        for key, variant in declared["variants"].items()
    }
    return rest
