"""What the tests share: declarations to write, real stores, a real server on a real socket."""

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import crosslift
from events import Store, open_store
from experiments import CrossliftError
from server.http.keys import PREFIXES, create_key
from tests.support.postgres import PostgresServer, binaries

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"

AB = """\
key: ab
title: Two arms
status: running
variants:
  control: {weight: 1, placement: none}
  offer: {weight: 1, placement: below_product, offer: {kind: cross_sell, products: [p1]}}
"""

# A shell that starts the tests in the background ignores SIGINT, and so would every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

WriteConfigs = Callable[..., Path]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", metavar="DIR", help="Write a picture of every placement into a folder.")


@pytest.fixture
def write_configs(tmp_path: Path) -> WriteConfigs:
    """Write a folder of declarations: experiments by key, other files by name."""

    def write(folder: str = "configs", files: dict[str, str] | None = None, **experiments: str) -> Path:
        root = tmp_path / folder
        (root / "experiments").mkdir(parents=True, exist_ok=True)
        for key, text in (experiments or {"ab": AB}).items():
            (root / "experiments" / f"{key}.yaml").write_text(text, encoding="utf-8")
        for name, text in (files or {}).items():
            (root / name).write_text(text, encoding="utf-8")
        return root

    return write


def running_postgres() -> Iterator[PostgresServer]:
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL's server programs are not installed; `make test` installs them")
    server = PostgresServer(programs)
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Start a PostgreSQL server that the tests of this process share."""
    yield from running_postgres()


@pytest.fixture
def postgres_of_its_own() -> Iterator[PostgresServer]:
    """Start a PostgreSQL server that a test may stop."""
    yield from running_postgres()


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """Name a store of this test's own."""
    return f"sqlite:///{tmp_path / 'events.db'}"


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """Open a store of this test's own."""
    opened = open_store(store_url)
    yield opened
    opened.close()


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run `crosslift` in this process, with the exit codes of the real one."""

    def invoke(*arguments: object) -> Result:
        result = CliRunner().invoke(crosslift.cli, [str(one) for one in arguments], env={"COLUMNS": "100"})
        if isinstance(result.exception, CrossliftError):
            result.exit_code = 2  # as crosslift.main turns it
        elif result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@dataclass
class Answer:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A `crosslift serve` process, and a way to ask it."""

    port: int
    process: "subprocess.Popen[str]"
    keys: dict[str, str] = field(default_factory=dict)

    def request(
        self, method: str, path: str, body: object = None, key: str | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        content = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} | (headers or {})
        if key:
            sent["Authorization"] = f"Bearer {key}"
        try:
            connection.request(method, path, content, sent)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def post(self, path: str, body: object, kind: str = "publishable") -> Answer:
        return self.request("POST", path, body, self.keys[kind])


@pytest.fixture
def serve(store_url: str) -> Iterator[Callable[..., Server]]:
    """Start `crosslift serve` on a free port of this machine; ended with the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(configs: Path, *options: str) -> Server:
        with closing(open_store(store_url)) as opened:
            keys: dict[str, str] = {kind: create_key(opened, kind, int(time.time() * 1000)) for kind in PREFIXES}
        arguments = ["serve", "--port", "0", "--configs", str(configs), "--store", store_url, *options]
        command = [sys.executable, "-m", "crosslift", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        port = int(line.split("http://127.0.0.1:")[1].split()[0])
        server = Server(port, process, keys)
        for _ in range(200):
            try:
                if server.request("GET", "/healthz").status == 200:
                    return server
            except OSError:
                if process.poll() is not None:
                    break
                time.sleep(0.05)
        raise AssertionError("crosslift serve did not start")

    yield start
    for process in processes:
        process.terminate()
        process.wait(timeout=20)
        assert process.stdout is not None
        process.stdout.close()
