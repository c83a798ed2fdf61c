"""A store with an experiment, to put events into and to report on."""

from pathlib import Path
from typing import Any

import pytest

from analysis import Report, report
from events import Exposure, Order, Store
from experiments import load
from experiments.declarations.model import declared_dict
from tests.conftest import AB, WriteConfigs

AT = 1_777_636_800_000
DAY = 86_400_000
NOW = AT + 60 * DAY
MARGIN = AB.replace("status: running", "status: running\nmetrics: {primary: revenue_per_visitor, secondary: [margin_per_visitor, orders_per_visitor], guardrails: {conversion: -5%}}")  # fmt: skip


class World:
    """A store with an experiment, to put events into and to report on."""

    def __init__(self, store: Store, configs: Path) -> None:
        self.store, self.configs = store, configs
        self.number = 0

    def declare(self, key: str = "ab") -> int:
        return self.store.open_epoch(key, declared_dict(load(self.configs).experiments[key]), AT)

    def expose(self, unit: str, variant: str, at: int = AT, **fields: Any) -> None:
        told = {"experiment": "ab", "unit_id": unit, "variant": variant, "exposed_at_ms": at}
        self.store.write([Exposure.model_validate({**told, **fields})])

    def order(self, unit: str | None, gross: int, at: int = AT + DAY, **fields: Any) -> None:
        self.number += 1
        told = {
            "order_id": str(self.number),
            "unit_id": unit,
            "ordered_at_ms": at,
            "updated_at_ms": at,
            "gross_minor": gross,
        }
        self.store.write([Order.model_validate({**told, "currency": "USD", **fields})])

    def report(self, key: str = "ab", as_of: int = NOW) -> Report:
        return report(key, self.store.url, self.configs, as_of)


@pytest.fixture
def world(store: Store, write_configs: WriteConfigs) -> World:
    made = World(store, write_configs(ab=MARGIN))
    made.declare()
    return made


def values(found: Report, metric: str) -> dict[str, Any]:
    return {key: one["value"] for key, one in found.to_dict()["metrics"][metric]["variants"].items()}


def fill(world: World, buyers: dict[str, int], units: int = 3000) -> None:
    """Expose `units` a variant, of whom so many buy for 20.00 or 40.00."""
    for variant, count in buyers.items():
        exposures = [
            Exposure(experiment="ab", unit_id=f"{variant}{n}", variant=variant, exposed_at_ms=AT) for n in range(units)
        ]
        orders = [
            Order(
                order_id=f"{variant}{n}", unit_id=f"{variant}{n}", ordered_at_ms=AT + DAY, updated_at_ms=AT + DAY,
                currency="USD", gross_minor=2000 + 2000 * (n % 2), cost_minor=500,
            )
            for n in range(count)
        ]  # fmt: skip
        world.store.write([*exposures, *orders])
