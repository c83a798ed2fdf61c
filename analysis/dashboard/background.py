"""Keeps the dashboard's snapshots up to date: a thread decides what is due, a process of its own computes it."""

import logging
import os
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, TypeVar

from analysis.dashboard.server_status import ServerStatus, read_server_status
from analysis.dashboard.snapshots import (
    Arrivals,
    DeclaredExperiment,
    DeclaredExperiments,
    ExperimentSnapshot,
    read_arrivals,
    read_declared,
    start_worker,
    take_snapshot,
)
from analysis.queries.engines.changes import STALE_S, configs_state, store_state
from experiments.errors import StoreError

EVERY_S = 1.0
ARRIVALS_EVERY_S = 15  # the last hour moves on even without new events
PAUSE_FACTOR = 4  # wait that many times as long as a report took: a busy store must not be read without a pause
DECLARATIONS, ARRIVALS = " declarations", " arrivals"  # a space: no experiment has such a key
LOG = logging.getLogger("crosslift.dashboard")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Computation:
    """The last computation of a snapshot: for which state of the store, when it finished, and how long it took."""

    state: Hashable
    finished_s: float
    took_s: float


class Background:
    """
    The newest snapshots. Pages read them and never wait.

    Attributes:
        server_status: Of the running server; None without `--server`.
        declared: The declarations as they are now.
        experiments: The last declarations that could be read, by key.
        snapshots: By experiment; missing until computed once.
        arrivals: How data arrive; None until computed once.
        version: Changes whenever a snapshot has.
        fault: Why the store cannot be reached at present.
    """

    def __init__(self, configs: str, store_url: str, server: str | None = None) -> None:
        self._configs, self._store_url, self._server = configs, store_url, server
        self.server_status: ServerStatus | None = None
        self.declared = DeclaredExperiments()
        self.experiments: Mapping[str, DeclaredExperiment] = {}
        self.snapshots: dict[str, ExperimentSnapshot] = {}
        self.arrivals: Arrivals | None = None
        self.fault: str | None = None
        self.version = 0
        self._latest: Hashable = None
        self._computations: dict[str, Computation] = {}
        self._pool: ProcessPoolExecutor | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="crosslift-reports", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and its process."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def is_behind(self, key: str) -> bool:
        """Check whether something was written since the snapshot of an experiment was computed."""
        return key not in self._computations or self._computations[key].state != self._latest

    def _state(self) -> Hashable:
        try:
            state = (store_state(self._store_url), configs_state(self._configs))
            self.fault = None
        except (StoreError, OSError) as error:
            self.fault = str(error)
            return None
        return state

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self.step()
            except BrokenProcessPool:
                LOG.warning("the process that computes reports has ended; starting another")
                self._pool = None
            except Exception:  # the thread must outlive any fault: without it, pages would show old figures for ever
                LOG.exception("a step of the dashboard failed; trying again")
            self._ended.wait(EVERY_S)

    def step(self) -> None:
        """Compute all that is due, once."""
        state = self._latest = self._state()
        if state is None:
            return
        if self._server:
            self.server_status = read_server_status(self._server)
        declarations = configs_state(self._configs)
        if self._is_due(DECLARATIONS, declarations):
            self.declared = self._compute(DECLARATIONS, declarations, read_declared, self._configs)
            self.experiments = self.experiments if self.declared.error else self.declared.experiments
        arrivals = (state, int(time.time() // ARRIVALS_EVERY_S))
        if self._is_due(ARRIVALS, arrivals):
            self.arrivals = self._compute(ARRIVALS, arrivals, read_arrivals, self._store_url, self._configs)
        for key in self.experiments:
            if not self._ended.is_set() and self._is_due(key, state):
                self.snapshots[key] = self._compute(key, state, take_snapshot, key, self._store_url, self._configs)

    def _is_due(self, name: str, state: Hashable) -> bool:
        if name not in self._computations:
            return True
        last = self._computations[name]
        age_s = time.monotonic() - last.finished_s
        return (last.state != state or age_s > STALE_S) and age_s >= PAUSE_FACTOR * last.took_s

    def _compute(self, name: str, state: Hashable, work: Callable[..., Result], *arguments: Any) -> Result:
        started_s = time.monotonic()
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, get_context("spawn"), start_worker, (os.getpid(),))
        result = self._pool.submit(work, *arguments).result()
        finished_s = time.monotonic()
        self._computations[name] = Computation(state, finished_s, finished_s - started_s)
        self.version += 1
        return result
