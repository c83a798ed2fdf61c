"""When the disk does not keep up: 503 with Retry-After, bounded memory, and everything acknowledged kept."""

import fcntl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from events import Interaction, Store, open_store
from events.stores.group_commit import GroupCommit
from experiments import StoreBusy
from tests.conftest import Answer, Server, WriteConfigs

AT = 1_777_636_800_000


def click(number: int) -> Interaction:
    told = {"kind": "click", "experiment": "ab", "variant": "offer", "unit_id": "u", "occurred_at_ms": AT}
    return Interaction.model_validate({"event_id": str(number), **told})


def test_a_queue_that_is_full_refuses(store: Store) -> None:
    """At once; who waits already is written when the disk is back."""
    free, written = threading.Event(), []

    def slow(batches: object, durable: bool) -> list[list[bool]]:
        free.wait()
        taken = [[True] * len(batch) for batch in batches]  # type: ignore[attr-defined]
        written.append(sum(map(len, taken)))
        return taken

    groups = GroupCommit(slow, patience_s=60, max_waiting=100)
    threads = [threading.Thread(target=groups.write, args=([click(n)] * 40,)) for n in range(2)]
    for thread in threads:
        thread.start()
    while groups._waiting < 80:
        time.sleep(0.001)
    with pytest.raises(StoreBusy, match="80 records are waiting"):
        groups.write([click(9)] * 40)
    free.set()
    for thread in threads:
        thread.join()
    assert sum(written) == 80
    assert groups._waiting == 0


def test_a_turn_that_does_not_come_is_given_up() -> None:
    """And nothing of it is written later."""
    free, sizes = threading.Event(), []

    def slow(batches: object, durable: bool) -> list[list[bool]]:
        sizes.append(len(batches))  # type: ignore[arg-type]
        free.wait()
        return [[True] * len(batch) for batch in batches]  # type: ignore[attr-defined]

    groups = GroupCommit(slow, patience_s=0.2)
    first = threading.Thread(target=groups.write, args=([click(1)],))
    first.start()
    while not sizes:
        time.sleep(0.001)
    with pytest.raises(StoreBusy, match=r"busy for 0\.2 s"):
        groups.write([click(2)])
    free.set()
    first.join()
    assert groups.write([click(3)]) == [True]
    assert sizes == [1, 1]


def test_the_server_says_when_to_come_again(
    serve: Callable[..., Server], write_configs: WriteConfigs, store_url: str
) -> None:
    """While another process holds the store's lock, large requests fill the queue; none is lost, none is kept unsaid."""
    server = serve(write_configs())
    answers: dict[int, Answer] = {}

    def send(number: int) -> None:
        events = [
            {
                "type": "click",
                "event_id": f"{number}-{index}",
                "experiment": "ab",
                "variant": "offer",
                "visitor_id": "v",
            }
            for index in range(1000)
        ]
        answers[number] = server.post("/v1/events", {"events": events})

    with Path(store_url.removeprefix("sqlite:///") + "-lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        threads = [threading.Thread(target=send, args=(number,)) for number in range(30)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20
        while len(answers) < 9 and time.monotonic() < deadline:
            time.sleep(0.05)
        refused = [answer for answer in answers.values() if answer.status == 503]
        assert len(refused) >= 9
        assert {answer.headers["retry-after"] for answer in refused} == {"1"}
        assert "too many writes are waiting" in refused[0].json["detail"]
    for thread in threads:
        thread.join()
    kept = [number for number, answer in answers.items() if answer.status == 202]
    assert len(kept) >= 20
    store = open_store(store_url)
    assert store.counts()["interactions"] == 1000 * len(kept)
    store.close()


def test_durability_is_disk_or_os(serve: Callable[..., Server], write_configs: WriteConfigs) -> None:
    """Both are acknowledged; anything else is refused."""
    server = serve(write_configs())
    event = {"type": "click", "experiment": "ab", "variant": "offer", "visitor_id": "v"}
    for number, query in enumerate(("", "?durability=os", "?durability=disk", "?other=1")):
        answer = server.post(f"/v1/events{query}", {"events": [{**event, "event_id": str(number)}]})
        assert (answer.status, answer.json["accepted"]) == (202, 1)
    for query in ("?durability=", "?durability=none", "?durability=os&durability=disk"):
        answer = server.post(f"/v1/events{query}", {"events": [{**event, "event_id": "x"}]})
        assert (answer.status, "must be disk or os" in answer.json["detail"]) == (400, True)
