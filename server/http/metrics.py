"""Counters for Prometheus, added up over all worker processes."""

import os
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead


class Counts:
    """Counts assignments and events; workers of `crosslift serve` share a folder, in which their counters are added up."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._assignments = Counter(
            "crosslift_assignments", "Assignments served, by reason.", ["reason"], registry=self._registry
        )
        self._by_reason: dict[str, Counter] = {}
        events = Counter("crosslift_events", "Events received, by outcome.", ["outcome"], registry=self._registry)
        self._accepted, self._duplicate, self._rejected = map(events.labels, ("accepted", "duplicate", "rejected"))
        self._experiments = Gauge(
            "crosslift_experiments", "Experiments declared.", registry=self._registry, multiprocess_mode="livemax"
        )
        self._faulty = Gauge(
            "crosslift_declarations_faulty",
            "1 while changed declarations are not served because they are faulty.",
            registry=self._registry,
            multiprocess_mode="livemax",
        )

    def count_declarations(self, experiments: int, *, is_faulty: bool) -> None:
        """Set the state of this worker's declarations; the largest value of all workers is reported."""
        self._experiments.set(experiments)
        self._faulty.set(is_faulty)

    def count_assignments(self, reasons: Mapping[str, int]) -> None:
        """Add a response's assignments, by reason."""
        for reason, count in reasons.items():
            if count:
                counter = self._by_reason.get(reason)
                if counter is None:
                    counter = self._by_reason[reason] = self._assignments.labels(reason)
                counter.inc(count)

    def count_events(self, accepted: int, duplicates: int, rejected: int) -> None:
        """Add a request's events, by outcome."""
        outcomes = ((self._accepted, accepted), (self._duplicate, duplicates), (self._rejected, rejected))
        for counter, count in outcomes:
            if count:
                counter.inc(count)

    def exposition(self) -> bytes:
        """Return the counters in Prometheus' text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        _drop_dead_workers(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
        return generate_latest(merged)


def _drop_dead_workers(folder: Path) -> None:
    """Drop the gauges of workers that have ended, whose last state would be reported forever; their counters stay."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rsplit("_", 1)[1])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
        except PermissionError:
            continue
