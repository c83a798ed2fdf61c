"""The metrics and columns that a declaration may name. What they are made of stands in analysis/metrics.py."""

import re

METRICS = (
    "revenue_per_visitor",
    "margin_per_visitor",
    "conversion",
    "average_order_value",
    "median_order_value",
    "orders_per_visitor",
    "units_per_order",
    "attach_rate",
    "accept_rate",
    "decline_rate",
    "discount_cost_per_visitor",
    "refund_rate",
    "cart_abandonment",
    "repeat_rate_30d",
    "repeat_rate_60d",
    "repeat_rate_90d",
    "slow_moving_units_per_visitor",
)
QUANTILE = re.compile(r"p([1-9][0-9]?)_order_value\Z")  # p90_order_value

# What a unit's counted orders, and its interactions, add up to: what a merchant's own metrics are made of.
COLUMNS = (
    "orders",
    "units",
    "net",
    "gross",
    "discount",
    "refunded",
    "shipping",
    "tax",
    "cost",
    "margin",
    "discounted_orders",
    "refunded_orders",
    "attached_orders",
    "attached_units",
    "attached_revenue",
    "impressions",
    "clicks",
    "add_to_carts",
    "declines",
    "dismissals",
    "added_quantity",
    "added_value",
)


def is_metric(name: str) -> bool:
    """Tell whether a name is one of a metric that every shop has."""
    return name in METRICS or QUANTILE.match(name) is not None
