"""
What ruins experiments though it is valid: each finding says where, what, why it matters and what to write instead.

Rules look at what runs: drafts and ended experiments may stand as they are. Rules that need the store's history (too little
traffic, a changed salt) stand in analysis/planning/store_lint.py.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations

from experiments.declarations.conditions import first_failing
from experiments.declarations.loading import Configs
from experiments.declarations.model import Experiment, Offer, Product, Variant
from experiments.declarations.yaml_source import KeyPath
from experiments.placements import is_seen_before

SMALL_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Lint:
    """
    One finding.

    Attributes:
        rule: Its name.
        file, line, path: Where; line 1-based.
        found: What stands there.
        why: What it does to an experiment.
        instead: What to write.
    """

    rule: str
    file: str
    line: int
    path: str
    found: str
    why: str
    instead: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.path}: {self.found} [{self.rule}]\n    {self.why} {self.instead}"


class Eligible:
    """The products whose pages an audience lets in; worked out once for every audience that asks the same."""

    def __init__(self, products: Mapping[str, Product], addon_ratio: float) -> None:
        self._products = products
        self._ratio = Decimal(repr(addon_ratio))
        self._mains: dict[str, dict[str, Product]] = {}
        self._troubles: dict[tuple[str, str], tuple[list[str], list[str]]] = {}

    def mains(self, experiment: Experiment) -> dict[str, Product]:
        """Return the eligible products, by what the audience asks of `product_id` and `category` (a tag)."""
        asked = {name: one for name, one in experiment.audience.items() if name in ("product_id", "category")}
        key = repr(asked)
        if key not in self._mains:
            self._mains[key] = {
                product_id: product
                for product_id, product in self._products.items()
                if any(
                    first_failing(asked, {"product_id": product_id, "category": tag}) is None
                    for tag in product.tags or [""]
                )
            }
        return self._mains[key]

    def troubles(self, experiment: Experiment, kind: str) -> tuple[list[str], list[str]]:
        """Return the complements that the catalogue lacks, and those whose price does not suit the kind of offer."""
        mains = self.mains(experiment)
        key = (str(id(mains)), kind)
        if key not in self._troubles:
            missing: list[str] = []
            unsuited: list[str] = []
            for main in mains.values():
                for other in main.complements:
                    product = self._products.get(other)
                    if product is None:
                        missing.append(f"{other} (of {main.id})")
                    elif kind == "upsell" and product.price < main.price:
                        unsuited.append(f"{other} is cheaper than {main.id}")
                    elif kind in ("cross_sell", "bundle") and product.price > main.price * self._ratio:
                        unsuited.append(f"{other} costs {product.price / main.price:.0%} of {main.id}")
            self._troubles[key] = missing, unsuited
        return self._troubles[key]


def lint(configs: Configs) -> list[Lint]:
    """Return what is wrong with declarations that are valid, file by file."""
    found: list[Lint] = []
    catalogue = Eligible(configs.products, configs.shop.addon_ratio)
    complementary = {other for one in configs.products.values() for other in one.complements}
    for experiment in configs.experiments.values():
        if experiment.status != "ended":
            found += _of_one(configs, experiment, catalogue, complementary)
    running = [one for one in configs.experiments.values() if one.status == "running"]
    for first, second in combinations(running, 2):
        found += _of_two(configs, first, second)
    return sorted(found, key=lambda one: (one.file, one.line))


def at(configs: Configs, experiment: Experiment, path: KeyPath, rule: str, found: str, why: str, instead: str) -> Lint:
    """Place a finding in an experiment's file."""
    source = configs.sources[experiment.key]
    return Lint(rule, source.file, source.line(path), ".".join(map(str, path)), found, why, instead)


def _of_one(configs: Configs, experiment: Experiment, catalogue: Eligible, complementary: set[str]) -> Iterator[Lint]:
    yield from _guardrails(configs, experiment)
    total = sum(experiment.weights.values())
    for key, variant in experiment.variants.items():
        path: KeyPath = ("variants", key)
        if 0 < variant.weight < SMALL_SHARE * total:
            yield at(
                configs, experiment, (*path, "weight"), "small-arm", f"{variant.weight / total:.1%} of the traffic",
                "An arm this small decides how long the whole experiment takes.", "Give it at least 5%, or leave it out.",
            )  # fmt: skip
        if is_seen_before(variant.placement, experiment.trigger):
            yield at(
                configs, experiment, (*path, "placement"), "before-trigger",
                f"{variant.placement}, which is seen before the trigger {experiment.trigger}",
                "Visitors would differ between the arms before they enter, so the arms could not be compared.",
                f"Move the trigger to where {variant.placement} is first seen, or the placement behind the trigger.",
            )  # fmt: skip
        yield from _offer(configs, experiment, path, variant, catalogue, complementary)


def _guardrails(configs: Configs, experiment: Experiment) -> Iterator[Lint]:
    primary = experiment.metrics.primary
    if primary in experiment.metrics.guardrails:
        yield at(
            configs, experiment, ("metrics", "guardrails", primary), "guardrail-is-primary", "the primary metric as a guardrail",
            "What decides cannot also be what must merely not get worse.", "Leave it out, or take another guardrail.",
        )  # fmt: skip


def _offer(
    configs: Configs,
    experiment: Experiment,
    path: KeyPath,
    variant: Variant,
    catalogue: Eligible,
    complementary: set[str],
) -> Iterator[Lint]:
    offer = variant.offer
    if offer is None:
        return
    place = (*path, "offer")
    if offer.kind == "bundle" and not offer.decline:
        yield at(
            configs, experiment, place, "no-decline", "a bundle that cannot be declined",
            "Who cannot say no leaves; and a no that is not counted cannot be read.", "Add `decline: true`.",
        )  # fmt: skip
    if isinstance(offer.products, list):
        mains = catalogue.mains(experiment)
        yield from _listed(configs, experiment, (*place, "products"), offer, mains, complementary)
    elif offer.products == "complements":
        yield from _complements(configs, experiment, (*place, "products"), offer.kind, catalogue)


def _listed(
    configs: Configs,
    experiment: Experiment,
    path: KeyPath,
    offer: Offer,
    mains: Mapping[str, Product],
    complementary: set[str],
) -> Iterator[Lint]:
    kind, ids = offer.kind, offer.products if isinstance(offer.products, list) else []
    suited = {other for one in mains.values() for other in one.complements} or complementary
    for index, product_id in enumerate(ids):
        place = (*path, index)
        product = configs.products.get(product_id)
        if product is None:
            yield at(
                configs, experiment, place, "unknown-product", f"`{product_id}`, which the catalogue does not have",
                "It would be shown without a title, a price or a picture.", "Add it to the catalogue, or take it out.",
            )  # fmt: skip
        elif kind in ("cross_sell", "bundle") and product_id not in suited:
            yield at(
                configs, experiment, place, "not-complementary", f"`{product_id}`, which no product names as a complement",
                "What does not go with the product is seldom bought with it.",
                "Offer `complements`, or name it in the `complements` of the products that it goes with.",
            )  # fmt: skip
        elif kind in ("cross_sell", "bundle") and _too_dear(configs, product, mains):
            yield at(
                configs, experiment, place, "dear-complement", f"`{product_id}`, too dear beside every product it is shown with",
                f"Cheap add-ons sell, equal-priced ones do not (addon_ratio is {configs.shop.addon_ratio:.0%}).",
                "Name a cheaper product, or raise addon_ratio in shop.yaml.",
            )  # fmt: skip
        elif kind == "upsell" and any(product.price < one.price for one in mains.values() if one.id != product_id):
            yield at(
                configs, experiment, place, "cheaper-upsell", f"`{product_id}`, cheaper than a product it is shown with",
                "An upsell to something cheaper lowers the order.", "Name a dearer product, or make it a cross_sell.",
            )  # fmt: skip


def _too_dear(configs: Configs, product: Product, mains: Mapping[str, Product]) -> bool:
    ratio = Decimal(repr(configs.shop.addon_ratio))
    beside = [one for one in mains.values() if one.id != product.id]
    return bool(beside) and all(product.price > one.price * ratio for one in beside)


def _complements(
    configs: Configs, experiment: Experiment, path: KeyPath, kind: str, catalogue: Eligible
) -> Iterator[Lint]:
    if not any(one.complements for one in catalogue.mains(experiment).values()):
        yield at(
            configs, experiment, path, "no-complements", "complements, of which no eligible product has any",
            "There would be nothing to show, and every arm would be the control.", "Name `complements` in the catalogue.",
        )  # fmt: skip
    missing, dear = catalogue.troubles(experiment, kind)
    if missing:
        yield at(
            configs, experiment, path, "unknown-product", f"complements that the catalogue does not have: {_some(missing)}",
            "They would be shown without a title, a price or a picture.", "Add them to the catalogue, or take them out.",
        )  # fmt: skip
    if dear and kind == "upsell":
        yield at(
            configs, experiment, path, "cheaper-upsell", _some(dear), "An upsell to something cheaper lowers the order.",
            "Name dearer products, or make it a cross_sell.",
        )  # fmt: skip
    elif dear:
        yield at(
            configs, experiment, path, "dear-complement", _some(dear),
            f"Cheap add-ons sell, equal-priced ones do not (addon_ratio is {configs.shop.addon_ratio:.0%}).",
            "Name cheaper complements, or raise addon_ratio in shop.yaml.",
        )  # fmt: skip


def _some(items: list[str]) -> str:
    return ", ".join(items[:3]) + (f" and {len(items) - 3} more" if len(items) > 3 else "")


def _of_two(configs: Configs, first: Experiment, second: Experiment) -> Iterator[Lint]:
    one, two = first.layer, second.layer
    shared = one is not None and two is not None and one.name == two.name
    if shared and one and two and max(one.start, two.start) < min(one.end, two.end):
        overlap = f"{max(one.start, two.start):.4g} to {min(one.end, two.end):.4g}"
        yield at(
            configs, second, ("layer",), "layer-overlap", f"a range that shares {overlap} with {first.key}",
            "Visitors in both would see two experiments where the layer promises one.",
            f"Begin where {first.key} ends ({one.end * 100:g}%), or take another layer.",
        )  # fmt: skip
    if shared and first.unit != second.unit:
        yield at(
            configs, second, ("layer",), "mixed-layer", f"{second.unit} in a layer where {first.key} randomises {first.unit}",
            "A visitor and a customer are dealt apart, so the ranges do not keep one person out of both.",
            "Take the same unit in both, or another layer.",
        )  # fmt: skip
    if (shared and first.unit == second.unit) or first.trigger != second.trigger:
        return
    places = _places(first) & _places(second)
    if places:
        yield at(
            configs, second, ("variants",), "same-place", f"{', '.join(sorted(places))} at {second.trigger}, as in {first.key}",
            "Two offers would compete for one place, and each experiment would measure the other too.",
            "Put both into one layer with disjoint ranges.",
        )  # fmt: skip


def _places(experiment: Experiment) -> set[str]:
    return {variant.placement for variant in experiment.variants.values()} - {"none"}
