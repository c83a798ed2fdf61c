"""The demo shop in front of a real server, and a real browser in front of both."""

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
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
ServeShop = Callable[..., str]


def write_declarations(
    folder: Path, platform: str = "shopify", origins: tuple[str, ...] = (), **experiments: str
) -> Path:
    """Write declarations over the catalogue of the examples."""
    configs = folder / "configs"
    (configs / "experiments").mkdir(parents=True)
    shutil.copy(ROOT / "configs" / "catalog.yaml", configs)
    shop = f"currency: USD\nplatform: {platform}\norigins: {list(origins)}\n"
    (configs / "shop.yaml").write_text(shop, encoding="utf-8")
    for key, text in experiments.items():
        (configs / "experiments" / f"{key}.yaml").write_text(text, encoding="utf-8")
    return configs


@pytest.fixture
def serve_shop() -> Iterator[ServeShop]:
    """Serve the demo shop in front of a server at an address; the result is the shop's own address."""
    running = []

    def start(
        configs: Path,
        upstream: str,
        keys: Mapping[str, str],
        previews: tuple[Preview, ...] = (),
        tag: Mapping[str, str] | None = None,
    ) -> str:
        # A machine that runs the whole suite at once is slow: the deadline has tests of its own.
        attributes = {"data-deadline": "5000", "data-popup-delay": "0"} | dict(tag or {})
        shop = create_shop(load(configs), upstream, keys, previews, attributes)
        serving = make_server("127.0.0.1", 0, shop, threaded=True, request_handler=Quiet)
        thread = threading.Thread(target=serving.serve_forever, args=(0.05,))
        thread.start()
        running.append((serving, thread))
        return f"http://127.0.0.1:{serving.server_port}"

    yield start
    for serving, thread in running:
        serving.shutdown()
        thread.join()
        serving.server_close()


@pytest.fixture
def open_shop(serve: Callable[..., Server], serve_shop: ServeShop, tmp_path: Path, store_url: str) -> OpenShop:
    """Serve declarations with crosslift, and the shop in front of it."""

    def start(
        *,
        previews: tuple[Preview, ...] = (),
        platform: str = "shopify",
        origins: tuple[str, ...] = (),
        tag: Mapping[str, str] | None = None,
        **experiments: str,
    ) -> Site:
        configs = write_declarations(tmp_path, platform, origins, **experiments)
        server = serve(configs)
        url = serve_shop(configs, f"http://127.0.0.1:{server.port}", server.keys, previews, tag)
        return Site(url, server, Path(store_url.removeprefix("sqlite:///")))

    return start


@pytest.fixture
def shop_before(serve_shop: ServeShop, tmp_path: Path) -> ServeShop:
    """Serve the shop in front of another server than crosslift, at an address; the result is the shop's own address."""

    def start(upstream: str, tag: Mapping[str, str] | None = None) -> str:
        configs = write_declarations(tmp_path, one=declare("one", "below_product"))
        return serve_shop(configs, upstream, {"publishable": "pk_x", "secret": "sk_x"}, tag=tag)

    return start


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
