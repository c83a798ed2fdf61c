"""Keeps what the dashboard shows up to date, away from the requests: a thread asks, a process of its own works it out."""

import logging
import os
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from analysis.dashboard.server_status import Serving, ask
from analysis.dashboard.snapshots import Arriving, Declared, Shown, begin_work, look, look_at_arrival, read_declared
from analysis.dashboard.watch import STALE_S, configs_state, store_state
from experiments.errors import StoreError

EVERY_S = 1.0
REST = 4  # times as long as a report took, it is left as it is: a busy store must not be read without a pause
LOG = logging.getLogger("crosslift.dashboard")
Found = TypeVar("Found")


class Background:
    """
    What is shown, as it was last worked out; pages read it and never wait.

    Attributes:
        shown: By experiment; missing until it has been worked out once.
        version: Changes whenever anything shown has.
        fault: Why the store cannot be asked at present.
    """

    def __init__(self, configs: str, store_url: str, server: str | None = None) -> None:
        self._configs, self._store_url, self._server = configs, store_url, server
        self.serving: Serving | None = None
        self.declared = Declared()
        self.known: dict[str, tuple[str, str]] = {}
        self.shown: dict[str, Shown] = {}
        self.arriving: Arriving | None = None
        self.fault: str | None = None
        self.version = 0
        self._latest: Hashable = None
        self._done: dict[str, tuple[Hashable, float, float]] = {}  # state, when finished, how long it took
        self._pool: ProcessPoolExecutor | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="crosslift-reports", daemon=True)

    def start(self) -> None:
        """Begin to keep up."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and its process."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def is_behind(self, key: str) -> bool:
        """Tell whether something was written since an experiment was worked out."""
        return key not in self._done or self._done[key][0] != self._latest

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
                LOG.warning("the process that works reports out has ended; starting another")
                self._pool = None
            self._ended.wait(EVERY_S)

    def step(self) -> None:
        """Work out all that is due, once."""
        state = self._latest = self._state()
        if state is None:
            return
        if self._server:
            self.serving = ask(self._server)
        if self._due(" declared", configs_state(self._configs)):
            self.declared = self._worked(" declared", configs_state(self._configs), read_declared, self._configs)
            self.known = dict(self.declared.experiments) if self.declared.error is None else self.known
        if self._due(" arriving", (state, int(time.time() // 15))):  # the last hour moves on without events
            at = (state, int(time.time() // 15))
            self.arriving = self._worked(" arriving", at, look_at_arrival, self._store_url, self._configs)
        for key in self.known:
            if not self._ended.is_set() and self._due(key, state):
                self.shown[key] = self._worked(key, state, look, key, self._store_url, self._configs)

    def _due(self, name: str, state: Hashable) -> bool:
        if name not in self._done:
            return True
        seen, finished, took_s = self._done[name]
        rested_s = time.monotonic() - finished
        return (seen != state or rested_s > STALE_S) and rested_s >= REST * took_s

    def _worked(self, name: str, state: Hashable, work: Callable[..., Found], *arguments: Any) -> Found:
        began = time.monotonic()
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, get_context("spawn"), begin_work, (os.getpid(),))
        found = self._pool.submit(work, *arguments).result()
        finished = time.monotonic()
        self._done[name] = state, finished, finished - began
        self.version += 1
        return found
