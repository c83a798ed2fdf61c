"""How made-up shoppers behave, and the true lifts that follow from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from experiments.declarations.conditions import first_failing
from experiments.declarations.loading import Configs, validate
from experiments.declarations.model import Declared, Product, Variant
from experiments.declarations.yaml_source import Source, read_yaml
from experiments.errors import DeclarationError, Fault
from experiments.quantities import Percent, Share

Change = Annotated[float, Percent(-1, 10, "a change such as +4% or -20%")]


class Behaviour(Declared):
    """What a variant changes: buyers by a relative change, and the share of orders that hold a complement."""

    conversion: Change = 0.0
    attach: Share


class Truth(Declared):
    """The whole of `configs/simulation.yaml`."""

    shoppers: Annotated[int, Field(ge=1, le=10_000_000)] = 6000
    days: Annotated[int, Field(ge=1, le=365)] = 14
    conversion: Share = 0.1
    attach: Share = 0.15
    repeat: Share = 0.2
    refunded: Share = 0.04
    doubled: Share = 0.1
    experiments: dict[str, dict[str, Behaviour]] = Field(default_factory=dict)

    def behaviour(self, experiment: str, variant: str) -> Behaviour:
        """Return what a variant changes; one that is not named changes nothing."""
        return self.experiments.get(experiment, {}).get(variant) or Behaviour.model_construct(
            conversion=0.0, attach=self.attach
        )


@dataclass(frozen=True, slots=True)
class TrueLifts:
    """Relative lifts of a variant over its control, as shares; None where the control has nothing."""

    conversion: float | None
    average_order_value: float | None
    revenue_per_visitor: float | None
    margin_per_visitor: float | None


def load_truth(configs_dir: str | Path, configs: Configs) -> Truth:
    """
    Load `simulation.yaml` from the folder of the declarations.

    Raises:
        DeclarationError: It is wrong, or names an experiment or a variant that is not declared.
    """
    path = Path(configs_dir) / "simulation.yaml"
    source = read_yaml(path)
    truth = validate(source, Truth)
    faults = list(_undeclared(source, truth, configs))
    if not mains(configs.products):
        faults.append(
            Fault(str(Path(configs_dir) / "catalog.yaml"), 0, "products", "no product with complements", "at least one")
        )
    if faults:
        raise DeclarationError(faults)
    return truth


def _undeclared(source: Source, truth: Truth, configs: Configs) -> Iterator[Fault]:
    for key, variants in truth.experiments.items():
        if key not in configs.experiments:
            known = ", ".join(configs.experiments)
            yield Fault(
                source.file, source.line(("experiments", key)), f"experiments.{key}", f"`{key}`", f"one of {known}"
            )
            continue
        declared = configs.experiments[key].variants
        for variant in variants.keys() - declared.keys():
            line = source.line(("experiments", key, variant))
            wanted = f"one of {', '.join(declared)}"
            yield Fault(source.file, line, f"experiments.{key}.{variant}", f"`{variant}`", wanted)


def mains(products: Mapping[str, Product]) -> dict[str, float]:
    """Return the products that shoppers look at, with how often: the cheaper the oftener, which skews order values."""
    found = {key: 1 / float(one.price) for key, one in products.items() if one.complements and one.price}
    whole = sum(found.values())
    return {key: share / whole for key, share in found.items()}


def true_lifts(truth: Truth, configs: Configs, experiment: str) -> dict[str, TrueLifts]:
    """Return every variant's true lifts, worked out from its behaviour, its discount and the catalogue."""
    declared = configs.experiments[experiment]
    audience = {key: share for key, share in mains(configs.products).items() if admits(configs, experiment, key)}
    whole = sum(audience.values()) or 1.0

    def order(key: str) -> tuple[float, float, float]:
        behaviour, discount = truth.behaviour(experiment, key), bundle_discount(declared.variants[key])
        net = margin = 0.0
        for main, share in audience.items():
            one = configs.products[main]
            others = [configs.products[other] for other in one.complements if other in configs.products]
            price = sum(float(other.price) for other in others) / max(1, len(others))
            cost = sum(float(other.cost or 0) for other in others) / max(1, len(others))
            added = behaviour.attach * ((1 - discount) * price - discount * float(one.price))
            net += share / whole * (float(one.price) + added)
            margin += share / whole * (float(one.price) + added - float(one.cost or 0) - behaviour.attach * cost)
        return 1 + behaviour.conversion, net, margin

    buyers0, net0, margin0 = order(declared.control)
    lifts = {}
    for key in declared.variants:
        buyers, net, margin = order(key)
        lifts[key] = TrueLifts(
            conversion=_over(buyers, buyers0),
            average_order_value=_over(net, net0),
            revenue_per_visitor=_over(buyers * net, buyers0 * net0),
            margin_per_visitor=_over(buyers * margin, buyers0 * margin0),
        )
    return lifts


def _over(treatment: float, control: float) -> float | None:
    return treatment / control - 1 if control > 0 else None


def admits(configs: Configs, experiment: str, product_id: str) -> bool:
    """Check whether an experiment takes visitors of a product's page."""
    return first_failing(configs.experiments[experiment].audience, page_context(configs.products[product_id])) is None


def page_context(product: Product) -> dict[str, str]:
    """Return the context of a product's page; its first tag is its category."""
    return {"product_id": product.id, "category": product.tags[0] if product.tags else ""}


def bundle_discount(variant: Variant) -> float:
    """Return the share taken off when a complement is bought as a bundle; 0 for other offers."""
    offer = variant.offer
    if offer is None or offer.kind != "bundle" or not (offer.discount or "").endswith("%"):
        return 0.0
    return float((offer.discount or "0%")[:-1]) / 100
