"""No exposure lost, none doubled, none without an answer: slow servers, dead ones, Back, tabs, previews."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect
from scipy.stats import chisquare

from storefront.shop import Preview
from tests.storefront.conftest import PRODUCT, OpenShop, ServeShop, declare, settle

NewContext = Callable[..., BrowserContext]
ARMS = """\
key: arms
title: Arms
status: running
variants:
  none: {weight: 2, placement: none}
  below: {weight: 1, placement: below_product, offer: {kind: cross_sell, products: complements}}
  sidebar: {weight: 1, placement: sidebar, offer: {kind: cross_sell, products: complements}}
"""


class Bad(BaseHTTPRequestHandler):
    """A server that is late, or answers what nobody asked; it counts what events it was sent."""

    delay_s = 0.0
    answer = b""
    script = b""
    events = 0

    def do_GET(self) -> None:
        self._send(self.script, "text/javascript")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        type(self).events += "/v1/events" in self.path
        time.sleep(self.delay_s)
        self._send(self.answer, "application/json")

    def _send(self, body: bytes, kind: str) -> None:
        try:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass  # the page has not waited

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def bad_server() -> Iterator[Callable[..., str]]:
    servers = []

    def start(**how: object) -> str:
        from server.assign.page import SCRIPT

        handler = type("Handler", (Bad,), {"script": SCRIPT.read_bytes(), **how})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


PAGE = {
    "visitor_id": "v", "now_ms": 1, "currency": "USD", "platform": "shopify",
    "assignments": {"one": {"variant": "shown", "placement": "below_product", "offer": {"kind": "cross_sell", "products": [{"id": "x", "title": "X", "price": "1.00"}]}, "reason": "assigned", "epoch": 1, "exposure_token": "t", "trigger": "product_page", "unit": "visitor_id"}},
}  # fmt: skip
GARBAGE = [b"", b"<html>", b"null", b"[]", b'{"visitor_id": "v"}', b'{"visitor_id": 7, "assignments": {}}', b'{"visitor_id": "v", "assignments": null}', b'{"visitor_id": "v", "assignments": {"one": 7, "two": null}}']  # fmt: skip


def still_sells(page: Page, url: str) -> None:
    """Walk through the shop as if there were no crosslift, and find nothing of it."""
    page.goto(url + PRODUCT)
    page.wait_for_timeout(400)
    assert page.locator(".crosslift").count() == 0
    page.get_by_role("button", name="Add to cart").click()
    expect(page.locator("#count")).to_have_text("1")
    page.goto(f"{url}/cart")
    expect(page.get_by_role("link", name="Swan-neck kettle")).to_be_visible()
    assert (
        page.evaluate("() => Object.keys(localStorage).filter((name) => name.startsWith('crosslift.e.')).length") == 0
    )


def test_the_bad_server_would_be_believed(shop_before: ServeShop, bad_server: Callable[..., str], page: Page) -> None:
    """What the next tests refuse, they refuse for its lateness or its form: in time and whole, it is shown."""
    page.goto(shop_before(bad_server(answer=json.dumps(PAGE).encode())) + PRODUCT)
    expect(page.locator(".crosslift")).to_be_visible()


def test_a_server_that_is_slow_changes_nothing(
    shop_before: ServeShop, bad_server: Callable[..., str], page: Page
) -> None:
    """After 150 ms by default the page stays as it is, and nobody is exposed, even when the answer comes at last."""
    url = shop_before(bad_server(answer=json.dumps(PAGE).encode(), delay_s=2.0), {"data-deadline": ""})
    still_sells(page, url)
    page.goto(url + PRODUCT)
    page.wait_for_timeout(2500)
    assert page.locator(".crosslift").count() == 0
    assert page.evaluate("() => localStorage.getItem('crosslift.entered')") is None


def test_a_server_that_is_down_changes_nothing(shop_before: ServeShop, page: Page) -> None:
    """Nor one that is away altogether, whose script does not even load."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    still_sells(page, shop_before(f"http://127.0.0.1:{port}"))


def test_a_server_that_dies_after_the_script_changes_nothing(open_shop: OpenShop, page: Page) -> None:
    """The script is in the cache, its server gone."""
    site = open_shop(one=declare("one", "below_product"))
    page.route("**/v1/page*", lambda route: route.abort())
    still_sells(page, site.url)
    assert site.exposures() == []


@pytest.mark.parametrize("garbage", GARBAGE, ids=str)
def test_garbage_changes_nothing(
    shop_before: ServeShop, bad_server: Callable[..., str], page: Page, garbage: bytes
) -> None:
    """Whatever it is, the page works as without us."""
    still_sells(page, shop_before(bad_server(answer=garbage)))


def test_text_stays_text(shop_before: ServeShop, bad_server: Callable[..., str], page: Page) -> None:
    """Markup in a title is shown as it is; an address that is no web address is none."""
    evil = json.loads(json.dumps(PAGE))
    products = evil["assignments"]["one"]["offer"]["products"]
    products[0] |= {
        "title": "<img src=x onerror=alert(1)>",
        "url": "javascript:alert(1)",
        "image": "data:image/svg+xml,<svg/>",
    }
    page.goto(shop_before(bad_server(answer=json.dumps(evil).encode())) + PRODUCT)
    expect(page.locator(".crosslift")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator(".crosslift a, .crosslift img").count() == 0


def test_back_doubles_nothing(open_shop: OpenShop, page: Page) -> None:
    """Neither exposure nor impression nor popup, with the back/forward cache and without."""
    site = open_shop(one=declare("one", "below_product"), two=declare("two", "popup"))
    for cached in (True, False):
        if not cached:
            page.add_init_script("addEventListener('unload', () => {})")
        page.goto(site.url + PRODUCT)
        page.wait_for_timeout(300)
        page.keyboard.press("Escape")
        page.wait_for_timeout(1300)
        before = sorted(site.interactions())
        page.goto(f"{site.url}/account")
        page.go_back()
        page.wait_for_timeout(1600)
        assert page.locator("dialog[open]").count() == 0
        assert sorted(site.interactions()) == before
        assert len(site.exposures()) == 2


def test_a_variant_does_not_flip(open_shop: OpenShop, new_context: NewContext) -> None:
    """Across pages, tabs that open at once, and login."""
    site = open_shop(arms=ARMS)
    for _ in range(3):
        context = new_context()
        tabs = [context.new_page() for _ in range(3)]
        for tab in tabs:
            tab.goto(site.url + "/account", wait_until="commit")
        for tab in tabs:
            tab.goto(site.url + PRODUCT, wait_until="commit")
        for tab in tabs:
            tab.wait_for_function("() => localStorage.getItem('crosslift.entered')")
        tabs[0].goto(f"{site.url}/account")
        tabs[0].get_by_label("Name").fill("Anna Karenina")
        tabs[0].get_by_role("button", name="Sign in").click()
        expect(tabs[0].get_by_text("You are signed in")).to_be_visible()
        tabs[0].goto(site.url + "/products/press-glass")
        settle(tabs[0])
        context.close()
    units = {unit for _, _, unit in site.exposures()}
    assert len(units) == len(site.exposures())
    assert len(units) == 3


def test_single_page_navigation(open_shop: OpenShop, page: Page) -> None:
    """The shop says which page it shows; what stood on the last one goes."""
    site = open_shop(one=declare("one", "below_product"))
    page.goto(f"{site.url}/products/mug-clay")
    settle(page)
    assert page.locator(".crosslift").count() == 0
    page.evaluate("() => crosslift.page('product_page', { product_id: 'press-glass' })")
    expect(page.locator(".crosslift").get_by_role("link", name="Clay mug")).to_be_visible()
    page.evaluate("() => crosslift.page('product_page', { product_id: 'kettle-swan' })")
    expect(page.locator(".crosslift").get_by_role("link", name="Descaler")).to_be_visible()
    assert page.locator(".crosslift").count() == 1
    assert len(site.exposures()) == 1


def test_a_page_that_is_only_prepared_exposes_nobody(open_shop: OpenShop, page: Page) -> None:
    """A prerendered page waits until it is looked at."""
    site = open_shop(one=declare("one", "below_product"))
    page.add_init_script("""
      let prerendering = true;
      Object.defineProperty(Document.prototype, "prerendering", { get: () => prerendering });
      addEventListener("look", () => { prerendering = false; document.dispatchEvent(new Event("prerenderingchange")); });
    """)
    page.goto(site.url + PRODUCT)
    settle(page)
    assert site.exposures() == []
    page.evaluate("() => dispatchEvent(new Event('look'))")
    site.await_rows("SELECT * FROM exposures", 1)


def test_the_shops_own_renderer(open_shop: OpenShop, page: Page) -> None:
    """Gets the offer instead, and logs through it."""
    site = open_shop(one=declare("one", "below_product"))
    page.add_init_script("""crosslift = [(api) => api.on("offer", (offer) => {
      const own = document.createElement("p");
      own.id = "own";
      own.textContent = `${offer.experiment} ${offer.variant} ${offer.offer.products.length}`;
      offer.slot.append(own);
      offer.observe(own);
      own.addEventListener("click", () => offer.add([offer.offer.products[0]]));
      return true;
    })]""")
    page.goto(site.url + PRODUCT)
    expect(page.locator("#own")).to_have_text("one shown 3")
    assert page.locator(".crosslift").count() == 0
    page.locator("#own").click()
    expect(page.locator("#count")).to_have_text("1")
    page.wait_for_timeout(1200)
    kinds = [row[0] for row in site.await_rows("SELECT kind FROM interactions", 2)]
    assert sorted(kinds) == ["add_to_cart", "impression"]


def test_a_preview_is_never_logged(
    open_shop: OpenShop, page: Page, run: Callable[..., object], tmp_path: object
) -> None:
    """A signed link shows its variant on every page until another does; nothing of it is an event."""
    site = open_shop(arms=ARMS)
    for variant, slot in (("below", "below_product"), ("sidebar", "sidebar")):
        made = run(
            "preview", "arms", variant, site.url + PRODUCT, "--configs", f"{tmp_path}/configs", "--store", f"sqlite:///{site.store}"
        )  # fmt: skip
        page.goto(made.output.strip())  # type: ignore[attr-defined]
        for _ in range(2):
            expect(page.locator(f'[data-crosslift-slot="{slot}"] .crosslift')).to_be_visible()
            page.wait_for_timeout(1200)
            page.goto(site.url + PRODUCT)
    assert (site.exposures(), site.interactions()) == ([], [])
    page.goto(f"{site.url}{PRODUCT}?crosslift_preview=")
    site.await_rows("SELECT * FROM exposures", 1)


def test_the_preview_bar(open_shop: OpenShop, page: Page) -> None:
    """Switches by links; a token that does not hold leaves the page as it is, and is forgotten."""
    site = open_shop(arms=ARMS, previews=(Preview("arms", "below", "forged.token"),))
    page.goto(site.url + PRODUCT)
    page.get_by_role("link", name="below").click()
    settle(page)
    assert page.locator(".crosslift").count() == 0
    expect(page.get_by_role("link", name="below")).to_have_attribute("aria-current", "true")
    page.get_by_role("link", name="As assigned").click()
    site.await_rows("SELECT * FROM exposures", 1)


def test_the_woocommerce_field(open_shop: OpenShop, page: Page) -> None:
    """Goes into the theme's own forms; an offer is added the way WooCommerce wants it."""
    site = open_shop(one=declare("one", "below_product"), platform="woocommerce")
    added: list[str] = []

    def take(route: Route) -> None:
        added.append(route.request.post_data or "")
        route.fulfill(
            json={"error": True} if len(added) > 1 else {"fragments": {}}
        )  # what WooCommerce says, 200 either way

    page.route("**/?wc-ajax=add_to_cart", take)
    page.add_init_script(
        "addEventListener('DOMContentLoaded', () => document.querySelector('form').classList.add('cart'))"
    )
    page.goto(site.url + PRODUCT)
    field = page.locator("form.cart [name=crosslift_visitor]")
    expect(field).to_have_count(1)
    visitor = next(one["value"] for one in page.context.cookies() if one["name"] == "crosslift_visitor")
    assert field.input_value() == visitor
    page.locator(".crosslift").get_by_role("button").first.click()
    expect(page.locator(".crosslift").get_by_role("status")).to_contain_text("in your cart")
    assert added == ["product_id=filters-100&quantity=1&crosslift_offer=one%3Ashown"]
    page.locator(".crosslift").get_by_role("button").nth(1).click()
    expect(page.locator(".crosslift").get_by_role("status")).to_contain_text("did not work")
    site.await_rows("SELECT * FROM interactions WHERE kind = 'add_to_cart'", 1)
    assert len(site.rows("SELECT * FROM interactions WHERE kind = 'add_to_cart'")) == 1


def test_two_thousand_visits_agree_with_the_weights(open_shop: OpenShop, new_context: NewContext) -> None:
    """Scripted visits of new visitors through the shop: exposures of all arms, as the weights say."""
    site = open_shop(arms=ARMS)
    page = new_context().new_page()
    page.goto(f"{site.url}/account")
    # A new visitor has no cookie: the browser's own is left out of the call, as the snippet makes it.
    page.evaluate(
        """async (key) => {
          const visit = async () => {
            const body = JSON.stringify({ context: { product_id: "kettle-swan", category: "kettles" } });
            const answer = await (await fetch(`/v1/page?key=${key}`, { method: "POST", body, credentials: "omit" })).json();
            const events = Object.values(answer.assignments).filter((one) => one.exposure_token && one.trigger === "product_page")
              .map(({ exposure_token }) => ({ type: "exposure", exposure_token, exposed_at_ms: answer.now_ms }));
            await fetch(`/v1/events?key=${key}`, { method: "POST", body: JSON.stringify({ events }), credentials: "omit" });
          };
          const lane = async () => { for (let count = 0; count < 250; count++) await visit(); };
          await Promise.all(Array.from({ length: 8 }, lane));
        }""",
        site.server.keys["publishable"],
    )
    found = Counter(variant for _, variant, _ in site.exposures())
    assert sum(found.values()) == 2000
    assert chisquare([found["none"], found["below"], found["sidebar"]], [1000, 500, 500]).pvalue > 0.001
