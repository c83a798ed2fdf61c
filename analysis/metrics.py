"""The metrics of a report, from the catalogue and from what an experiment declares."""

from collections.abc import Iterable, Mapping

from experiments.declarations.metrics import CATALOGUE, FLAGS, NET, QUANTILE, REPEATS, UNIT_COLUMNS, Column, Metric
from experiments.declarations.model import CustomMetric, Experiment
from experiments.errors import AnalysisError

ALWAYS = ("conversion", "average_order_value", "revenue_per_visitor")  # shown by every report
_KINDS = {"mean": "mean per unit", "proportion": "share of units", "ratio": "ratio of sums", "quantile": "quantile"}
_FOLLOWED_DAYS = sorted({column.days for metric in CATALOGUE.values() for column in metric.columns if column.days})


def metric_of(name: str, custom: Mapping[str, CustomMetric]) -> Metric:
    """
    Return a metric by its name.

    Raises:
        AnalysisError: There is none.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    quantile = QUANTILE.match(name)
    if quantile:
        return Metric(name, "quantile", NET, quantile=int(quantile[1]) / 100)
    if name not in custom:
        raise AnalysisError(f"metric must be one of {', '.join((*CATALOGUE, *custom))}, got {name!r}")
    own = custom[name]
    numerator = Column(own.of, own.tag, occurs=own.kind == "proportion")
    return Metric(name, own.kind, numerator, None if own.per is None else Column(own.per), better=own.better)


def metrics_of(experiment: Experiment) -> dict[str, Metric]:
    """Return the metrics of a report by name: those that are declared, and the three that every report shows."""
    declared = experiment.metrics
    names = dict.fromkeys([declared.primary, *declared.secondary, *declared.guardrails, *ALWAYS])
    return {name: metric_of(name, declared.custom) for name in names}


def columns_of(metrics: Iterable[Metric]) -> list[Column]:
    """Return the columns that metrics are made of, each once; quantiles are read from order values instead."""
    return list(dict.fromkeys(column for metric in metrics if metric.quantile is None for column in metric.columns))


def definitions() -> str:
    """Write the tables of docs/metrics.md: `python -m analysis.metrics` prints them."""
    lines = ["| metric | kind | numerator | denominator | better |", "|---|---|---|---|---|"]
    lines += [_definition(metric) for metric in CATALOGUE.values()]
    lines += ["", "| column | of a unit |", "|---|---|"]
    lines += [f"| `{column.name}` | {column.meaning} |" for column in UNIT_COLUMNS]
    lines += [f"| `{flag.name}` | {flag.meaning} |" for flag in FLAGS.values()]
    lines += [
        f"| `{Column(name, days=days).label}` | {meaning.format(days=days)} |"
        for days in _FOLLOWED_DAYS
        for name, meaning in REPEATS.items()
    ]
    return "\n".join(lines)


def _definition(metric: Metric) -> str:
    denominator = "every exposed unit" if metric.denominator is None else f"`{metric.denominator.label}`"
    if metric.quantile is not None:
        denominator = "every counted order"
    kind = _KINDS[metric.kind]
    return f"| `{metric.name}` | {kind} | `{metric.numerator.label}` | {denominator} | {metric.better} |"


if __name__ == "__main__":
    print(definitions())  # noqa: T201  written for docs/metrics.md
