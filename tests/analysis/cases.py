"""Stores in every state that a report must be readable in, made through the real Store API."""

import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from analysis import Report
from events import Exposure, Interaction, Order, open_store
from tests.analysis.conftest import AT, DAY, MARGIN, World

GERMAN = "Edelstahl-Wasserkocher-Zubehör & Geschenkverpackungsservice"
THAI = "กาต้มน้ำไฟฟ้าสแตนเลสพร้อมชุดของขวัญสำหรับเทศกาลปีใหม่"
ARMS = ("none", "below", "sidebar", "after-add", "popup", "bundle")

SEGMENTED = MARGIN.replace("guardrails: {conversion: -5%}", "guardrails: {conversion: -5%}, segments: [category]")
SIX = (
    SEGMENTED[: SEGMENTED.index("variants:")]
    + "variants:\n  none: {placement: none}\n"
    + "".join(
        f"  {key}: {{placement: below_product, offer: {{kind: cross_sell, products: [p1]}}}}\n" for key in ARMS[1:]
    )
)


@dataclass(frozen=True)
class Case:
    """
    What happened in an experiment.

    Attributes:
        shares: By variant: how many of its units buy, what an order is worth more than the control's, units.
        days: Over how many days units are exposed.
        categories: The segment's values.
        lost: The share of the last variant's exposures that never arrive.
        after: How many days after the last exposure the report is read.
    """

    shares: dict[str, tuple[float, float]]
    units: int = 3000
    days: int = 20
    declaration: str = SEGMENTED
    categories: Sequence[str] = ("kettles", "cameras")
    lost: float = 0.0
    after: int = 8
    currency: str = "USD"


CASES = {
    "win": Case({"control": (0.20, 1.0), "offer": (0.27, 1.1)}),
    "loss": Case({"control": (0.27, 1.0), "offer": (0.18, 1.0)}),
    "no-difference": Case(
        {"control": (0.60, 1.0), "offer": (0.60, 1.0)},
        units=9000,
        declaration=SEGMENTED + "plan: {minimum_effect: 15%}\n",
    ),
    "early": Case({"control": (0.05, 1.0), "offer": (0.06, 1.0)}, units=150, days=2, after=1),
    "lost-exposures": Case({"control": (0.20, 1.0), "offer": (0.27, 1.1)}, units=12000, lost=0.05),
    "six-arms": Case(
        dict(zip(ARMS, [(0.2, 1.0), (0.24, 1.1), (0.21, 1.0), (0.2, 1.3), (0.15, 1.0), (0.2, 0.9)], strict=True)),
        units=2000,
        declaration=SIX,
    ),
    "unbounded": Case({"control": (0.004, 1.0), "offer": (0.08, 1.0)}, units=500, days=5),
    "no-buyers": Case({"control": (0.0, 1.0), "offer": (0.0, 1.0)}, units=400, days=5),
    "names": Case({"control": (0.2, 1.0), "offer": (0.24, 1.0)}, categories=(GERMAN, THAI, "<b>$5 & more</b>")),
    "sixty-days": Case({"control": (0.2, 1.0), "offer": (0.215, 1.02)}, units=6000, days=60),
    "empty": Case({"control": (0.0, 1.0), "offer": (0.0, 1.0)}, units=0),
}


def fill_case(world: World, case: Case, seed: int = 1) -> World:
    """Put a case into a store, as far as it happened."""
    dice = random.Random(seed)
    last = list(case.shares)[-1]
    for variant, (share, dearer) in case.shares.items():
        exposures, interactions, orders = [], [], []
        for n in range(case.units):
            unit, at = f"{variant}-{n}", AT + int(n / case.units * case.days) * DAY + dice.randrange(DAY)
            category = dice.choice(case.categories)
            gone = variant == last and dice.random() < case.lost
            if not gone:
                exposures.append(
                    Exposure(
                        experiment="ab",
                        unit_id=unit,
                        variant=variant,
                        exposed_at_ms=at,
                        attributes={"category": category},
                    )
                )
            if variant not in ("control", "none") and not gone:
                interactions += _interactions(unit, variant, at, dice)
            if dice.random() < share:
                orders.append(_order(unit, at + dice.randrange(6 * DAY), dice, dearer, case.currency))
        world.store.write([*exposures, *interactions, *orders])
    return world


def _interactions(unit: str, variant: str, at: int, dice: random.Random) -> list[Interaction]:
    found: list[Interaction] = []
    for kind, share in (("impression", 0.7), ("click", 0.3), ("add_to_cart", 0.5), ("decline", 0.05)):
        if dice.random() > share:
            break
        found.append(
            Interaction.model_validate(
                {
                    "event_id": f"{unit}-{kind}",
                    "kind": kind,
                    "experiment": "ab",
                    "variant": variant,
                    "unit_id": unit,
                    "occurred_at_ms": at + 1000,
                }
            )
        )
    return found


def _order(unit: str, at: int, dice: random.Random, dearer: float, currency: str) -> Order:
    gross = round(dice.choice([1990, 2490, 2490, 4990, 8900]) * dearer * dice.choice([1, 1, 1, 2])) + dice.choice(
        [0, 0, 490]
    )
    return Order(
        order_id=unit,
        unit_id=unit,
        ordered_at_ms=at,
        updated_at_ms=at,
        currency=currency,
        gross_minor=gross,
        cost_minor=gross // 2,
    )


@cache
def report_of(name: str) -> Report:
    """Return the report of a case, out of a store of its own; made once."""
    case = CASES[name]
    with TemporaryDirectory() as folder:
        configs = Path(folder) / "configs"
        (configs / "experiments").mkdir(parents=True)
        (configs / "experiments" / "ab.yaml").write_text(case.declaration, encoding="utf-8")
        with closing(open_store(f"sqlite:///{folder}/events.db")) as store:
            world = World(store, configs)
            world.declare()
            fill_case(world, case)
            return world.report(as_of=AT + (case.days + case.after) * DAY)
