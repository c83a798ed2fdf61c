"""How notebooks display the values of `analysis.stats`, which knows no HTML; `analysis` imports this module on first use."""

from analysis.stats.comparisons.readings import Lift, register_html


def _lift_html(lift: Lift) -> str:
    from analysis.render.html import lift_table  # the page's templates load with the first lift displayed

    return lift_table(lift)


register_html(_lift_html)
