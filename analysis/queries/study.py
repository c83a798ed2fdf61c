"""What is read of one experiment, once, and shared by all parts of its report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from analysis.metrics import Metric, columns_of, metrics_of
from analysis.queries.aggregates import Cell, Place, merged
from analysis.queries.breakdowns import has_attribute
from analysis.queries.source import Epoch, Source
from analysis.queries.unit_facts import Asked
from analysis.stats.covariates import paired, stratified
from analysis.stats.moments import Moments
from experiments.declarations.loading import Configs
from experiments.declarations.model import Experiment, declared_dict

FUNNEL = {"seen": "viewer", "clicked": "any clicks", "added": "adder", "declined": "any declines", "bought": "buyer"}
FACTORS = ("buyer", "orders", "net")  # of the decomposition


@dataclass(frozen=True)
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

    @cached_property
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

    @cached_property
    def arms(self) -> dict[str, Cell]:
        """Every variant's sums, whatever the epoch."""
        return self.merge(self.cells)

    def merge(self, cells: Mapping[Place, Cell]) -> dict[str, Cell]:
        """Put cells together by variant."""
        return merged(cells, self.asked.variants, len(self.columns) + len(self.before))

    def paired(
        self, columns: Sequence[str], before: Sequence[str] = ()
    ) -> tuple[dict[str, Moments], dict[str, Moments]]:
        """Give the moments of each treatment, and of its control over the sets of weights in which both had units."""
        strata = [
            {key: self.pick(cell.moments, columns, before) for key, cell in stratum.items()} for stratum in self.strata
        ]
        return paired(strata, self.control, self.active)

    def shown(self, columns: Sequence[str]) -> dict[str, Moments]:
        """Give each arm's own moments, combined over the sets of weights in which it had units."""
        strata = self.strata
        sizes = [sum(cell.moments.n for cell in one.values()) for one in strata]
        return {
            key: stratified([{key: self.pick(one[key].moments, columns)} for one in strata], sizes)[key]
            if len(strata) > 1
            else self.pick(strata[0][key].moments, columns)
            for key in self.asked.variants
        }

    @property
    def plan_changed(self) -> bool:
        """Whether what decides is declared otherwise than when the first of the epochs began."""
        if not self.epochs:
            return False
        began, now = self.epochs[0].declared, declared_dict(self.experiment)
        plan, metrics = began.get("plan", {}), began.get("metrics", {})
        # Only what was declared then: what a later version has added is no change of the merchant's.
        return any(now["plan"].get(name) != value for name, value in plan.items()) or any(
            now["metrics"].get(name) != metrics[name] for name in ("primary", "guardrails") if name in metrics
        )

    @property
    def uncosted(self) -> int:
        """How many counted orders' cost is not known."""
        return sum(arm.orders - arm.costed for arm in self.arms.values())

    @property
    def newest_cells(self) -> dict[Place, Cell]:
        """The cells of what `newest` asks for."""
        since = self.newest.since
        return {place: cell for place, cell in self.cells.items() if place[1] >= since}

    @property
    def newest(self) -> Asked:
        """What is read where sums cannot be combined over sets of weights: the epochs that have the newest set."""
        since = self.asked.since
        for one, other in zip(self.epochs, self.epochs[1:], strict=False):
            if other.weights != one.weights:
                since = other.number
        return replace(self.asked, since=since)

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
    declared_segments = [name for name in experiment.metrics.segments if name != "returning"]
    seen = FUNNEL.values() if source.holds("interactions") else ()
    source.prepare(asked, list(dict.fromkeys([*columns, "buyer", *seen])), [*before, "orders"], declared_segments)
    attributes = [name for name in declared_segments if has_attribute(source, asked, name)]
    units, strays = source.units_by_day(asked)
    cells = source.cells(asked, units, columns, before, ("epoch", "day"))
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
