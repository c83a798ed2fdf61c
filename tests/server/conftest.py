"""An app on a real store, asked through Flask's client, with a clock that tests set."""

import functools
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from events import Store
from server import create_app
from server.http.keys import create_key
from tests.conftest import AB, ROOT, WriteConfigs

NOW = 1_777_636_800_000

EXPERIMENTS = {
    "ab": AB,
    "new": AB.replace("key: ab", "key: new").replace("status: running", "status: draft"),
    "stopped": AB.replace("key: ab", "key: stopped").replace("status: running", "status: paused"),
    "won": AB.replace("key: ab", "key: won").replace("status: running", "status: ended\nwinner: offer"),
    "members": AB.replace("key: ab", "key: members\nunit: customer_id"),
    "phones": AB.replace("key: ab", "key: phones\naudience: {device: mobile}"),
}
CATALOG = "products:\n  - {id: p1, title: One, price: 9.90, cost: 4}\n"


@dataclass
class Api:
    """The app, its keys and its clock."""

    client: FlaskClient
    publishable: str
    secret: str
    now_ms: int = NOW

    def post(self, path: str, body: Any, key: str | None = None, **options: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.publishable if key is None else key}"} if key != "" else {}
        sent = {"data": body} if isinstance(body, (bytes, str)) else {"json": body}
        return self.client.post(path, headers=headers, **sent, **options)

    def assign(self, visitor_id: str = "anna", **body: Any) -> dict[str, Any]:
        response = self.post("/v1/assignments", {"visitor_id": visitor_id, **body})
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.get_json()["assignments"]
        return found

    def events(self, *events: Any, key: str | None = None) -> dict[str, Any]:
        response = self.post("/v1/events", {"events": list(events)}, key)
        assert response.status_code == 202, response.text
        counted: dict[str, Any] = response.get_json()
        assert counted["accepted"] + counted["duplicates"] + len(counted["rejected"]) == len(events)
        return counted


MakeApi = Callable[..., Api]


@pytest.fixture
def configs(write_configs: WriteConfigs) -> Path:
    return write_configs(files={"catalog.yaml": CATALOG}, **EXPERIMENTS)


@pytest.fixture
def api(configs: Path, store: Store) -> Api:
    made = Api(None, create_key(store, "publishable", 1), create_key(store, "secret", 1))  # type: ignore[arg-type]
    made.client = create_app(configs, store, lambda: made.now_ms).test_client()
    return made


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Return a folder with the npm clients of tests/node/package.json, installed when first asked for."""

    @functools.cache
    def installed() -> Path:
        if shutil.which("npm") is None:
            pytest.skip("Node is not installed; `make test` installs it")
        folder = tmp_path_factory.mktemp("node")
        shutil.copytree(ROOT / "tests" / "node", folder, dirs_exist_ok=True)
        options = ("--no-package-lock", "--no-audit", "--no-fund", "--silent")
        subprocess.run(["npm", "install", *options], cwd=folder, check=True, timeout=300)
        return folder

    return installed
