"""The metrics that a declaration may name. What they are made of stands in analysis/metrics.py, under the same names."""

METRICS = (
    "revenue_per_visitor",
    "conversion",
    "average_order_value",
    "orders_per_visitor",
    "margin_per_visitor",
)
