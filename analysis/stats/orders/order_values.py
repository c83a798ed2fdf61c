"""Order values whole: mean, median, mode and the histogram; one measure of centre is the worst number of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.stats.orders.quantiles import quantile

BANDS = 30  # about so many, of a round width
DRAWS = 2000
SEED = 20260501
MIN_ORDERS = 30  # fewer have no modal band worth the name
MODAL_SHIFT_SHARE = 0.975  # of the draws

Values = Mapping[int, int]  # how often each value occurs, in minor units


@dataclass(frozen=True, slots=True)
class Bands:
    """Equal price bands in minor units: `count` of `width` from `start`, the last without an upper end."""

    start: int
    width: int
    count: int

    def counts(self, values: Values) -> list[int]:
        """Count the values in every band; what lies outside is in the first or the last."""
        each, orders = (np.fromiter(part, np.int64, len(values)) for part in (values, values.values()))
        band = ((each - self.start) // self.width).clip(0, self.count - 1)
        found: list[int] = np.bincount(band, orders, self.count).astype(int).tolist()
        return found

    def ends(self, band: int, lowest: int, highest: int) -> tuple[int, int]:
        """Give a band's ends; the first one reaches down to the lowest value, the last one up to the highest."""
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
class Bar:
    """How many orders lie in a price band; its ends in major units."""

    low: float
    high: float
    orders: int

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values of the report."""
        return {"from": self.low, "to": self.high, "orders": self.orders}


@dataclass(frozen=True, slots=True)
class ModalShift:
    """
    Whether the most frequent price band of a variant lies elsewhere than that of the control.

    Attributes:
        moved: Whether `up` or `down` is at least 97.5%; None with a reason.
        up, down: The shares of draws in which it lies above, and below.
    """

    moved: bool | None
    up: float | None
    down: float | None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values of the report."""
        values: dict[str, Any] = {"moved": self.moved, "up": self.up, "down": self.down}
        return values if self.reason is None else values | {"reason": self.reason}


@dataclass(frozen=True, slots=True)
class OrderValues:
    """
    The order values of one variant, in major units; None with a reason where it has no orders.

    Attributes:
        mode_orders: How many orders have the most frequent value.
        modal_band: The most frequent price band.
        modal_band_moved: Against the control; None for the control itself.
    """

    orders: int
    mean: float | None
    median: float | None
    mode: float | None
    mode_orders: int | None
    modal_band: Bar | None
    histogram: Sequence[Bar]
    modal_band_moved: ModalShift | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values of the report."""
        band = None if self.modal_band is None else [self.modal_band.low, self.modal_band.high]
        values: dict[str, Any] = {"orders": self.orders, "mean": self.mean, "median": self.median, "mode": self.mode}
        values |= {} if self.mode_orders is None else {"mode_orders": self.mode_orders}
        values |= {"modal_band": band, "histogram": [bar.to_dict() for bar in self.histogram]}
        values |= {} if self.reason is None else {"reason": self.reason}
        return (
            values if self.modal_band_moved is None else values | {"modal_band_moved": self.modal_band_moved.to_dict()}
        )


def describe(arms: Mapping[str, Values], units: int) -> dict[str, OrderValues]:
    """
    Describe the order values of every variant, in major units.

    Args:
        arms: How often each value occurs, by variant, the control first; values in minor units.
        units: Minor units in a major one.
    """
    pooled: dict[int, int] = {}
    for values in arms.values():
        for value, orders in values.items():
            pooled[value] = pooled.get(value, 0) + orders
    if not pooled:
        return dict.fromkeys(arms, _no_orders([]))
    shared = bands(dict(sorted(pooled.items())))
    outermost = min(pooled), max(pooled)
    control, *treatments = arms
    described = {control: _describe(arms[control], shared, outermost, units)}
    for key in treatments:
        shift = modal_shift(shared, arms[control], arms[key])
        described[key] = replace(_describe(arms[key], shared, outermost, units), modal_band_moved=shift)
    return described


def _no_orders(histogram: Sequence[Bar]) -> OrderValues:
    return OrderValues(0, None, None, None, None, None, histogram, reason="no counted orders")


def _describe(values: Values, shared: Bands, outermost: tuple[int, int], units: int) -> OrderValues:
    n = sum(values.values())
    counts = shared.counts(values)
    ends = [shared.ends(band, *outermost) for band in range(shared.count)]
    histogram = [Bar(low / units, high / units, orders) for (low, high), orders in zip(ends, counts, strict=True)]
    if not n:
        return _no_orders(histogram)
    mode = max(values, key=lambda value: (values[value], -value))
    mean = sum(value * orders for value, orders in values.items()) / n / units
    median, modal_band = quantile(values, 0.5) / units, histogram[counts.index(max(counts))]
    return OrderValues(n, mean, median, mode / units, values[mode], modal_band, histogram)


def modal_shift(shared: Bands, control: Values, treatment: Values) -> ModalShift:
    """Test whether the most frequent price band moved, by a multinomial bootstrap over the band counts."""
    counts = [np.array(shared.counts(values), float) for values in (control, treatment)]
    if min(count.sum() for count in counts) < MIN_ORDERS:
        return ModalShift(None, None, None, f"fewer than {MIN_ORDERS} orders in a variant")
    dice = np.random.default_rng(SEED)
    before, after = (
        dice.multinomial(int(count.sum()), count / count.sum(), size=DRAWS).argmax(axis=1) for count in counts
    )
    up, down = float((after > before).mean()), float((after < before).mean())
    return ModalShift(max(up, down) >= MODAL_SHIFT_SHARE, up, down)
