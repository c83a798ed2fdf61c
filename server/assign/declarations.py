"""The live declarations: read at the start, and again within a second of every change."""

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
from server.assign.prepared import PreparedDeclarations

POLL_S = 0.25
MAX_UNSETTLED_POLLS = 3
SHOP_FILES = ("shop.yaml", "catalog.yaml", "catalog.csv")

log = logging.getLogger("crosslift")

Signature = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Live:
    """One set of declarations; a request uses the same set from beginning to end."""

    configs: Configs
    epochs: Mapping[str, int]
    reader: RecordParser
    prepared: PreparedDeclarations


class Declarations:
    """
    The live set of declarations, replaced as a whole when the files change.

    A faulty set is refused: the last valid one stays live, and `error` says why. Of several processes that see the same change,
    one opens the new epoch and the others read it.

    Attributes:
        live: The set that is served.
        error: Why the current files are not served; None when they are.
        on_change: Called after each attempt to load changed files.
    """

    def __init__(self, source: str | Path | Configs, store: Store, clock_ms: Callable[[], int]) -> None:
        self._folder = None if isinstance(source, Configs) else Path(source)
        self._store = store
        self._clock_ms = clock_ms
        self._served = self._seen = _signature(self._folder)
        self._unsettled_polls = 0
        self._parsed: Parsed = {}
        self._logged = ""
        self.live = self._open(source if isinstance(source, Configs) else load(source, self._parsed))
        self.error: str | None = None
        self.on_change: Callable[[], object] = lambda: None

    def watch(self) -> None:
        """Poll the files four times a second, in a thread that ends with the process."""
        threading.Thread(target=self._watch, name="crosslift-reload", daemon=True).start()

    def reload_if_changed(self) -> None:
        """
        Load the files if they have changed and then stayed unchanged for one poll: a file is not read while it is written.

        Files that change at every poll are loaded at the third all the same; a half-written file is a fault, and is refused.
        """
        signature = _signature(self._folder)
        self._unsettled_polls = 0 if signature == self._seen else self._unsettled_polls + 1
        self._seen = signature
        if self._folder is None or signature == self._served or 0 < self._unsettled_polls < MAX_UNSETTLED_POLLS:
            return
        self._served, self._unsettled_polls = signature, 0
        try:
            self.live = self._open(load(self._folder, self._parsed))
        except DeclarationError as error:
            places = f"{Path(error.faults[0].file).name}:{error.faults[0].line}"
            count = f"{len(error.faults)} fault{'s' if len(error.faults) > 1 else ''}"
            self._refuse(f"{count}, the first in {places}; the log has the details", str(error))
        except Exception as error:  # noqa: BLE001  a store or a disk that fails: try again at the next poll
            self._served = ()
            self._refuse("the declarations could not be loaded; the log says why", str(error))
        else:
            self.error = None
            log.warning("declarations reloaded: %d in all", len(self.live.configs.experiments))
        self.on_change()

    def _refuse(self, summary: str, error: str) -> None:
        if error != self._logged:
            log.error("declarations not reloaded; the last valid ones stay live:\n%s", error)
        self.error, self._logged = summary, error

    def _open(self, configs: Configs) -> Live:
        """Open the epochs of all running experiments; a paused or ended experiment keeps its last epoch."""
        at_ms = self._clock_ms()
        epochs: dict[str, int] = {}
        for key, experiment in configs.experiments.items():
            if experiment.status == "running":
                number: int | None = self._store.open_epoch(key, declared_dict(experiment), at_ms)
            else:
                number = self._store.newest_epoch(key)
            if number is not None:
                epochs[key] = number
        shop = configs.shop
        if shop.holdout:
            epochs[HOLDOUT] = self._store.open_epoch(HOLDOUT, declared_dict(holdout_experiment(shop)), at_ms)
        reader = RecordParser(
            shop.currency, shop.time_zone, self._clock_ms, configs.costs_minor(), configs.shop.orders.rates
        )
        return Live(configs, epochs, reader, PreparedDeclarations(configs, epochs))

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(POLL_S):
            try:
                self.reload_if_changed()
            except Exception:  # the watcher must outlive whatever a file or a disk does
                log.exception("declarations cannot be read")


def _signature(folder: Path | None) -> Signature:
    """Return the names, times and sizes of all declaration files."""
    if folder is None:
        return ()
    files = []
    for path in (*(folder / name for name in SHOP_FILES), *folder.glob("experiments/*")):
        if path.suffix.lower() in (".yaml", ".yml", ".csv") and path.name[0] != ".":
            try:
                state = path.stat()
            except OSError:  # absent, or deleted since it was listed
                continue
            files.append((str(path), state.st_mtime_ns, state.st_size))
    return tuple(sorted(files))
