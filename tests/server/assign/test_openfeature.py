"""The real OpenFeature providers against a real server: Python, Node, and the browser's."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openfeature import api as openfeature
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode

from events import open_store
from experiments import assign, load
from tests.conftest import Server, WriteConfigs
from tests.server.conftest import CATALOG, EXPERIMENTS

Serve = Callable[..., Server]


@pytest.fixture
def server(serve: Serve, write_configs: WriteConfigs) -> Server:
    return serve(write_configs(files={"catalog.yaml": CATALOG}, **EXPERIMENTS))


@pytest.fixture
def client(server: Server) -> Iterator[OpenFeatureClient]:
    headers = {"Authorization": f"Bearer {server.keys['publishable']}"}
    provider = OFREPProvider(f"http://127.0.0.1:{server.port}", headers_factory=lambda: headers)
    openfeature.set_provider(provider)
    yield openfeature.get_client()
    openfeature.clear_providers()
    provider.session.close()


@pytest.fixture
def node(node_folder: Callable[[], Path]) -> Callable[..., Any]:
    """Run a script of tests/node, and give the JSON that it prints."""

    def run(script: str, server: Server) -> Any:
        command = ["node", script, f"http://127.0.0.1:{server.port}", server.keys["publishable"]]
        done = subprocess.run(command, cwd=node_folder(), capture_output=True, text=True, check=True, timeout=60)
        return json.loads(done.stdout)

    return run


def test_the_python_provider(client: OpenFeatureClient, server: Server, store_url: str, tmp_path: Path) -> None:
    """Object flags with variant, SPLIT and metadata; the token in the metadata makes the exposure."""
    declared = load(tmp_path / "configs").experiments["ab"]
    for number in range(20):
        found = client.get_object_details("ab", {"none": True}, EvaluationContext(f"v{number}"))
        assert (found.variant, found.reason, found.error_code) == (
            assign(declared, f"v{number}").variant,
            "SPLIT",
            None,
        )
        assert isinstance(found.value, dict)
        assert ("products" in found.value) == (found.variant == "offer")
        exposure = {"type": "exposure", "exposure_token": found.flag_metadata["exposure_token"]}
        assert server.post("/v1/events", {"events": [exposure]}).json["accepted"] == 1
    store = open_store(store_url)
    assert store.counts()["exposures"] == 20
    store.close()


def test_the_python_provider_is_told_what_is_wrong(client: OpenFeatureClient) -> None:
    """Its default, with the reason: unknown flag, no targeting key, another type, a unit that is missing."""
    default = {"none": True}
    cases = [
        ("nothing", EvaluationContext("anna"), ErrorCode.FLAG_NOT_FOUND),
        ("ab", EvaluationContext(), ErrorCode.TARGETING_KEY_MISSING),
        ("members", EvaluationContext("anna"), ErrorCode.INVALID_CONTEXT),
    ]
    for key, context, code in cases:
        found = client.get_object_details(key, default, context)
        assert (found.value, found.error_code) == (default, code)
    text = client.get_string_details("ab", "none", EvaluationContext("anna"))
    assert (text.value, text.error_code) == ("none", ErrorCode.TYPE_MISMATCH)
    member = client.get_object_details("members", default, EvaluationContext("anna", {"customer_id": "c-7"}))
    assert (member.error_code, str(member.reason)) == (None, "SPLIT")


def test_the_python_provider_waits_when_told_to(serve: Serve, write_configs: WriteConfigs) -> None:
    """After a 429 it asks no more until Retry-After has passed."""
    server = serve(write_configs(), "--rate-limit", "1")
    headers = {"X-API-Key": server.keys["publishable"]}
    provider = OFREPProvider(f"http://127.0.0.1:{server.port}", headers_factory=lambda: headers)
    openfeature.set_provider(provider)
    client = openfeature.get_client()
    found = [client.get_object_details("ab", {"none": True}, EvaluationContext("anna")) for _ in range(3)]
    assert [one.error_code for one in found] == [None, ErrorCode.GENERAL, ErrorCode.GENERAL]
    assert "paused" in str(found[2].error_message)
    time.sleep(1.2)
    assert client.get_object_details("ab", {"none": True}, EvaluationContext("anna")).error_code is None
    openfeature.clear_providers()
    provider.session.close()


def test_the_node_provider(server: Server, node: Callable[..., Any], tmp_path: Path) -> None:
    """The same, in Node."""
    told = node("server.mjs", server)
    declared = load(tmp_path / "configs").experiments["ab"]
    for visitor, found in told["visitors"].items():
        assert (found["variant"], found["reason"]) == (assign(declared, visitor).variant, "SPLIT")
        assert found["flagMetadata"].keys() == {"placement", "reason", "epoch", "exposure_token"}
        assert ("products" in found["value"]) == (found["variant"] == "offer")
    assert (told["phone"]["reason"], told["desktop"]["reason"]) == ("SPLIT", "TARGETING_MATCH")
    assert (told["desktop"]["variant"], told["desktop"]["value"]) == ("control", {})
    assert (told["unknown"]["errorCode"], told["unknown"]["value"]) == ("FLAG_NOT_FOUND", {"none": True})
    assert told["nobody"]["errorCode"] == "TARGETING_KEY_MISSING"
    assert told["text"]["errorCode"] == "TYPE_MISMATCH"


def test_the_web_provider(server: Server, node: Callable[..., Any]) -> None:
    """One bulk call, 304 while nothing changes, and fresh flags when the context does, even under the same key."""
    told = node("web.mjs", server)
    assert told["first"]["ab"]["reason"] == "SPLIT"
    assert told["first"]["ab"]["flagMetadata"]["exposure_token"]
    assert told["first"]["phones"]["reason"] == "TARGETING_MATCH"
    assert told["first"]["members"]["errorCode"] == "INVALID_CONTEXT"
    assert told["first"]["unknown"]["errorCode"] == "FLAG_NOT_FOUND"
    assert told["polled"][0] == 200
    assert set(told["polled"][1:]) == {304}
    assert (told["changed"]["phones"]["reason"], told["changed"]["members"]["reason"]) == ("SPLIT", "SPLIT")
    assert told["changed"]["ab"]["variant"] == told["first"]["ab"]["variant"]
    assert told["other"]["ab"]["flagMetadata"] != told["changed"]["ab"]["flagMetadata"]
    assert told["refused"]
