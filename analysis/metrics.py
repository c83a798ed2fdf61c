"""What each metric is made of: columns that a unit's counted orders add up to."""

from dataclasses import dataclass

from analysis.lifts import Kind


@dataclass(frozen=True, slots=True)
class Metric:
    """
    One metric over units.

    Attributes:
        name: As declarations and reports write it.
        kind: `mean` per unit, `proportion` of units, or `ratio` of two sums over units.
        numerator, denominator: Columns of the per-unit sums: `buyer` (1 for a unit with an order), `orders`,
            `net` (revenue by the shop's order rules) and `margin` (gross - discount - refunded - cost).
        is_money: Whether the value is in the shop's currency.
    """

    name: str
    kind: Kind
    numerator: str
    denominator: str | None = None
    is_money: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The one or two columns that its moments are over."""
        return (self.numerator,) if self.denominator is None else (self.numerator, self.denominator)


CATALOGUE = {
    metric.name: metric
    for metric in (
        Metric("revenue_per_visitor", "mean", "net", is_money=True),
        Metric("conversion", "proportion", "buyer"),
        Metric("average_order_value", "ratio", "net", "orders", is_money=True),
        Metric("orders_per_visitor", "mean", "orders"),
        Metric("margin_per_visitor", "mean", "margin", is_money=True),
    )
}
