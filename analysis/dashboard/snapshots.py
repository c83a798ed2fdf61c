"""Snapshots of what the dashboard shows, computed in a process of its own: reports, declarations, and how data arrive."""

import difflib
import json
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from analysis.dashboard import messages
from analysis.queries.breakdowns import OrderCounts, order_counts
from analysis.queries.source import Source, open_source
from analysis.render import html, plots
from analysis.render.messages import REFUSED, failed, headline
from analysis.render.svg import Chart, Sheet
from analysis.reports.experiment import report
from analysis.reports.model import OrderTotals
from experiments.assignment.holdout import holdout_experiment
from experiments.declarations.loading import load
from experiments.declarations.model import declared_dict
from experiments.errors import CrossliftError

MINUTES = 60
MINUTE_MS = 60_000
MAX_QUARANTINED = 20  # groups of payloads, the largest first
LOG = logging.getLogger("crosslift.dashboard")


@dataclass(frozen=True, slots=True)
class DeclaredExperiment:
    """What the list shows of a declaration."""

    title: str
    status: str


@dataclass(frozen=True, slots=True)
class DeclaredExperiments:
    """The declarations as they are now, by key; `error` where they cannot be read."""

    experiments: Mapping[str, DeclaredExperiment] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class EpochChange:
    """A stored declaration, and what changed since the previous one: lines that begin with `+`, `-` or a space."""

    number: int
    declared_at_ms: int
    changes: Sequence[str]


@dataclass(frozen=True, slots=True)
class ExperimentSnapshot:
    """
    An experiment as the list, its report page and its declaration page show it.

    Attributes:
        as_of_ms: The time of the report.
        headline, decision: Of the verdict; the decision is None where there is none.
        failed: Trust checks that failed.
        sample_ratio: The detail of that check.
        units: All exposed units.
        body: The report as HTML, or the reason why there is none.
        declaration: As it is in the folder, in YAML.
        took_s: How long the computation took.
    """

    key: str
    as_of_ms: int
    headline: str = REFUSED
    decision: str | None = None
    failed: Sequence[str] = ()
    sample_ratio: str = ""
    units: int = 0
    body: str = ""
    declaration: str = ""
    variants: Sequence[str] = ()
    epochs: Sequence[EpochChange] = ()
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class QuarantineCount:
    """How many payloads of a source were put in quarantine for the same reason."""

    source: str
    reason: str
    payloads: int


@dataclass(frozen=True, slots=True)
class Arrivals:
    """
    How data arrived in the last hour.

    Attributes:
        charts: Exposures per minute, by experiment.
        last_ms: The newest exposure of each experiment.
        orders: All orders, counted or not.
        quarantined: Payloads that could not be understood.
        error: Why none of this could be read.
    """

    charts: Mapping[str, Chart] = field(default_factory=dict)
    last_ms: Mapping[str, int] = field(default_factory=dict)
    orders: OrderTotals = field(default_factory=OrderTotals)
    quarantined: Sequence[QuarantineCount] = ()
    error: str | None = None


def start_worker(dashboard: int) -> None:
    """Return the processor to the pages first, and end this process when the dashboard (its process id) has ended in any way."""
    os.nice(10)

    def end_with_parent() -> None:
        while os.getppid() == dashboard:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=end_with_parent, name="crosslift-parent", daemon=True).start()


def read_declared(configs: str) -> DeclaredExperiments:
    """Read the declarations, or the reason why they cannot be read."""
    try:
        loaded = load(configs)
    except (CrossliftError, OSError) as error:
        return DeclaredExperiments(error=str(error))
    except Exception as error:
        LOG.exception("the declarations cannot be shown")
        return DeclaredExperiments(error=_unexpected(error))
    declared = list(loaded.experiments.values())
    if loaded.shop.holdout:
        declared.append(holdout_experiment(loaded.shop))
    return DeclaredExperiments({one.key: DeclaredExperiment(one.title, one.status) for one in declared})


def take_snapshot(key: str, store: str, configs: str) -> ExperimentSnapshot:
    """Compute the snapshot of an experiment; any fault becomes the reason why it has no report."""
    started_s = time.monotonic()
    snapshot = ExperimentSnapshot(key, time.time_ns() // 1_000_000)
    try:
        snapshot = _with_declaration(snapshot, store, configs)
        snapshot = _with_report(snapshot, store, configs)
    except CrossliftError as error:
        snapshot = replace(snapshot, body=html.refusal(key, str(error)))
    except Exception as error:  # a fault of one experiment must not hide the others
        LOG.exception("%s: the report failed", key)
        snapshot = replace(snapshot, body=html.refusal(key, _unexpected(error)))
    return replace(snapshot, took_s=time.monotonic() - started_s)


def _with_declaration(snapshot: ExperimentSnapshot, store: str, configs: str) -> ExperimentSnapshot:
    loaded = load(configs)
    if snapshot.key in loaded.experiments:
        experiment = loaded.experiments[snapshot.key]
        declaration = _yaml(declared_dict(experiment))
        snapshot = replace(snapshot, declaration=declaration, variants=list(experiment.variants))
    with open_source(store, loaded.shop) as source:
        return replace(snapshot, epochs=_epoch_changes(source, snapshot.key))


def _with_report(snapshot: ExperimentSnapshot, store: str, configs: str) -> ExperimentSnapshot:
    result = report(snapshot.key, store, configs, snapshot.as_of_ms)
    return replace(
        snapshot,
        headline=headline(result),
        decision=result.verdict.decision if result.verdict else None,
        failed=[check.name for check in failed(result)],
        sample_ratio=next((check.detail for check in result.checks if check.name == "sample_ratio"), ""),
        units=sum(variant.units for variant in result.variants),
        body=html.body(result),
    )


def read_arrivals(store: str, configs: str) -> Arrivals:
    """Read how data arrive, or the reason why that cannot be read."""
    now_ms = time.time_ns() // 1_000_000
    try:
        with open_source(store, load(configs).shop) as source:
            minutes = _exposures_per_minute(source, now_ms)
            traffic = source.traffic(now_ms)
            orders = order_counts(source, "visitor_id", now_ms)
            quarantined = _quarantine_counts(source)
    except CrossliftError as error:
        return Arrivals(error=str(error))
    except Exception as error:
        LOG.exception("the data quality cannot be shown")
        return Arrivals(error=_unexpected(error))
    sheet = Sheet("arrival")
    charts = {key: _chart(sheet, key, variants) for key, variants in sorted(minutes.items())}
    last_ms = {key: exposures.last_ms for key, exposures in traffic.items()}
    return Arrivals(charts, last_ms, _totals(orders), quarantined)


def _unexpected(error: Exception) -> str:
    """Return the sentence that a page shows for a fault that nobody foresaw."""
    return messages.UNEXPECTED.format(kind=type(error).__name__, error=error)


def _totals(counts: OrderCounts) -> OrderTotals:
    """Return the orders of the whole store, of any experiment or none."""
    return OrderTotals(counts.known, 0, counts.without_unit, counts.unverified, counts.excluded, counts.from_sources)


def _quarantine_counts(source: Source) -> list[QuarantineCount]:
    table = source.table("quarantine")
    rows = source.rows(table.group_by("source", "reason").aggregate(n=table.count()))
    counts = [QuarantineCount(str(row["source"]), str(row["reason"])[:300], int(row["n"])) for row in rows]
    return sorted(counts, key=lambda count: -count.payloads)[:MAX_QUARANTINED]


def _exposures_per_minute(source: Source, now_ms: int) -> dict[str, dict[str, list[int]]]:
    """Count the exposures in each of the last minutes, by experiment and variant; the last minute is the current one."""
    start = (now_ms // MINUTE_MS - MINUTES + 1) * MINUTE_MS
    table = source.table("exposures")
    recent = table.filter(table.exposed_at_ms >= start, table.exposed_at_ms <= now_ms)
    at = recent.exposed_at_ms - recent.exposed_at_ms % MINUTE_MS
    rows = source.rows(recent.group_by("experiment", "variant", at=at).aggregate(n=recent.count()))
    counts: dict[str, dict[str, list[int]]] = {}
    for row in sorted(rows, key=lambda row: row["variant"]):
        minutes = counts.setdefault(row["experiment"], {}).setdefault(row["variant"], [0] * MINUTES)
        minutes[(int(row["at"]) - start) // MINUTE_MS] += int(row["n"])
    return counts


def _chart(sheet: Sheet, key: str, variants: Mapping[str, list[int]]) -> Chart:
    title = messages.PER_MINUTE_CHART.format(key=key, minutes=MINUTES)
    sums = ", ".join(f"{variant} {sum(minutes):,}" for variant, minutes in variants.items())
    return plots.minutes(sheet, title, variants, messages.PER_HOUR.format(variants=sums))


def _epoch_changes(source: Source, key: str) -> list[EpochChange]:
    table = source.table("epochs")
    rows = source.rows(table.filter(table.experiment == key).order_by("epoch"))
    epochs, previous = [], ""
    for row in rows:
        text = _yaml(json.loads(row["declaration"]))
        lines = difflib.unified_diff(previous.splitlines(), text.splitlines(), lineterm="", n=2)
        changes = [line for line in lines if not line.startswith(("---", "+++", "@@"))] if previous else []
        epochs.append(EpochChange(int(row["epoch"]), int(row["declared_at_ms"]), changes))
        previous = text
    return epochs[::-1]


def _yaml(declared: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(declared), sort_keys=False, allow_unicode=True, width=100)
