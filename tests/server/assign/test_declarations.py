"""Declarations that change under a running server; what it says of itself; previews and explanations."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from events import Store
from tests.conftest import AB, Server, WriteConfigs
from tests.server.conftest import Api

Run = Callable[..., Result]
Serve = Callable[..., Server]


def settle(api: Api) -> None:
    """Look at the files twice, as the watcher does: once to see the change, once to see it rest."""
    declarations = api.client.application.extensions["crosslift"]
    declarations.reload_if_changed()
    declarations.reload_if_changed()


def declare(configs: Path, text: str, key: str = "ab") -> None:
    (configs / "experiments" / f"{key}.yaml").write_text(text, encoding="utf-8")


def test_a_change_is_taken_whole(api: Api, configs: Path, store: Store) -> None:
    """Paused at once, running again in the same epoch, in a new one when weights change."""
    assert api.assign()["ab"]["reason"] == "assigned"
    declare(configs, AB.replace("status: running", "status: paused"))
    settle(api)
    assert (api.assign()["ab"]["variant"], api.assign()["ab"]["reason"]) == ("control", "paused")
    declare(configs, AB)
    settle(api)
    assert api.assign()["ab"]["epoch"] == 1
    declare(configs, AB.replace("weight: 1", "weight: 5", 1))
    settle(api)
    assert api.assign()["ab"]["epoch"] == 2
    assert [key for key, one in api.assign().items() if one["reason"] == "assigned"] == ["ab"]


def test_a_bad_file_leaves_the_last_good_set(api: Api, configs: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And says so: in the log, in /readyz, and to Prometheus; until it is mended."""
    declare(configs, AB.replace("weight: 1", "weight: -1"))
    settle(api)
    assert api.assign()["ab"]["reason"] == "assigned"
    ready = api.client.get("/readyz")
    assert (
        ready.status_code,
        ready.get_json()["reload_error"] == "2 faults, the first in ab.yaml:5; the log has the details",
    ) == (200, True)
    assert "crosslift_declarations_faulty 1.0" in api.client.get("/metrics").text
    assert "the last valid ones stay live" in caplog.text
    assert "weight: found `-1`" in caplog.text
    declare(configs, AB)
    settle(api)
    assert api.client.get("/readyz").get_json() == {"status": "ready", "experiments": 6}
    assert "crosslift_declarations_faulty 0.0" in api.client.get("/metrics").text


def test_a_token_outlives_its_declaration(api: Api, configs: Path) -> None:
    """What was served is logged, though the experiment has been taken away since."""
    token = api.assign("anna")["ab"]["exposure_token"]
    (configs / "experiments" / "ab.yaml").unlink()
    settle(api)
    assert "ab" not in api.assign()
    assert api.events({"type": "exposure", "exposure_token": token, "visitor_id": "anna"})["accepted"] == 1


def test_other_files_hold_no_change_up(api: Api, configs: Path) -> None:
    """Neither files that are no declarations, nor one that is written without a pause."""
    declare(configs, AB.replace("status: running", "status: paused"))
    declarations = api.client.application.extensions["crosslift"]
    for step in range(4):
        (configs / "log.csv").write_text("x" * step)
        declare(configs, AB.replace("key: ab", "key: phones") + "#" * step, "phones")
        declarations.reload_if_changed()
    assert api.assign()["ab"]["reason"] == "paused"


def test_a_file_that_is_being_written_is_not_read(api: Api, configs: Path) -> None:
    """Only what has rested between two looks is taken."""
    declarations = api.client.application.extensions["crosslift"]
    for step in range(3):
        declare(configs, AB + "# more" * step)
        declarations.reload_if_changed()
        assert declarations.live.configs.sources["ab"].lines


def test_what_is_counted(api: Api) -> None:
    """Assignments by reason, events by outcome."""
    api.assign()
    api.events({"type": "nothing"}, {"type": "nothing"})
    text = api.client.get("/metrics").text
    assert 'crosslift_assignments_total{reason="assigned"} 1.0' in text
    assert 'crosslift_events_total{outcome="rejected"} 2.0' in text


def test_readyz_needs_the_store(api: Api, store: Store) -> None:
    """503 without it, while /healthz still answers."""
    store.close()
    assert api.client.get("/readyz").status_code == 503
    assert api.client.get("/healthz").status_code == 200


def test_the_server_explains(api: Api) -> None:
    """To a secret key: every step, and what is served."""
    headers = {"Authorization": f"Bearer {api.secret}"}
    query = {"experiment": "phones", "visitor_id": "anna", "context": '{"device": "mobile"}'}
    found = api.client.get("/v1/explain", query_string=query, headers=headers).get_json()
    assert found["variant"] == api.assign("anna", context={"device": "mobile"})["phones"]["variant"]
    assert [step["name"] for step in found["steps"]][:4] == ["status", "holdout", "audience.device", "traffic"]
    for change, status in (
        ({"experiment": "x"}, 404),
        ({"visitor_id": ""}, 400),
        ({"context": "["}, 400),
        ({"experiment": "members"}, 400),
    ):
        assert api.client.get("/v1/explain", query_string={**query, **change}, headers=headers).status_code == status
    public = {"Authorization": f"Bearer {api.publishable}"}
    assert api.client.get("/v1/explain", query_string=query, headers=public).status_code == 403


def test_a_preview_shows_and_never_logs(api: Api, run: Run, configs: Path, store: Store) -> None:
    """Any variant, of a draft too; signed, expiring, and no exposure of it."""
    common = ("--configs", configs, "--store", store.url, "--hours", 48)
    link = run("preview", "new", "offer", "https://shop.example/p?a=1&crosslift_preview=old", *common).output.strip()
    assert link.startswith("https://shop.example/p?a=1&crosslift_preview=")
    token = link.split("crosslift_preview=")[1]
    api.now_ms = int(time.time() * 1000)
    shown = api.assign(preview=token, expose=True)
    assert (shown["new"]["variant"], shown["new"]["placement"], shown["new"]["reason"]) == (
        "offer",
        "below_product",
        "preview",
    )
    assert shown["new"]["exposure_token"] is None
    assert store.counts()["exposures"] == 1  # that of `ab`, which is not previewed
    for wrong in (token[:-1], "x", token.split(".")[0] + "." + api.assign()["ab"]["exposure_token"].split(".")[1]):
        assert api.post("/v1/assignments", {"preview": wrong}).status_code == 400
    assert api.events({"type": "exposure", "exposure_token": token})["accepted"] == 0
    api.now_ms += 49 * 3_600_000
    assert "expired" in api.post("/v1/assignments", {"preview": token}).get_json()["detail"]
    for wrong_use in (("new", "x", "https://a"), ("x", "offer", "https://a"), ("new", "offer", "shop.example")):
        assert run("preview", *wrong_use, *common).exit_code == 2


def test_editing_under_load_fails_no_request(serve: Serve, write_configs: WriteConfigs, store_url: str) -> None:
    """Two workers, requests without pause, weights edited, a bad file in between: all answered, each epoch stored once."""
    configs = write_configs()
    server = serve(configs, "--workers", "2")
    stop = threading.Event()
    failures: list[int | None] = []
    answered: list[int | None] = []

    def shop(mine: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            answer = server.post("/v1/assignments", {"visitor_id": f"{mine}-{number}"})
            one = answer.json["assignments"]["ab"] if answer.status == 200 else {}
            (answered if one.get("reason") in ("assigned", "paused") else failures).append(one.get("epoch"))

    threads = [threading.Thread(target=shop, args=(mine,)) for mine in range(4)]
    for thread in threads:
        thread.start()
    changes = [AB.replace("weight: 1", f"weight: {weight}", 1) for weight in (2, 3)]
    for text in (changes[0], AB.replace("weight: 1", "weight: broken"), changes[1], AB.replace("running", "paused")):
        declare(configs, text)
        time.sleep(1.2)
    paused = [
        server.post("/v1/assignments", {"visitor_id": f"late-{number}"}).json["assignments"]["ab"]["reason"]
        for number in range(20)
    ]
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(paused) == {"paused"}
    assert set(answered) >= {1, 2, 3}
    with sqlite3.connect(store_url.removeprefix("sqlite:///")) as connection:
        rows = connection.execute("SELECT epoch, declaration FROM epochs ORDER BY epoch").fetchall()
    connection.close()
    assert [(epoch, json.loads(text)["variants"]["control"]["weight"]) for epoch, text in rows] == [
        (1, 1),
        (2, 2),
        (3, 3),
    ]
    metrics = server.request("GET", "/metrics").body.decode()
    assert "crosslift_assignments_total" in metrics
