"""A second voice: the same figures as chances, with flat priors. The verdict does not rest on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from analysis.stats.moments import Moments

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(600)


@dataclass(frozen=True, slots=True)
class Chance:
    """The chance of an arm to be the best, and what choosing it would lose on average; None with a reason."""

    probability_best: float | None
    expected_loss: float | None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values of the report."""
        values: dict[str, Any] = {"probability_best": self.probability_best, "expected_loss": self.expected_loss}
        return values if self.reason is None else values | {"reason": self.reason}


def read(arms: Mapping[str, Moments], better: str = "higher") -> dict[str, Chance]:
    """
    Compute the chance of every arm to be the best, and what choosing it would lose on average if it is not.

    Args:
        arms: The arms' moments; their values are taken as normal, with variances as observed, and nothing known before.
        better: `higher` or `lower`.
    """
    sign = 1.0 if better == "higher" else -1.0
    told = {key: (arm.value, arm.std_error) for key, arm in arms.items()}
    if any(value is None or not error for value, error in told.values()):
        return dict.fromkeys(arms, Chance(None, None, "an arm has no standard error"))
    means = sign * np.array([value or 0.0 for value, _ in told.values()])
    errors = np.array([error or 0.0 for _, error in told.values()])
    low, high = (means - 10 * errors).min(), (means + 10 * errors).max()
    # Narrow arms among wide ones need nodes of their own.
    edges = np.unique(
        np.concatenate(
            [[low, high], *(mean + errors[i] * np.array([-10, -3, 0, 3, 10]) for i, mean in enumerate(means))]
        )
    )
    half = np.diff(edges)[:, None] / 2
    x = (edges[:-1, None] + half * (1 + _NODES)).ravel()
    dx = (half * _WEIGHTS).ravel()
    below = ndtr((x[:, None] - means) / errors)
    density = np.exp(-(((x[:, None] - means) / errors) ** 2) / 2) / (errors * np.sqrt(2 * np.pi))
    others = [np.delete(below, i, axis=1).prod(axis=1) for i in range(len(means))]
    best = [float((density[:, i] * others[i]) @ dx) for i in range(len(means))]
    expected_best = float(sum((x * density[:, i] * others[i]) @ dx for i in range(len(means))))
    return {key: Chance(min(1.0, best[i]), max(0.0, expected_best - float(means[i]))) for i, key in enumerate(arms)}
