"""Order values of every variant: mean, median, mode and histogram, since one measure of centre hides the others."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.stats.orders.order_statistics import quantile

BANDS = 30  # about so many, of a round width
DRAWS = 2000
SEED = 20260501
MIN_ORDERS = 30  # of each variant, before its modal band is compared
NO_ORDERS = "no counted orders"

Values = Mapping[int, int]  # how often each value occurs, in minor units


@dataclass(frozen=True, slots=True)
class Bands:
    """Equal price bands in minor units: `count` of `width` from `start`, the last without an upper end."""

    start: int
    width: int
    count: int

    def counts(self, values: Values) -> list[int]:
        """Count the values in every band; what lies outside is in the first or the last."""
        prices, orders = (np.fromiter(part, np.int64, len(values)) for part in (values, values.values()))
        band = ((prices - self.start) // self.width).clip(0, self.count - 1)
        counts: list[int] = np.bincount(band, orders, self.count).astype(int).tolist()
        return counts

    def ends(self, band: int, lowest: int, highest: int) -> tuple[int, int]:
        """Return a band's ends; the first band reaches down to the lowest value, the last band up to the highest."""
        low = self.start + band * self.width
        high = low + self.width
        return (min(low, lowest) if not band else low), (max(high, highest) if band == self.count - 1 else high)


def bands(values: Values) -> Bands:
    """
    Choose bands of a round width (1, 2 or 5 times a power of ten) that show the bulk of the values.

    The bulk lies between the 0.5% and the 99% quantile: one order of ten thousand must not flatten all others.
    """
    low, high = math.floor(quantile(values, 0.005)), math.floor(quantile(values, 0.99))
    rough = max(1.0, (high - low) / BANDS)
    power = 10 ** math.floor(math.log10(rough))
    width = int(next(power * step for step in (1, 2, 5, 10) if power * step >= rough))
    start = low // width * width
    return Bands(start, width, max(1, (high - start) // width + 1))


@dataclass(frozen=True, slots=True)
class HistogramBar:
    """The orders of one price band, whose ends are in major units."""

    low: float
    high: float
    orders: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"from": self.low, "to": self.high, "orders": self.orders}


@dataclass(frozen=True, slots=True)
class ModalShift:
    """
    Whether the most frequent price band moved.

    Attributes:
        moved: Whether `up` or `down` is at least 97.5%; None with a reason.
        up, down: Share of the draws in which the variant's modal band lies above, below the control's.
    """

    moved: bool | None
    up: float | None
    down: float | None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values: dict[str, Any] = {"moved": self.moved, "up": self.up, "down": self.down}
        return values if self.reason is None else values | {"reason": self.reason}


@dataclass(frozen=True, slots=True)
class OrderValues:
    """
    One variant's order values, in major units.

    Attributes:
        mean, median, mode, mode_orders, modal_band: None with a reason where there are no orders.
        mode_orders: How many orders have the most frequent value.
        modal_band: The most frequent price band.
        modal_band_moved: Against the control's; None for the control, and where no variant has orders.
    """

    orders: int
    mean: float | None = None
    median: float | None = None
    mode: float | None = None
    mode_orders: int | None = None
    modal_band: HistogramBar | None = None
    histogram: Sequence[HistogramBar] = ()
    modal_band_moved: ModalShift | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        band = self.modal_band
        values: dict[str, Any] = {"orders": self.orders, "mean": self.mean, "median": self.median, "mode": self.mode}
        if self.mode_orders is not None:
            values["mode_orders"] = self.mode_orders
        values["modal_band"] = None if band is None else [band.low, band.high]
        values["histogram"] = [bar.to_dict() for bar in self.histogram]
        if self.reason is not None:
            values["reason"] = self.reason
        return (
            values if self.modal_band_moved is None else values | {"modal_band_moved": self.modal_band_moved.to_dict()}
        )


def describe(arms: Mapping[str, Values], minor_per_major: int) -> dict[str, OrderValues]:
    """
    Describe the order values of every variant.

    Args:
        arms: How often each value occurs, by variant, the control first; values in minor units.
        minor_per_major: Minor units in one major unit.
    """
    pooled: dict[int, int] = {}
    for values in arms.values():
        for value, orders in values.items():
            pooled[value] = pooled.get(value, 0) + orders
    if not pooled:
        return dict.fromkeys(arms, OrderValues(0, reason=NO_ORDERS))
    shared = bands(dict(sorted(pooled.items())))
    edges = [shared.ends(band, min(pooled), max(pooled)) for band in range(shared.count)]
    control, *variants = arms
    described = {key: _describe(values, shared, edges, minor_per_major) for key, values in arms.items()}
    for key in variants:
        shift = modal_shift(shared.counts(arms[control]), shared.counts(arms[key]))
        described[key] = replace(described[key], modal_band_moved=shift)
    return described


def _describe(values: Values, shared: Bands, edges: Sequence[tuple[int, int]], minor_per_major: int) -> OrderValues:
    n = sum(values.values())
    counts = shared.counts(values)
    histogram = [
        HistogramBar(low / minor_per_major, high / minor_per_major, orders)
        for (low, high), orders in zip(edges, counts, strict=True)
    ]
    if not n:
        return OrderValues(0, histogram=histogram, reason=NO_ORDERS)
    mode = max(values, key=lambda value: (values[value], -value))
    return OrderValues(
        n,
        mean=sum(value * orders for value, orders in values.items()) / n / minor_per_major,
        median=quantile(values, 0.5) / minor_per_major,
        mode=mode / minor_per_major,
        mode_orders=values[mode],
        modal_band=histogram[counts.index(max(counts))],
        histogram=histogram,
    )


def modal_shift(control: Sequence[int], treatment: Sequence[int]) -> ModalShift:
    """Test whether the most frequent price band moved, by a multinomial bootstrap over the orders of each band."""
    counts = [np.array(orders, float) for orders in (control, treatment)]
    if min(count.sum() for count in counts) < MIN_ORDERS:
        return ModalShift(None, None, None, f"fewer than {MIN_ORDERS} orders in an arm")
    random = np.random.default_rng(SEED)
    before, after = (
        random.multinomial(int(count.sum()), count / count.sum(), size=DRAWS).argmax(axis=1) for count in counts
    )
    up, down = float((after > before).mean()), float((after < before).mean())
    return ModalShift(max(up, down) >= 0.975, up, down)
