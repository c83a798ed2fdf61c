"""Made-up visitors as columns of numbers: most buy nothing, some come back, order values are skewed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shoppers:
    """One arm's visitors: what each had before and during the experiment; shape (visitors,) each."""

    orders: Floats
    net: Floats
    margin: Floats
    units: Floats
    before_orders: Floats
    before_net: Floats
    taste: Floats


def shoppers(dice: np.random.Generator, n: int, buyers: float = 1.0, dearer: float = 1.0) -> Shoppers:
    """
    Make visitors of whom 20% buy; 25% of the buyers come back; order values are log-normal with a visitor's own level.

    Args:
        dice: The random numbers.
        n: How many.
        buyers, dearer: What the arm multiplies the share of buyers, and the order values, by.
    """
    loyal = dice.random(n) < 0.3
    taste = np.exp(dice.normal(0, 0.8, n))
    bought = dice.random(n) < np.where(loyal, 0.45, 0.1) * buyers
    orders = (bought * (1 + dice.poisson(0.25, n))).astype(float)
    value = 30 * taste * np.exp(dice.normal(0, 0.6, n)) * dearer
    net = orders * value
    before = (loyal * dice.poisson(1.5, n)).astype(float)
    return Shoppers(
        orders, net, net * 0.4 - 2 * orders, orders * (1.0 + dice.poisson(0.5, n)),
        before, before * 30 * taste * np.exp(dice.normal(0, 0.6, n)), taste,
    )  # fmt: skip
