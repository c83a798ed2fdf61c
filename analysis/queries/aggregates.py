"""Moments out of an engine: units are counted out of exposures alone, and the few that did something are added up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ibis.expr.types import Table

from analysis.metrics import MONEY
from analysis.stats.moments import Moments, centre

Row = Mapping[str, Any]
Place = tuple[Any, ...]  # the variant, and the values of what it is broken down by


@dataclass(frozen=True, slots=True)
class Cell:
    """
    What the units of one variant, in one place, add up to.

    Attributes:
        buyers: Units with a counted order in their window.
        moments: Over all units of the cell, of the columns that were asked for.
        orders, costed: Counted orders in the window, and those whose cost is known.
    """

    buyers: int
    moments: Moments
    orders: int
    costed: int

    def __add__(self, other: "Cell") -> "Cell":
        """Merge with the cell of other units."""
        return Cell(
            self.buyers + other.buyers,
            self.moments + other.moments,
            self.orders + other.orders,
            self.costed + other.costed,
        )


def counted(exposures: Table, variants: Sequence[str], by: Sequence[str]) -> Table:
    """Count the units of each variant: sums of comparisons, since grouping on text sorts every exposure."""
    counts = {f"v{index}": (exposures.variant == key).sum() for index, key in enumerate(variants)}
    grouped = exposures.group_by(list(by)) if by else exposures
    return grouped.aggregate(total=exposures.count(), **counts)


def units_by_place(rows: Sequence[Row], variants: Sequence[str], by: Sequence[str]) -> tuple[dict[Place, int], int]:
    """Give the units by variant and place, and how many exposures name a variant that is not declared."""
    found = {
        (key, *(row[name] for name in by)): int(row[f"v{index}"] or 0)
        for row in rows
        for index, key in enumerate(variants)
    }
    return found, sum(int(row["total"]) for row in rows) - sum(found.values())


def centres_of(columns: Sequence[str], typical: Mapping[str, float | None]) -> list[float]:
    """Give a typical value of each column to subtract before squaring: raw squares of like amounts cancel."""
    return [centre(typical.get(name)) if name in MONEY else 0.0 for name in columns]


def summed(units: Table, columns: Sequence[str], centres: Sequence[float], by: Sequence[str]) -> Table:
    """Add up what units did, and the products of every two columns, by variant and place."""
    values = [units[name] - typical if typical else units[name] for name, typical in zip(columns, centres, strict=True)]
    sums: dict[str, Any] = {
        "n": units.count(),
        "buyers": (units.all_orders > 0).sum(),
        "orders": units.all_orders.sum(),
        "costed": units.all_costed.sum(),
    }
    for i, first in enumerate(values):
        sums[f"s{i}"] = first.sum()
        sums |= {f"p{i}_{j}": (first * second).sum() for j, second in enumerate(values[i:], i)}
    return units.group_by(["variant", *by]).aggregate(**sums)


def cells_of(
    rows: Sequence[Row], units: Mapping[Place, int], centres: Sequence[float], by: Sequence[str]
) -> dict[Place, Cell]:
    """Give every place's cell: those who did something, and zeros for all others."""
    done = {(row["variant"], *(row[name] for name in by)): row for row in rows}
    return {place: _cell(count, done.get(place), centres) for place, count in units.items()}


def _cell(units: int, row: Row | None, centres: Sequence[float]) -> Cell:
    k = len(centres)
    if row is None:
        return Cell(0, Moments.zeros(units, k), 0, 0)
    n = int(row["n"])
    at = range(k)
    sums = np.array([row[f"s{i}"] for i in at], float)
    products = np.array([[row[f"p{min(i, j)}_{max(i, j)}"] for j in at] for i in at], float)
    moments = Moments.from_centred_sums(n, sums, products, centres) + Moments.zeros(units - n, k)
    return Cell(int(row["buyers"]), moments, round(row["orders"]), round(row["costed"]))


def merged(cells: Mapping[Place, Cell], variants: Sequence[str], k: int) -> dict[str, Cell]:
    """Merge every variant's cells, whatever they were broken down by; a variant without any has k columns of no units."""
    found = {key: Cell(0, Moments.zeros(0, k), 0, 0) for key in variants}
    for (key, *_place), cell in cells.items():
        found[key] += cell
    return found
