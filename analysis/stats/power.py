"""How many units an experiment needs, and which effect so many units can detect: the normal approximation."""

import math
from collections.abc import Sequence

from statsmodels.stats.power import normal_sample_size_one_tail


def units_per_arm(effect: float, variation: float, confidence: float, power: float) -> float:
    """
    Compute the units that each of two equal arms needs.

    Args:
        effect: The relative effect to detect, above 0.
        variation: The metric's standard deviation over its mean, per unit.
        confidence, power: Two-sided confidence, and the probability to detect the effect; shares.
    """
    return total_units(effect, variation, confidence, power, imbalance([0.5, 0.5])) / 2


def total_units(effect: float, variation: float, confidence: float, power: float, load: float) -> float:
    """
    Compute the units that all arms need together: load ((z(1 - a/2) + z(power)) variation / effect)^2.

    Args:
        effect, variation, confidence, power: See `units_per_arm`.
        load: See `imbalance`.
    """
    deviation = variation * math.sqrt(load)
    return float(normal_sample_size_one_tail(effect, power, (1 - confidence) / 2, deviation))


def detectable_effect(units: float, variation: float, confidence: float, power: float, load: float) -> float:
    """Compute the smallest relative effect that so many units of all arms together detect; the inverse of `total_units`."""
    return math.sqrt(total_units(1.0, variation, confidence, power, load) / units)


def imbalance(weights: Sequence[float]) -> float:
    """
    Compute the variance of the smallest treatment's lift, in units of that of all units together; 4 for two equal arms.

    Args:
        weights: The control's first; infinite where the control or every treatment has none.
    """
    control, *treatments = weights
    smallest = min(treatments, default=control)
    return sum(weights) * (1 / control + 1 / smallest) if control and smallest else math.inf
