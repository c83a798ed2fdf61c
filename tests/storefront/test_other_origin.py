"""A page whose server is of another origin of the same site: CORS, integrity, the server's cookie, and beacons that tell nothing."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Page, expect

from server.assign.page import SCRIPT, integrity
from tests.conftest import Server
from tests.storefront.conftest import OpenShop, declare

PAGE = """<!doctype html><html lang="en"><title>Shop</title><div data-crosslift-slot="sidebar"></div>
<script src="{server}/crosslift.js" integrity="{integrity}" crossorigin="anonymous" async data-key="{key}" data-deadline="5000"
  data-page="product_page" data-platform="custom" data-context='{{"product_id": "kettle-swan"}}'></script>"""


@pytest.fixture
def host() -> Iterator[Callable[[str], str]]:
    """Serve one page, at an address that is known before the page is."""
    pages: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages[0].encode() if pages else b""
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, args=(0.05,), daemon=True).start()

    def put(page: str) -> str:
        pages[:] = [page]
        return f"http://127.0.0.1:{served.server_port}"

    yield put
    served.shutdown()
    served.server_close()


def html(server: Server) -> str:
    address = f"http://127.0.0.1:{server.port}"
    return PAGE.format(server=address, integrity=integrity(SCRIPT.read_bytes()), key=server.keys["publishable"])


def test_a_listed_origin(open_shop: OpenShop, page: Page, host: Callable[[str], str]) -> None:
    """Is served, keeps its visitor from page to page, and its events arrive once, though beacons tell it nothing."""
    address = host("")
    site = open_shop(one=declare("one", "sidebar"), origins=(address,))
    host(html(site.server))
    page.goto(address)
    expect(page.locator(".crosslift")).to_be_visible()
    site.await_rows("SELECT * FROM exposures", 1)
    page.wait_for_timeout(1300)
    page.goto(f"{address}/products/another")
    expect(page.locator(".crosslift")).to_be_visible()
    site.await_rows("SELECT * FROM interactions", 1)
    page.wait_for_function("() => !Object.keys(localStorage).some((name) => name.startsWith('crosslift.e.'))")
    assert len(site.exposures()) == 1


def test_another_origin(open_shop: OpenShop, page: Page, host: Callable[[str], str]) -> None:
    """Gets nothing that it can read, so nothing is shown and nobody exposed."""
    site = open_shop(one=declare("one", "sidebar"), origins=("https://shop.example",))
    page.goto(host(html(site.server)))
    page.wait_for_timeout(600)
    assert page.locator(".crosslift").count() == 0
    assert site.exposures() == []
