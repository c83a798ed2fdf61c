"""How many units an experiment needs to see what it was planned to see."""

from statsmodels.stats.power import tt_ind_solve_power

from experiments.declaration import Plan

# A product page where 20% of visitors buy, and order values spread as widely as their mean: CV^2 = (1 + 1) / .2 - 1.
TYPICAL_VARIATION = 3.0


def planned_units(plan: Plan, variation: float = TYPICAL_VARIATION) -> float:
    """
    Give the units of control and one treatment together that show the plan's minimum effect with its power.

    Args:
        plan: Minimum effect (relative), power and confidence.
        variation: The metric's standard deviation over its mean, per unit. The default is a typical shop's revenue per
            visitor: an always-valid reading needs a size that does not depend on the data it is read with. It is on the
            low side, since a size ten times too small widens intervals by a fifth, and one ten times too large by much more.
    """
    effect = plan.minimum_effect / variation
    return float(2 * tt_ind_solve_power(effect_size=effect, alpha=1 - plan.confidence, power=plan.power))
