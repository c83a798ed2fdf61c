"""A second voice: the same figures as chances, with flat priors. The verdict does not rest on it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import ndtr

from analysis.stats.moments import Moments

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(600)


def read(arms: Mapping[str, Moments], better: str = "higher") -> dict[str, dict[str, Any]]:
    """
    Give every arm's chance to be the best, and what choosing it would lose on average if it is not.

    Args:
        arms: The arms' moments; their values are taken as normal, with variances as observed, and nothing known before.
        better: `higher` or `lower`.

    Returns:
        By arm `probability_best` and `expected_loss` (in the metric's unit), None with a reason where an arm has no error.
    """
    sign = 1.0 if better == "higher" else -1.0
    told = {key: (arm.value, arm.std_error) for key, arm in arms.items()}
    if any(value is None or not error for value, error in told.values()):
        blank = {"probability_best": None, "expected_loss": None, "reason": "an arm has no standard error"}
        return dict.fromkeys(arms, blank)
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
    return {
        key: {"probability_best": min(1.0, best[i]), "expected_loss": max(0.0, expected_best - float(means[i]))}
        for i, key in enumerate(arms)
    }
