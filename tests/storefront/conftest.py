"""The demo shop in front of a real server, and a real browser in front of both."""

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

from experiments import load
from storefront.shop import Preview, create_shop
from tests.conftest import ROOT, Server

PRODUCT = "/products/kettle-swan"
COMPLEMENTS = "{kind: cross_sell, products: complements, limit: 3, headline: Goes well with it}"
BUNDLE = "{kind: bundle, products: complements, limit: 1, headline: Both together, discount: 10%, decline: true}"


def declare(
    key: str, placement: str, *, trigger: str = "product_page", offer: str = COMPLEMENTS, control: int = 0
) -> str:
    """Declare an experiment whose second arm takes everybody, unless the control has a weight."""
    shown = f"{{placement: {placement}, offer: {offer}}}"
    return (
        f"key: {key}\ntitle: {key}\nstatus: running\ntrigger: {trigger}\n"
        f"variants:\n  none: {{weight: {control}, placement: none}}\n  shown: {shown}\n"
    )


def settle(page: Page) -> None:
    """Let beacons arrive."""
    page.wait_for_timeout(500)


class Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@dataclass
class Site:
    """A shop that is served, and the events that its server has."""

    url: str
    server: Server
    store: Path

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.store)) as connection:
            return connection.execute(query).fetchall()

    def exposures(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT experiment, variant, unit_id FROM exposures ORDER BY experiment, unit_id")

    def interactions(self) -> list[tuple[Any, ...]]:
        return self.rows(
            "SELECT kind, placement, product_id FROM interactions ORDER BY occurred_at_ms, kind, product_id"
        )

    def await_rows(self, query: str, count: int, within_s: float = 10.0) -> list[tuple[Any, ...]]:
        """Wait for at least so many rows."""
        deadline = time.monotonic() + within_s
        while len(found := self.rows(query)) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(found) >= count, found
        return found


OpenShop = Callable[..., Site]


@pytest.fixture
def open_shop(serve: Callable[..., Server], tmp_path: Path, store_url: str) -> Iterator[OpenShop]:
    """Serve declarations, and the shop in front of them; `upstream` puts another server there."""
    running = []

    def start(
        *,
        upstream: str | None = None,
        previews: tuple[Preview, ...] = (),
        platform: str = "shopify",
        origins: tuple[str, ...] = (),
        tag: dict[str, str] | None = None,
        **experiments: str,
    ) -> Site:
        configs = tmp_path / "configs"
        (configs / "experiments").mkdir(parents=True)
        shutil.copy(ROOT / "configs" / "catalog.yaml", configs)
        (configs / "shop.yaml").write_text(
            f"currency: USD\nplatform: {platform}\norigins: {list(origins)}\n", encoding="utf-8"
        )
        for key, text in experiments.items():
            (configs / "experiments" / f"{key}.yaml").write_text(text, encoding="utf-8")
        server = serve(configs)
        # A machine that runs the whole suite at once is slow: the deadline has tests of its own.
        attributes = {"data-deadline": "5000", "data-popup-delay": "0"} | (tag or {})
        shop = create_shop(
            load(configs), upstream or f"http://127.0.0.1:{server.port}", server.keys, previews, attributes
        )
        serving = make_server("127.0.0.1", 0, shop, threaded=True, request_handler=Quiet)
        thread = threading.Thread(target=serving.serve_forever, args=(0.05,))
        thread.start()
        running.append((serving, thread))
        return Site(f"http://127.0.0.1:{serving.server_port}", server, Path(store_url.removeprefix("sqlite:///")))

    yield start
    for serving, thread in running:
        serving.shutdown()
        thread.join()
        serving.server_close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed; `make test` installs it")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def new_context(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Open browsers that share nothing, with a strict eye: what a page logs as an error fails the test."""
    opened = []

    def start(**options: Any) -> BrowserContext:
        context = browser.new_context(**options)
        context.set_default_timeout(10_000)
        opened.append(context)
        return context

    yield start
    for context in opened:
        context.close()


@pytest.fixture
def page(new_context: Callable[..., BrowserContext]) -> Iterator[Page]:
    """Open a page of a desktop's size; nothing of ours may throw, nor break the page's policy."""
    page = new_context(viewport={"width": 1280, "height": 900}).new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
    yield page
    assert faults == []
