"""Clients that send numbered events while a server is killed, and the comparison of the store with what was acknowledged."""

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from events import Store, open_store

CLIENTS = 6
REFUNDED = 7  # minor units, of every refund


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Supervised:
    """A server that is started again whenever it has died, as a process supervisor does."""

    configs: Path
    store_url: str
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None
    killed: int = 0

    def start(self) -> None:
        for _ in range(50):  # the port, or the database, may not be free yet
            if self._started():
                return
            time.sleep(0.2)
        raise AssertionError("the server did not start")

    def _started(self) -> bool:
        command = [sys.executable, "-m", "crosslift", "serve", "--port", str(self.port), "--workers", "2"]
        options = ["--configs", str(self.configs), "--store", self.store_url]
        self.process = subprocess.Popen(
            [*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        while self.process.poll() is None:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/healthz")
                connection.getresponse().read()
                connection.close()
                return True
            except OSError:
                time.sleep(0.05)
        return False

    def ensure(self) -> None:
        if self.process is None or self.process.poll() is not None:
            self.start()

    def kill_worker(self, dice: random.Random) -> None:
        for _ in range(600):  # a crash loop that ends, or a busy machine, has no workers for a while
            self.ensure()
            assert self.process is not None
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            if children:
                os.kill(int(dice.choice(children)), signal.SIGKILL)
                self.killed += 1
                return
            time.sleep(0.1)
        raise AssertionError("the server has no worker that could be killed")

    def kill_main(self, _: random.Random) -> None:
        """Kill the main process; its workers notice and stop."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def kill_all(self, _: random.Random | None = None) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Client:
    """
    A client that sends request after request, each until it is acknowledged.

    A request holds two clicks, an order and a refund of it, with ids of their own.
    """

    name: str
    port: int
    key: str
    acknowledged: list[int] = field(default_factory=list)
    sent: int = 0
    refused: dict[int, int] = field(default_factory=dict)
    connection: http.client.HTTPConnection | None = None

    def run(self, ended: threading.Event) -> None:
        while not ended.is_set():
            number = self.sent
            self.sent += 1
            while not ended.is_set():
                if self.send(number):
                    self.acknowledged.append(number)
                    break
        if self.connection:
            self.connection.close()

    def send(self, number: int) -> bool:
        name, at = f"{self.name}-{number:06d}", 1_790_000_000_000 + number
        event = {"experiment": "ab", "variant": "offer", "visitor_id": name, "occurred_at_ms": at}
        events = [
            {"type": "impression", "event_id": f"{name}-i", **event},
            {"type": "click", "event_id": f"{name}-c", **event},
            {"type": "order", "order_id": name, "visitor_id": name, "ordered_at_ms": at, "gross_minor": 100},
            {"type": "refund", "order_id": name, "refund_id": "1", "refunded_at_ms": at, "refunded_minor": REFUNDED},
        ]
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            self.connection.request("POST", "/v1/events", json.dumps({"events": events}), headers)
            response = self.connection.getresponse()
            body = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            if self.connection:
                self.connection.close()
            self.connection = None
            time.sleep(0.02)
            return False
        if response.status != 202:
            self.refused[response.status] = self.refused.get(response.status, 0) + 1
            time.sleep(0.02)
            return False
        assert body["accepted"] + body["duplicates"] == len(events), body
        return True


def clients_during(port: int, key: str, disaster: Callable[[], None]) -> list[Client]:
    """Run clients during a disaster, and until every one of them gets an answer again."""
    ended = threading.Event()
    clients = [Client(f"c{number}", port, key) for number in range(CLIENTS)]
    threads = [threading.Thread(target=client.run, args=(ended,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        disaster()
        deadline = time.monotonic() + 60
        reached = [len(client.acknowledged) for client in clients]
        while time.monotonic() < deadline and any(
            len(client.acknowledged) <= before for client, before in zip(clients, reached, strict=True)
        ):
            time.sleep(0.05)  # every client gets through again
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    return clients


def assert_nothing_lost(store: Store, clients: list[Client]) -> int:
    """Check that the store has every acknowledged event once, counts refunds once, and has nothing that was not sent."""
    with store.snapshot() as fetch:
        event_ids = sorted(str(row[0]) for row in fetch("SELECT event_id FROM interactions"))
        orders = {str(row[0]): int(row[1]) for row in fetch("SELECT order_id, refunded_minor FROM orders")}
        counted = next(iter(fetch("SELECT COUNT(*) FROM orders")))[0]
    assert len(set(event_ids)) == len(event_ids)
    assert counted == len(orders)
    acknowledged = {f"{client.name}-{number:06d}" for client in clients for number in client.acknowledged}
    sent = {f"{client.name}-{number:06d}" for client in clients for number in range(client.sent)}
    assert {f"{name}-{kind}" for name in acknowledged for kind in "ic"} <= set(event_ids)
    assert acknowledged <= set(orders) <= sent
    assert {orders[name] for name in acknowledged} <= {REFUNDED}
    return len(acknowledged)


def opened_when_there(url: str) -> Store:
    """Open a store whose server may still be starting."""
    for _ in range(100):
        with contextlib.suppress(Exception):
            return open_store(url)
        time.sleep(0.1)
    return open_store(url)
