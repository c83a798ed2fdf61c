"""Sends made-up shoppers through a running server, over real HTTP: shuffled, late and some of it twice."""

import http.client
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from experiments.declarations.loading import Configs
from experiments.errors import RequestError, StoreError
from simulation.shoppers import Event, Visit, browse, buy, visit
from simulation.truth import Truth

CONNECTIONS = 4
ORDERS_A_REQUEST = 50


class Client:
    """A connection to the server for every thread that asks."""

    def __init__(self, server: str, key: str) -> None:
        try:
            address = urlsplit(server)
            self._host, self._port = address.hostname or "", 80 if address.port is None else address.port
        except ValueError:
            address = urlsplit("")
        if address.scheme != "http" or not address.hostname or address.path not in ("", "/") or not key.isprintable():
            raise RequestError(
                f"--server: found {server!r}; wanted an address such as http://127.0.0.1:8000, and a key"
            )
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._local = threading.local()
        self._opened: list[http.client.HTTPConnection] = []

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """
        Post JSON and give the JSON answered, trying twice.

        Raises:
            StoreError: The server cannot be reached.
            RequestError: The server refuses.
        """
        for attempt in (1, 2):
            connection = self._connection()
            try:
                connection.request("POST", path, json.dumps(body), self._headers)
                response = connection.getresponse()
                answer: dict[str, Any] = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                if attempt == 2:
                    raise StoreError(f"http://{self._host}:{self._port}{path}: no answer: {error}") from None
                continue
            if not isinstance(answer, dict) or not {"assignments", "accepted", "detail"} & answer.keys():
                raise RequestError(f"{path}: found an answer that is not crosslift's; wanted a crosslift server")
            if response.status >= 400:
                raise RequestError(f"{path}: the server answered {response.status}: {answer.get('detail')}")
            break
        return answer

    def close(self) -> None:
        """Close every thread's connection."""
        for connection in self._opened:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection(self._host, self._port, timeout=30)
            self._opened.append(self._local.connection)
        connection: http.client.HTTPConnection = self._local.connection
        return connection


def simulate(
    truth: Truth,
    configs: Configs,
    client: Client,
    *,
    seed: int,
    shoppers: int,
    start_ms: int,
    progress: Callable[[int], object] | None = None,
) -> Counter[str]:
    """
    Send shoppers through a server, the same for the same seed and start.

    Args:
        truth: How they behave.
        configs: The declarations that the server serves.
        client: Of the server, with a secret key.
        seed: Of every dice.
        shoppers: How many.
        start_ms: When the first may come.
        progress: Called with the number of shoppers done.

    Returns:
        How many shoppers, exposures, orders and deliveries there were, and what the server said of them.

    Raises:
        StoreError: The server cannot be reached.
        RequestError: The server refuses, or rejects an event.
    """
    counts: Counter[str] = Counter()
    orders: list[Event] = []
    visits = (visit(truth, configs, seed, number, start_ms) for number in range(shoppers))
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for browsed, bought in pool.map(lambda one: _shop(one, truth, configs, client), visits):
            counts += browsed
            orders += bought
            if progress:
                progress(1)
        dice = random.Random(f"delivery:{seed}")
        orders.sort(key=lambda order: (order["order_id"], order["updated_at_ms"]))
        counts["orders"] = len({order["order_id"] for order in orders})
        deliveries = orders + [order for order in orders if dice.random() < truth.doubled]
        dice.shuffle(deliveries)
        for delivered in pool.map(lambda batch: _deliver(client, batch), _batches(deliveries)):
            counts += delivered
    counts["shoppers"] = shoppers
    return counts


def _shop(shopper: Visit, truth: Truth, configs: Configs, client: Client) -> tuple[Counter[str], list[Event]]:
    answer = client.post("/v1/assignments", {"visitor_id": shopper.visitor_id, "context": shopper.context})
    given = {key: one for key, one in answer["assignments"].items() if one["exposure_token"]}
    counts = Counter(exposures=len(given))
    events = [event for key, one in given.items() for event in browse(shopper, key, one)]
    twice = random.Random(f"twice:{shopper.visitor_id}").random() < truth.doubled
    for _ in range((1 + twice) if events else 0):
        counts += _deliver(client, events)
    key = next(iter(given), None)
    return counts, list(buy(shopper, truth, configs, key, given[key]["variant"] if key else None))


def _deliver(client: Client, events: list[Event]) -> Counter[str]:
    answer = client.post("/v1/events", {"events": events})
    if answer["rejected"]:
        raise RequestError(f"/v1/events: the server rejected {answer['rejected'][0]}")
    return Counter(delivered=len(events), accepted=answer["accepted"], duplicates=answer["duplicates"])


def _batches(events: Iterable[Event]) -> Iterable[list[Event]]:
    waiting = iter(events)
    while batch := list(islice(waiting, ORDERS_A_REQUEST)):
        yield batch
