"""How many units an experiment needs to see what it was planned to see."""

from scipy.stats import norm

from experiments.declaration import Plan

# A product page where 20% of visitors buy, and order values spread as widely as their mean: CV^2 = (1 + 1) / .2 - 1.
TYPICAL_VARIATION = 3.0


def units_per_arm(effect: float, variation: float, confidence: float, power: float) -> float:
    """
    Give the units that each of two arms needs.

    Args:
        effect: The relative effect to be seen, above 0.
        variation: The metric's standard deviation over its mean, per unit.
        confidence, power: Two-sided confidence, and the chance of seeing the effect; shares.

    Source: 2 (z(1 - a/2) + z(power))^2 (variation / effect)^2, the normal approximation for two equal arms.
    """
    quantiles = norm.ppf((1 + confidence) / 2) + norm.ppf(power)
    return float(2 * quantiles**2 * (variation / effect) ** 2)


def planned_units(plan: Plan) -> float:
    """
    Give the units of control and one treatment together that an always-valid reading is tightest at.

    Such a reading needs a size that does not depend on the data it is read with, so this is that of a typical page. It is on
    the low side: a size ten times too small widens intervals by a fifth, one ten times too large by much more.
    """
    return max(2.0, 2 * units_per_arm(plan.minimum_effect, TYPICAL_VARIATION, plan.confidence, plan.power))
