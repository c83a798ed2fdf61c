"""What Prometheus reads: counters of all worker processes together."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from server.assign.declarations import Declarations


class Counts:
    """Counts what was served and taken; `crosslift serve` lets its workers share a folder to add them up in."""

    def __init__(self, declarations: Declarations) -> None:
        self._declarations = declarations
        declarations.on_change = self._declared
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

        self._declared()

    def _declared(self) -> None:
        """Note the declarations' state in this worker; the largest of all workers is shown."""
        self._experiments.set(len(self._declarations.live.configs.experiments))
        self._faulty.set(self._declarations.error is not None)

    def assigned(self, reasons: Mapping[str, int]) -> None:
        """Count an answer of `POST /v1/assignments`, by reason."""
        for reason, count in reasons.items():
            if count:
                counter = self._by_reason.get(reason)
                if counter is None:
                    counter = self._by_reason[reason] = self._assignments.labels(reason)
                counter.inc(count)

    def collected(self, answer: dict[str, Any]) -> None:
        """Count an answer of `POST /v1/events`."""
        for counter, count in (
            (self._accepted, answer["accepted"]),
            (self._duplicate, answer["duplicates"]),
            (self._rejected, len(answer["rejected"])),
        ):
            if count:
                counter.inc(count)

    def exposition(self) -> bytes:
        """Give the text that Prometheus reads."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        _forget_dead(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def _forget_dead(folder: Path) -> None:
    """Drop the gauges of workers that are gone, which would show their last state for ever; their counters stay."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rsplit("_", 1)[1])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
        except PermissionError:
            continue
