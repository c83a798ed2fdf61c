"""Order values whole: mean, median, mode and the histogram; one measure of centre is the worst number of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.stats.orders.quantiles import quantile

BANDS = 30  # about so many, of a round width
DRAWS = 2000
SEED = 20260501
MIN_ORDERS = 30  # fewer have no modal band worth the name

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


def describe(arms: Mapping[str, Values], units: int) -> dict[str, dict[str, Any]]:
    """
    Give every variant's order values, in major units.

    Args:
        arms: How often each value occurs, by variant, the control first; values in minor units.
        units: Minor units in a major one.
    """
    pooled: dict[int, int] = {}
    for values in arms.values():
        for value, orders in values.items():
            pooled[value] = pooled.get(value, 0) + orders
    if not pooled:
        empty: dict[str, Any] = {
            "orders": 0,
            **dict.fromkeys(("mean", "median", "mode", "modal_band")),
            "histogram": [],
        }
        return {key: {**empty, "reason": "no counted orders"} for key in arms}
    shared = bands(dict(sorted(pooled.items())))
    lowest, highest = min(pooled), max(pooled)
    control = next(iter(arms))
    found = {}
    for key, values in arms.items():
        found[key] = _described(values, shared, (lowest, highest), units)
        if key != control:
            found[key]["modal_band_moved"] = moved(shared, arms[control], values)
    return found


def _described(values: Values, shared: Bands, outermost: tuple[int, int], units: int) -> dict[str, Any]:
    n = sum(values.values())
    counts = shared.counts(values)
    ends = [shared.ends(band, *outermost) for band in range(shared.count)]
    histogram = [
        {"from": low / units, "to": high / units, "orders": orders}
        for (low, high), orders in zip(ends, counts, strict=True)
    ]
    if not n:
        empty = dict.fromkeys(("mean", "median", "mode", "modal_band"))
        return {"orders": 0, **empty, "histogram": histogram, "reason": "no counted orders"}
    mode = max(values, key=lambda value: (values[value], -value))
    band = counts.index(max(counts))
    return {
        "orders": n,
        "mean": sum(value * orders for value, orders in values.items()) / n / units,
        "median": quantile(values, 0.5) / units,
        "mode": mode / units,
        "mode_orders": values[mode],
        "modal_band": [end / units for end in ends[band]],
        "histogram": histogram,
    }


def moved(shared: Bands, control: Values, treatment: Values) -> dict[str, Any]:
    """
    Say whether the most frequent price band moved, by a multinomial bootstrap over the band counts.

    Returns:
        `up` and `down`: the share of draws in which the variant's modal band lies above, below the control's; `moved` where
        either is at least 97.5%; all None with a reason where there are too few orders.
    """
    counts = [np.array(shared.counts(values), float) for values in (control, treatment)]
    if min(count.sum() for count in counts) < MIN_ORDERS:
        return {"moved": None, "up": None, "down": None, "reason": f"fewer than {MIN_ORDERS} orders in an arm"}
    dice = np.random.default_rng(SEED)
    before, after = (
        dice.multinomial(int(count.sum()), count / count.sum(), size=DRAWS).argmax(axis=1) for count in counts
    )
    up, down = float((after > before).mean()), float((after < before).mean())
    return {"moved": max(up, down) >= 0.975, "up": up, "down": down}
