"""What is read of one experiment, once, and shared by all parts of its report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.breakdowns import has_attribute
from analysis.cells import Cell, Place, merged
from analysis.facts import Asked
from analysis.metrics import Metric, columns_of, metrics_of
from analysis.moments import Moments
from analysis.sources import Epoch, Source
from experiments.declaration import Experiment, declared_dict
from experiments.loading import Configs

FUNNEL = {"seen": "viewer", "clicked": "any clicks", "added": "adder", "declined": "any declines", "bought": "buyer"}
FACTORS = ("buyer", "orders", "net")  # of the decomposition


@dataclass(frozen=True, slots=True)
class Study:
    """
    What is read of one experiment, and the sums that all parts of its report share.

    Attributes:
        experiment: As it is declared now: its metrics and its plan.
        asked: What of the store is read.
        epochs: Those that are read.
        weights: Declared weights by variant, of all epochs together.
        metrics: The report's, by name.
        columns, before: What the cells' moments are over.
        cells: By variant, epoch and day.
        segments: The declared attributes that exposures carry.
    """

    experiment: Experiment
    asked: Asked
    epochs: Sequence[Epoch]
    weights: Mapping[str, float]
    metrics: Mapping[str, Metric]
    columns: Sequence[str]
    before: Sequence[str]
    cells: Mapping[Place, Cell]
    segments: Sequence[str]

    @property
    def control(self) -> str:
        """The key of the first variant."""
        return self.asked.variants[0]

    @property
    def active(self) -> list[str]:
        """The variants that are compared with the control: one that rests at weight 0 has its figures, and no lift."""
        return [key for key in self.asked.variants[1:] if self.weights[key] > 0]

    @property
    def strata(self) -> list[dict[str, Cell]]:
        """The arms of each set of weights; there is one unless weights were changed."""
        parts: dict[int, dict[Place, Cell]] = {}
        for place, cell in self.cells.items():
            parts.setdefault(self.stratum(place[1]), {})[place] = cell
        return [self.merge(parts[number]) for number in sorted(parts)] or [self.merge({})]

    def stratum(self, epoch: int) -> int:
        """Give the number of the set of weights that an epoch had."""
        sets = [one.weights for one in self.epochs]
        weights = next((one.weights for one in self.epochs if one.number == epoch), self.weights)
        return next((index for index, one in enumerate(sets) if one == weights), len(sets))

    def arms(self) -> dict[str, Cell]:
        """Give every variant's sums, whatever the epoch."""
        return self.merge(self.cells)

    def merge(self, cells: Mapping[Place, Cell]) -> dict[str, Cell]:
        """Put cells together by variant."""
        return merged(cells, self.asked.variants, len(self.columns) + len(self.before))

    def pick(self, moments: Moments, columns: Sequence[str], before: Sequence[str] = ()) -> Moments:
        """Give the moments of some columns, and of some of the history as covariates."""
        at = [self.columns.index(name) for name in columns]
        at += [len(self.columns) + self.before.index(name) for name in before]
        return moments.pick(at, len(before))


def asked_of(
    source: Source, loaded: Configs, experiment: Experiment, now_ms: int
) -> tuple[Asked, list[Epoch], dict[str, Any]]:
    """Give what is to be read of an experiment, its epochs, and its declaration in the newest of them."""
    epochs = source.epochs(experiment.key, now_ms)
    declared = dict(epochs[-1].declared) if epochs else declared_dict(experiment)
    since = epochs[0].number if epochs else 1
    tagged: dict[str, list[str]] = {}
    for product in loaded.products.values():
        for tag in product.tags:
            tagged.setdefault(tag, []).append(product.id)
    asked = Asked(
        experiment.key, list(declared["variants"]), declared["unit"], experiment.plan.window, since, now_ms, tagged
    )
    return asked, epochs, declared


def read_study(source: Source, loaded: Configs, experiment: Experiment, now_ms: int) -> tuple[Study, int]:
    """Read an experiment's cells, and how many exposures name a variant that is not declared."""
    asked, epochs, declared = asked_of(source, loaded, experiment, now_ms)
    metrics = metrics_of(experiment)
    columns = list(dict.fromkeys([*columns_of(metrics.values()), *FACTORS]))
    before = list(dict.fromkeys(["buyer", *columns_of(one for one in metrics.values() if one.by_history)]))
    attributes = [
        name for name in experiment.metrics.segments if name != "returning" and has_attribute(source, asked, name)
    ]
    seen = FUNNEL.values() if source.holds("interactions") else ()
    source.prepare(asked, [*columns, *before, *seen], attributes)
    several = len(epochs) > 1 or not epochs
    by = ("epoch", "day") if several else ("day",)
    cells, strays = source.cells(asked, columns, before, by)
    if not several:
        cells = {(place[0], epochs[0].number, place[1]): cell for place, cell in cells.items()}
    newest = {variant: float(one["weight"]) for variant, one in declared["variants"].items()}
    weights = _effective_weights(epochs, cells, newest)
    segments = [name for name in experiment.metrics.segments if name == "returning" or name in attributes]
    return Study(experiment, asked, epochs, weights, metrics, columns, before, cells, segments), strays


def _effective_weights(
    epochs: Sequence[Epoch], cells: Mapping[Place, Cell], newest: Mapping[str, float]
) -> dict[str, float]:
    """Give the weights that all units together should show: those of each epoch, by its share of the units."""
    if all(one.weights == newest for one in epochs):
        return dict(newest)
    expected = dict.fromkeys(newest, 0.0)
    for one in epochs:
        units = sum(cell.moments.n for place, cell in cells.items() if place[1] == one.number)
        for key, weight in one.weights.items():
            expected[key] += units * weight / sum(one.weights.values())
    return expected if any(expected.values()) else dict(newest)
