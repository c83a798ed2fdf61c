"""
The report on an experiment: read once from a store into a study, then computed from that alone.

What computes is imported on a thread while the engine runs the first queries: SciPy's `stats` alone takes most of a second.
"""

import gc
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.queries.study import read_study
from analysis.stats import preload
from experiments.assignment.holdout import holdout_experiment
from experiments.declarations.loading import Configs, load
from experiments.declarations.model import HOLDOUT, Experiment

if TYPE_CHECKING:
    from analysis.reports.model import Report


def report(
    key: str,
    store: str = "sqlite:///crosslift.db",
    configs: str | Path = "configs",
    as_of_ms: int | None = None,
    others: Iterable[str] = (),
    *,
    bayesian: bool = False,
) -> "Report":
    """
    Report on one experiment.

    Args:
        key: The key of the experiment; `holdout` for what the whole programme brings.
        store: URL of the store that holds its events.
        configs: Folder of the declarations.
        as_of_ms: Read no later exposure or order; now unless given. Orders are in their newest state, refunds included.
        others: Other experiments: do they change the effect of this one?
        bayesian: Add chances to be best and expected losses.

    Raises:
        DeclarationError: The declarations are wrong.
        RequestError: There is no such experiment, or nobody is held out.
        StoreError: There is no store at the URL.
        AnalysisError: The store's orders are in several currencies.

    >>> import pathlib, tempfile
    >>> from events import open_store
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "experiments").mkdir()
    >>> _ = (folder / "experiments" / "ab.yaml").write_text(
    ...     "{key: ab, title: Ab, status: running, variants: {a: {placement: none}, b: {placement: none}}}"
    ... )
    >>> store = open_store(f"sqlite:///{folder / 'shop.db'}")
    >>> empty = report("ab", store.url, folder)
    >>> empty.verdict.decision, empty.metrics["conversion"].to_dict()["variants"]["a"]["reason"]
    ('keep_running', 'no units')
    >>> store.close()
    """
    loaded = load(configs)
    experiment = _experiment(loaded, key)
    now_ms = time.time_ns() // 1_000_000 if as_of_ms is None else as_of_ms
    asked_too = [_experiment(loaded, other) for other in others]
    with _without_collection():
        # Not before the store is open: Spark starts Java, and a fork while another thread is inside OpenBLAS hangs both.
        study = read_study(store, loaded, experiment, now_ms, asked_too, lambda: preload("analysis.reports.compute"))
        from analysis.reports.compute import compute  # waits for the thread

        return compute(study, bayesian=bayesian)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Pause the collection of cycles: looking for them among all that imports make takes a tenth of a small report's time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _experiment(loaded: Configs, key: str) -> Experiment:
    return holdout_experiment(loaded.shop) if key == HOLDOUT else loaded.experiment(key)
