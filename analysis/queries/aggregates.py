"""Moments from an engine: units are counted from exposures alone, and only the few that did something are added up."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from ibis.expr.types import Table

from analysis.queries.unit_facts import alias, history_alias
from analysis.stats.moments import Moments, centre
from experiments.declarations.metrics import Column

Row = Mapping[str, Any]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Place:
    """
    Which units a cell is made of.

    Attributes:
        variant: What they saw.
        epoch: In which epoch.
        day: The first millisecond of the day of their exposure.
    """

    variant: str
    epoch: int
    day: int


@dataclass(frozen=True, slots=True)
class Cell:
    """
    The sums of some units of one variant.

    Attributes:
        buyers: Units with a counted order in their window.
        moments: Over all units of the cell, of the columns of the query.
        orders, costed: Counted orders in the window, and those whose cost is known.
    """

    buyers: int
    moments: Moments
    orders: int
    costed: int

    @classmethod
    def empty(cls, columns: int) -> "Cell":
        """Return the cell of no units."""
        return cls(0, Moments.zeros(0, columns), 0, 0)

    def __add__(self, other: "Cell") -> "Cell":
        """Merge with the cell of other units."""
        return Cell(
            self.buyers + other.buyers,
            self.moments + other.moments,
            self.orders + other.orders,
            self.costed + other.costed,
        )


@dataclass(frozen=True, slots=True)
class Summands:
    """
    What is added up over units, and a constant near each mean that is subtracted before squaring.

    Attributes:
        columns: Over the window.
        before: Over the history before the exposure.
        centres: Of `columns`, then of `before`.
    """

    columns: Sequence[Column]
    before: Sequence[Column]
    centres: Sequence[float]

    @property
    def aliases(self) -> list[str]:
        """The names of what is added up in the table of units."""
        return [*map(alias, self.columns), *map(history_alias, self.before)]


def summands(columns: Sequence[Column], before: Sequence[Column], typical: Mapping[Column, float | None]) -> Summands:
    """Choose a typical value of each money column to subtract before squaring: raw squares of like amounts cancel."""
    centres = [centre(typical.get(column)) if column.is_money else 0.0 for column in (*columns, *before)]
    return Summands(columns, before, centres)


def count_units(exposures: Table, variants: Sequence[str], by: Sequence[str]) -> Table:
    """Count the units of each variant: sums of comparisons, since grouping on text sorts every exposure."""
    counts = {f"v{index}": (exposures.variant == key).sum() for index, key in enumerate(variants)}
    grouped = exposures.group_by(list(by)) if by else exposures
    return grouped.aggregate(**counts)


def units_by_value(rows: Sequence[Row], variants: Sequence[str], by: str) -> dict[str | None, dict[str, int]]:
    """Read rows of `count_units` that were grouped by one column: units by its value, then by variant."""
    return {row[by]: {key: int(row[f"v{index}"] or 0) for index, key in enumerate(variants)} for row in rows}


def sum_units(units: Table, terms: Summands, by: Sequence[str]) -> Table:
    """Add up what units did, and the products of every two columns, by variant and further columns."""
    values = [
        units[name] - typical if typical else units[name]
        for name, typical in zip(terms.aliases, terms.centres, strict=True)
    ]
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


def cells_of(rows: Mapping[Key, Row], units: Mapping[Key, int], terms: Summands) -> dict[Key, Cell]:
    """Return a cell for each key of `units`: the rows of those who did something, and zeros for all others."""
    return {key: _cell(count, rows.get(key), terms.centres) for key, count in units.items()}


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


def merge_by_variant(cells: Mapping[Place, Cell], variants: Sequence[str], columns: int) -> dict[str, Cell]:
    """Merge the cells of each variant; a variant without any has columns of no units."""
    merged = {key: Cell.empty(columns) for key in variants}
    for place, cell in cells.items():
        merged[place.variant] += cell
    return merged
