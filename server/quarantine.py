"""Takes what was held in quarantine, once it can be understood."""

import os
from collections.abc import Callable, Collection, Mapping

import orjson

from events.clock import now_ms
from events.store import Store
from experiments.errors import RequestError
from experiments.loading import load
from server.collect import Collector
from server.live import Declarations
from server.tokens import Signer

Take = Callable[[str], None]


def replay(store: Store, configs: str, ids: Collection[int] = ()) -> tuple[int, list[tuple[int, str]]]:
    """
    Try what is held again; what is taken leaves the quarantine.

    Args:
        store: Where it is held, and goes.
        configs: Folder of the declarations.
        ids: Only these; all where there are none.

    Returns:
        How many were taken, and (id, reason) of those still refused.

    Raises:
        RequestError: An id is not held.
        StoreError: The store cannot be written; what was taken before stays taken.
    """
    held = {row[0]: row for row in store.quarantined()}
    unknown = [str(one) for one in ids if one not in held]
    if unknown:
        raise RequestError(f"quarantine: found nothing held as {', '.join(unknown)}; wanted ids that `list` shows")
    sources = _sources(store, configs)
    taken, refused = 0, []
    for number in ids or held:
        _, _, source, _, payload = held[number]
        try:
            sources[source](payload)
        except KeyError:
            refused.append((number, f"source: found {source!r}; wanted one of {', '.join(sources)}"))
        except RequestError as error:
            refused.append((number, str(error)))
        else:
            store.release([number])
            taken += 1
    return taken, refused


def _sources(store: Store, configs: str) -> Mapping[str, Take]:
    signer = Signer(store.secret("signing", os.urandom(32).hex()))
    collector = Collector(Declarations(load(configs), store, now_ms), store, signer)
    return {"events": lambda payload: collector.take(orjson.loads(payload))}
