"""The declarations that are served now: read at the start, and again within a second of every change."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from events.parser import RecordParser
from events.stores.protocol import Store
from experiments.assignment.holdout import holdout_experiment
from experiments.declarations.loading import Configs, Parsed, load
from experiments.declarations.model import HOLDOUT, declared_dict
from experiments.errors import DeclarationError
from server.assign.prepared import Serving

POLL_S = 0.25
LOOKS = 3
SHOP_FILES = ("shop.yaml", "catalog.yaml", "catalog.csv")

log = logging.getLogger("crosslift")

Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Live:
    """One set of declarations, whole: what a request begins with, it ends with."""

    configs: Configs
    epochs: Mapping[str, int]
    reader: RecordParser
    serving: Serving


class Declarations:
    """
    Holds the live set, and swaps it whole when the files change.

    A set that is faulty is not taken: the last good one serves on, and `error` says why. Of several processes that see the same
    change, one opens the new epoch and the others find it.

    Attributes:
        live: The set that is served.
        error: Why the files as they stand now are not served; None when they are.
        on_change: Called after each attempt to take changed files.
    """

    def __init__(self, source: str | Path | Configs, store: Store, clock_ms: Callable[[], int]) -> None:
        self._folder = None if isinstance(source, Configs) else Path(source)
        self._store = store
        self._clock_ms = clock_ms
        self._served = self._seen = _signature(self._folder)
        self._restless = 0
        self._parsed: Parsed = {}
        self._told = ""
        self.live = self._opened(source if isinstance(source, Configs) else load(source, self._parsed))
        self.error: str | None = None
        self.on_change: Callable[[], object] = lambda: None

    def watch(self) -> None:
        """Look at the files four times a second, in a thread that ends with the process."""
        threading.Thread(target=self._watch, name="crosslift-reload", daemon=True).start()

    def reload_if_changed(self) -> None:
        """
        Take the files if they have changed and then rested: a file is not read while it is being written.

        Files that never rest are taken at the third look all the same; what is half-written is a fault, and is not served.
        """
        found = _signature(self._folder)
        self._restless = 0 if found == self._seen else self._restless + 1
        self._seen = found
        if self._folder is None or found == self._served or 0 < self._restless < LOOKS:
            return
        self._served, self._restless = found, 0
        try:
            self.live = self._opened(load(self._folder, self._parsed))
        except DeclarationError as error:
            places = f"{Path(error.faults[0].file).name}:{error.faults[0].line}"
            self._refuse(f"{len(error.faults)} faults, the first in {places}; the log has them all", str(error))
        except Exception as error:  # noqa: BLE001  a store that is away, a disk that fails: try again at the next look
            self._served = ()
            self._refuse("the declarations could not be taken; the log says why", str(error))
        else:
            self.error = None
            log.warning("declarations reloaded: %d experiments", len(self.live.configs.experiments))
        self.on_change()

    def _refuse(self, summary: str, error: str) -> None:
        if error != self._told:
            log.error("declarations not reloaded, the last good ones serve on:\n%s", error)
        self.error, self._told = summary, error

    def _opened(self, configs: Configs) -> Live:
        """Open the epochs of all running experiments; a paused or ended one keeps its last."""
        at_ms = self._clock_ms()
        epochs: dict[str, int] = {}
        for key, one in configs.experiments.items():
            running = one.status == "running"
            number = (
                self._store.open_epoch(key, declared_dict(one), at_ms) if running else self._store.newest_epoch(key)
            )
            if number is not None:
                epochs[key] = number
        shop = configs.shop
        if shop.holdout:
            epochs[HOLDOUT] = self._store.open_epoch(HOLDOUT, declared_dict(holdout_experiment(shop)), at_ms)
        reader = RecordParser(
            shop.currency, shop.time_zone, self._clock_ms, configs.costs_minor(), configs.shop.orders.rates
        )
        return Live(configs, epochs, reader, Serving(configs, epochs))

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(POLL_S):
            try:
                self.reload_if_changed()
            except Exception:  # the watcher must outlive whatever a file or a disk does
                log.exception("declarations cannot be looked at")


def _signature(folder: Path | None) -> Signature:
    """Give names, times and sizes of all files of declarations."""
    if folder is None:
        return ()
    found = []
    for path in (*(folder / name for name in SHOP_FILES), *folder.glob("experiments/*")):
        if path.suffix.lower() in (".yaml", ".yml", ".csv") and path.name[0] != ".":
            try:
                state = path.stat()
            except OSError:  # not there, or gone between listing and looking
                continue
            found.append((str(path), state.st_mtime_ns, state.st_size))
    return tuple(sorted(found))
