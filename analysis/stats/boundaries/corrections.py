"""Several p held together: Holm's and Benjamini and Hochberg's corrections. statsmodels' own would take two seconds to import."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

Method = Literal["holm", "benjamini_hochberg"]


def corrected(p_values: Sequence[float | None], method: Method) -> list[float | None]:
    """
    Correct several p for their number; None stays None, and counts for nothing.

    Source: Holm (1979), Scand. J. Stat. 6, 65-70, holds the chance of any false alarm; Benjamini and Hochberg (1995), JRSS B 57,
    289-300, the share of false ones among the alarms.
    """
    rising = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    m = len(rising)
    if method == "holm":
        told = list(accumulate((p * (m - rank) for rank, (p, _) in enumerate(rising)), max))
    else:
        falling = [p * m / rank for rank, (p, _) in enumerate(rising, 1)][::-1]
        told = list(accumulate(falling, min))[::-1]
    found: list[float | None] = [None] * len(p_values)
    for (_, place), p in zip(rising, told, strict=True):
        found[place] = min(1.0, p)
    return found
