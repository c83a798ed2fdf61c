"""The same figures as probabilities, with flat priors. The verdict does not use them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.special import ndtr

from analysis.stats.moments import Floats, Moments


@cache
def _legendre() -> tuple[Floats, Floats]:
    """Return nodes and weights; not on import, which may run on a thread while another starts a process."""
    nodes, weights = np.polynomial.legendre.leggauss(600)
    return nodes, weights


@dataclass(frozen=True, slots=True)
class Posterior:
    """
    What is known of one variant.

    Attributes:
        probability_best: That no other variant is better; None with a reason.
        expected_loss: What choosing this variant loses on average, in the metric's unit.
    """

    probability_best: float | None
    expected_loss: float | None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values: dict[str, Any] = {"probability_best": self.probability_best, "expected_loss": self.expected_loss}
        return values if self.reason is None else values | {"reason": self.reason}


def posteriors(arms: Mapping[str, Moments], better: str = "higher") -> dict[str, Posterior]:
    """
    Compute every variant's probability to be the best, and its expected loss.

    Args:
        arms: Moments by variant; their values are taken as normal with the observed variances.
        better: `higher` or `lower`.
    """
    estimates = [(arm.value, arm.std_error) for arm in arms.values()]
    if any(value is None or not error for value, error in estimates):
        return dict.fromkeys(arms, Posterior(None, None, "an arm has no standard error"))
    sign = 1.0 if better == "higher" else -1.0
    means = sign * np.array([value or 0.0 for value, _ in estimates])
    errors = np.array([error or 0.0 for _, error in estimates])
    x, dx = _grid(means, errors)
    standardised = (x[:, None] - means) / errors
    below = ndtr(standardised)
    density = np.exp(-(standardised**2) / 2) / (errors * np.sqrt(2 * np.pi))
    others = [np.delete(below, i, axis=1).prod(axis=1) for i in range(len(means))]
    best = [float((density[:, i] * others[i]) @ dx) for i in range(len(means))]
    expected_best = float(sum((x * density[:, i] * others[i]) @ dx for i in range(len(means))))
    return {key: Posterior(min(1.0, best[i]), max(0.0, expected_best - float(means[i]))) for i, key in enumerate(arms)}


def _grid(means: Floats, errors: Floats) -> tuple[Floats, Floats]:
    """Return nodes and weights of an integral, piecewise: narrow densities among wide ones need nodes of their own."""
    low, high = (means - 10 * errors).min(), (means + 10 * errors).max()
    inner = [mean + error * np.array([-10, -3, 0, 3, 10]) for mean, error in zip(means, errors, strict=True)]
    edges = np.unique(np.concatenate([[low, high], *inner]))
    half = np.diff(edges)[:, None] / 2
    nodes, weights = _legendre()
    return (edges[:-1, None] + half * (1 + nodes)).ravel(), (half * weights).ravel()
