"""What the dashboard shows, worked out in a process of its own: reports, declarations, and how the data are coming in."""

import difflib
import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from analysis.queries.breakdowns import OrderCounts, order_counts
from analysis.queries.source import Source, open_source
from analysis.render import html, messages, plots
from analysis.render.svg import Chart, Sheet
from analysis.reports.experiment import report
from analysis.reports.model import OrderTotals
from experiments.assignment.holdout import holdout_experiment
from experiments.declarations.loading import load
from experiments.declarations.model import declared_dict
from experiments.errors import CrossliftError

MINUTES = 60
MINUTE_MS = 60_000
MAX_HELD = 20  # of the quarantine, the newest


@dataclass(frozen=True, slots=True)
class Declared:
    """The declarations as they stand now; `error` where they cannot be read."""

    experiments: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # title and status by key
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Epoch:
    """One stored declaration, and what changed since the one before: lines that begin with `+`, `-` or a space."""

    number: int
    declared_at_ms: int
    changes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Shown:
    """
    An experiment at a glance and whole.

    Attributes:
        headline, decision: Of the verdict; None where there is none.
        failed: Trust checks that failed.
        sample_ratio: What that check found.
        body: The report as HTML, or why there is none.
        declaration: As it stands in the folder, as YAML.
        took_s: How long it took to work out.
    """

    key: str
    headline: str
    decision: str | None
    failed: Sequence[str]
    sample_ratio: str
    units: int
    body: str
    declaration: str
    variants: Sequence[str]
    epochs: Sequence[Epoch]
    as_of_ms: int
    took_s: float


@dataclass(frozen=True, slots=True)
class Arriving:
    """
    How the data of the last hour are coming in.

    Attributes:
        charts: Exposures a minute by experiment.
        last_ms: The newest exposure of each experiment.
        orders: All orders by what becomes of them.
        held: How many payloads could not be understood, by source and reason.
        error: Why none of this could be read.
    """

    charts: Mapping[str, Chart] = field(default_factory=dict)
    last_ms: Mapping[str, int] = field(default_factory=dict)
    orders: OrderTotals = field(default_factory=OrderTotals)
    held: Sequence[tuple[str, str, int]] = ()
    error: str | None = None


def begin_work(dashboard: int) -> None:
    """Leave the processor to the pages, and end this process when the dashboard (its process id) is gone, however it went."""
    os.nice(10)

    def watch() -> None:
        while os.getppid() == dashboard:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="crosslift-parent", daemon=True).start()


def read_declared(configs: str) -> Declared:
    """Give what is declared, or why it cannot be read."""
    try:
        loaded = load(configs)
    except (CrossliftError, OSError) as error:
        return Declared(error=str(error))
    found = {key: (one.title, one.status) for key, one in loaded.experiments.items()}
    if loaded.shop.holdout:
        whole = holdout_experiment(loaded.shop)
        found[whole.key] = whole.title, whole.status
    return Declared(found)


def look(key: str, store: str, configs: str) -> Shown:
    """Work one experiment out; what cannot be had says why."""
    began, as_of_ms = time.monotonic(), time.time_ns() // 1_000_000
    declaration, variants, epochs = "", [], []
    try:
        loaded = load(configs)
        if key in loaded.experiments:
            experiment = loaded.experiments[key]
            declaration, variants = _yaml(declared_dict(experiment)), list(experiment.variants)
        with open_source(store, loaded.shop) as source:
            epochs = _epochs(source, key)
        made = report(key, store, configs, as_of_ms)
    except CrossliftError as error:
        body = html.refusal(key, str(error))
        took_s = time.monotonic() - began
        return Shown(key, messages.REFUSED, None, [], "", 0, body, declaration, variants, epochs, as_of_ms, took_s)
    return Shown(
        key=key,
        headline=messages.headline(made),
        decision=made.verdict.decision if made.verdict else None,
        failed=[check.name for check in messages.failed(made)],
        sample_ratio=next((check.detail for check in made.checks if check.name == "sample_ratio"), ""),
        units=sum(row.units for row in made.variants),
        body=html.body(made),
        declaration=declaration,
        variants=variants,
        epochs=epochs,
        as_of_ms=as_of_ms,
        took_s=time.monotonic() - began,
    )


def look_at_arrival(store: str, configs: str) -> Arriving:
    """Work out how the data are coming in."""
    now_ms = time.time_ns() // 1_000_000
    try:
        with open_source(store, load(configs).shop) as source:
            seen = _per_minute(source, now_ms)
            traffic = source.traffic(now_ms)
            counts = order_counts(source, "visitor_id", now_ms)
            held = source.table("quarantine")
            rows = source.rows(held.group_by("source", "reason").aggregate(n=held.count()))
    except CrossliftError as error:
        return Arriving(error=str(error))
    sheet = Sheet("arrival")
    charts = {key: _chart(sheet, key, variants) for key, variants in sorted(seen.items())}
    most = sorted(rows, key=lambda row: -int(row["n"]))[:MAX_HELD]
    told = [(str(row["source"]), str(row["reason"])[:300], int(row["n"])) for row in most]
    return Arriving(charts, {key: of_key.last_ms for key, of_key in traffic.items()}, _totals(counts), told)


def _totals(counts: OrderCounts) -> OrderTotals:
    """Return the orders of the whole store, whichever experiment they belong to."""
    return OrderTotals(counts.known, 0, counts.without_unit, counts.unverified, counts.excluded, counts.from_sources)


def _per_minute(source: Source, now_ms: int) -> dict[str, dict[str, list[int]]]:
    """Count the exposures of each of the last minutes, by experiment and variant; the last one is now."""
    start = (now_ms // MINUTE_MS - MINUTES + 1) * MINUTE_MS
    table = source.table("exposures")
    recent = table.filter(table.exposed_at_ms >= start, table.exposed_at_ms <= now_ms)
    at = recent.exposed_at_ms - recent.exposed_at_ms % MINUTE_MS
    rows = source.rows(recent.group_by("experiment", "variant", at=at).aggregate(n=recent.count()))
    found: dict[str, dict[str, list[int]]] = {}
    for row in sorted(rows, key=lambda row: row["variant"]):
        minutes = found.setdefault(row["experiment"], {}).setdefault(row["variant"], [0] * MINUTES)
        minutes[(int(row["at"]) - start) // MINUTE_MS] += int(row["n"])
    return found


def _chart(sheet: Sheet, key: str, variants: Mapping[str, list[int]]) -> Chart:
    told = "; ".join(f"{variant} {sum(minutes):,} in the hour" for variant, minutes in variants.items())
    return plots.minutes(sheet, f"{key}: exposures a minute by variant, last {MINUTES} minutes", variants, f"{told}.")


def _epochs(source: Source, key: str) -> list[Epoch]:
    table = source.table("epochs")
    rows = source.rows(table.filter(table.experiment == key).order_by("epoch"))
    found, before = [], ""
    for row in rows:
        text = _yaml(json.loads(row["declaration"]))
        lines = difflib.unified_diff(before.splitlines(), text.splitlines(), lineterm="", n=2)
        changes = [line for line in lines if not line.startswith(("---", "+++", "@@"))] if before else []
        found.append(Epoch(int(row["epoch"]), int(row["declared_at_ms"]), changes))
        before = text
    return found[::-1]


def _yaml(declared: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(declared), sort_keys=False, allow_unicode=True, width=100)
