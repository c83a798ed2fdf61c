"""The shop's holdout as an experiment of its own: what the whole programme brings over no cross-sell at all."""

from experiments.declarations.model import HOLDOUT, Experiment, Shop
from experiments.errors import RequestError

HELD_OUT, PROGRAMME = "held_out", "programme"


def holdout_experiment(shop: Shop) -> Experiment:
    """
    Return the experiment that the holdout is: visitors who see no cross-sell against those who see the programme.

    Both are exposed at the trigger of the first experiment that they take part in, or would if they were not held out.

    Raises:
        RequestError: The shop holds nobody out.
    """
    if not 0 < shop.holdout < 1:
        raise RequestError(f"holdout: found {shop.holdout:.0%} in shop.yaml; wanted a share above 0%, such as 5%")
    return Experiment.model_validate(
        {
            "key": HOLDOUT,
            "title": "What does the whole programme bring?",
            "status": "running",
            "trigger": "any",
            "variants": {
                HELD_OUT: {"weight": shop.holdout, "placement": "none"},
                PROGRAMME: {"weight": 1 - shop.holdout, "placement": "none"},
            },
            "metrics": {"secondary": ["conversion", "average_order_value", "margin_per_visitor"]},
        }
    )
