"""`crosslift serve` as a process, over a real socket."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from events import open_store
from tests.conftest import ROOT, Server, WriteConfigs

Serve = Callable[..., Server]


def crosslift(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "crosslift", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_line_through_every_room(serve: Serve, write_configs: WriteConfigs, store_url: str) -> None:
    """Assign, expose, order, over HTTP with two workers; what was acknowledged is in the store."""
    server = serve(write_configs(), "--workers", "2")
    visitors = [f"v{number}" for number in range(40)]
    failures: list[str] = []

    def shop(mine: list[str]) -> None:
        for visitor in mine:
            given = server.post("/v1/assignments", {"visitor_id": visitor}).json["assignments"]["ab"]
            exposure = {"type": "exposure", "exposure_token": given["exposure_token"]}
            order = {
                "type": "order",
                "order_id": visitor,
                "visitor_id": visitor,
                "ordered_at": "2026-05-01T10:00:00Z",
                "gross": "5",
            }
            answers = [
                server.post("/v1/events", {"events": [exposure]}),
                server.post("/v1/events", {"events": [order]}, "secret"),
            ]
            failures.extend(str(one) for one in answers if one.status != 202 or one.json["accepted"] != 1)

    threads = [threading.Thread(target=shop, args=(visitors[part::4],)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    store = open_store(store_url)
    assert store.counts() | {"exposures": 40, "orders": 40, "epochs": 1} == store.counts()
    store.close()


def test_serve_ends_when_told_to(serve: Serve, write_configs: WriteConfigs) -> None:
    """Cleanly, and at once."""
    server = serve(write_configs())
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=20) == 0


def test_serve_refuses_what_it_cannot_serve(write_configs: WriteConfigs, store_url: str, tmp_path: Path) -> None:
    """Wrong declarations, an unusable store, a taken port: exit code 2, one clear message, no traceback."""
    wrong = write_configs("wrong", ab="key: ab\n")
    cases = [
        (("serve", "--port", "0", "--configs", wrong, "--store", store_url), "ab.yaml:1: title: found nothing"),
        (("serve", "--port", "0", "--configs", ROOT / "configs", "--store", "mysql://x"), "must be sqlite:///FILE"),
        (("serve", "--port", "0", "--configs", tmp_path / "none", "--store", store_url), "no folder that can be read"),
        (("serve", "--port", "70000"), "70000"),
    ]
    for arguments, message in cases:
        done = crosslift(*arguments)
        assert done.returncode == 2, arguments
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_a_taken_port_is_said(serve: Serve, write_configs: WriteConfigs, store_url: str) -> None:
    """Before any worker starts."""
    configs = write_configs()
    server = serve(configs)
    done = crosslift("serve", "--port", server.port, "--configs", configs, "--store", store_url)
    assert (done.returncode, f"must be an address to listen on, got 127.0.0.1:{server.port}" in done.stderr) == (
        2,
        True,
    )
