"""The requests that the documentation shows run as they stand, in every language that is at hand."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from events import open_store
from experiments import assign, load
from tests.conftest import ROOT, Server

Serve = Callable[..., Server]


def block(page: str, language: str, having: str) -> str:
    """Return the one example of a language that holds a text."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (found,) = [one for one in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) if having in one]
    return str(found)


@pytest.fixture
def server(serve: Serve, tmp_path: Path) -> Server:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    return serve(tmp_path / "configs")


def run(command: list[str], code: str, server: Server, folder: Path, name: str) -> str:
    """Run an example against a server, and give what it prints."""
    text = code.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{server.port}").replace(
        "pk_...", server.keys["publishable"]
    )
    (folder / name).write_text(text, encoding="utf-8")
    environment = os.environ | {
        "SECRET_KEY": server.keys["secret"],
        "PUBLISHABLE_KEY": server.keys["publishable"],
    }
    done = subprocess.run(
        [*command, name], capture_output=True, text=True, cwd=folder, env=environment, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("program", "language", "name"),
    [("curl", "sh", "ask.sh"), (sys.executable, "python", "ask.py"), ("node", "js", "ask.mjs"), ("php", "php", "ask.php")],
    ids=["curl", "python", "node", "php"],
)  # fmt: skip
def test_requests_from_a_shops_server(
    server: Server, tmp_path: Path, store_url: str, program: str, language: str, name: str
) -> None:
    """Asked, exposed and bought: the store has it, and the variant is the library's."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    command = ["sh"] if program == "curl" else [program]
    said = run(command, block("http.md", language, "ivan"), server, tmp_path, name)
    loaded = load(tmp_path / "configs")
    variant = assign(loaded.experiments["product-page-placement"], "ivan", {"category": "kettles"}).variant
    store = open_store(store_url)
    counts = store.counts()
    store.close()
    if program == "curl":
        assert json.loads(said)["assignments"]["product-page-placement"]["variant"] == variant
        assert counts["exposures"] == 2  # the programme's too
    else:
        first, second = said.splitlines()
        assert first == f"{variant} {loaded.experiments['product-page-placement'].variants[str(variant)].placement}"
        assert "accepted" in second
        assert (counts["exposures"], counts["orders"]) == (2, 1)


@pytest.mark.parametrize("client", ["python", "node", "browser"])
def test_openfeature_examples(server: Server, tmp_path: Path, node_folder: Callable[[], Path], client: str) -> None:
    """The flag, and its exposure accepted."""
    if client == "python":
        code = block("openfeature.md", "python", "OFREPProvider")
        said = run([sys.executable], code, server, tmp_path, "ask.py")
    else:
        package = "@openfeature/ofrep-provider" if client == "node" else "@openfeature/ofrep-web-provider"
        code = block("openfeature.md", "js", package)
        if client == "browser":  # without a page, there is nowhere to keep flags
            code = code.replace("baseUrl: server,", 'baseUrl: server, cacheMode: "disabled",')
        said = run(["node"], code + "\nprocess.exit(0);\n", server, node_folder(), f"{client}.mjs")
    first, second = said.splitlines()[0], said.split("\n", 1)[1]
    assert first == "popup SPLIT popup 1"
    assert re.search(r"['\"]?accepted['\"]?: 1", second)
