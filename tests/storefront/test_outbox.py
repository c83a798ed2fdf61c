"""The outbox and consent: what could not be delivered waits for the next page, and nothing is kept that is not agreed to."""

import json
import time

import pytest
from playwright.sync_api import Page, expect

from tests.storefront.conftest import PRODUCT, OpenShop, declare, settle


def test_a_blocked_beacon_is_delivered_by_the_next_page(open_shop: OpenShop, page: Page) -> None:
    """The exposure waits in the outbox, with the time that it was, and leaves it once it is delivered."""
    site = open_shop(one=declare("one", "below_product"))
    page.route("**/v1/events*", lambda route: route.abort())
    page.goto(site.url + PRODUCT)
    expect(page.locator(".crosslift")).to_be_visible()
    at_ms = time.time() * 1000
    settle(page)
    assert site.exposures() == []
    page.wait_for_timeout(1000)
    page.unroute("**/v1/events*")
    page.goto(f"{site.url}/account")
    ((exposed_at_ms,),) = site.await_rows("SELECT exposed_at_ms FROM exposures", 1)
    assert abs(exposed_at_ms - at_ms) < 1500
    site.await_rows("SELECT * FROM interactions WHERE kind = 'impression'", 1)
    page.wait_for_function("() => !Object.keys(localStorage).some((name) => name.startsWith('crosslift.e.'))")


def test_a_beacon_that_is_refused_is_delivered_by_the_next_page(open_shop: OpenShop, page: Page) -> None:
    """The browser says no when too much is in flight."""
    site = open_shop(one=declare("one", "below_product"))
    page.add_init_script("if (location.pathname !== '/account') navigator.sendBeacon = () => false;")
    page.goto(site.url + PRODUCT)
    expect(page.locator(".crosslift")).to_be_visible()
    settle(page)
    assert site.exposures() == []
    page.goto(f"{site.url}/account")
    site.await_rows("SELECT * FROM exposures", 1)


def test_a_delivered_beacon_is_not_sent_again(open_shop: OpenShop, page: Page) -> None:
    """As text, with the key in the address, and once."""
    site = open_shop(one=declare("one", "below_product"))
    sent = []
    page.on("request", lambda request: sent.append(request) if "/v1/events" in request.url else None)
    page.goto(site.url + PRODUCT)
    site.await_rows("SELECT * FROM exposures", 1)
    page.wait_for_function("() => !Object.keys(localStorage).some((name) => name.startsWith('crosslift.e.'))")
    page.goto(f"{site.url}/account")
    settle(page)
    bodies = [json.loads(request.post_data or "{}")["events"] for request in sent]
    assert [event["type"] for body in bodies for event in body].count("exposure") == 1
    assert sent[0].headers["content-type"].startswith("text/plain")
    assert f"key={site.server.keys['publishable']}" in sent[0].url


def test_the_outbox_is_bounded(open_shop: OpenShop, page: Page) -> None:
    """A shop whose server is away for long fills no browser."""
    site = open_shop(one=declare("one", "below_product"))
    page.route("**/v1/events*", lambda route: route.abort())
    page.add_init_script("""crosslift = [(api) => api.on("offer", (offer) => {
      for (let count = 0; count < 300; count++) offer.log("click", { product_id: String(count) });
      return true;
    })]""")
    page.goto(site.url + PRODUCT)
    page.wait_for_function("() => localStorage.getItem('crosslift.entered')")
    settle(page)
    assert (
        page.evaluate("() => Object.keys(localStorage).filter((name) => name.startsWith('crosslift.e.')).length") == 200
    )


def test_nothing_is_stored_or_sent_before_consent(open_shop: OpenShop, page: Page) -> None:
    """Where the shop asks for it; withdrawn, everything stored is gone and nothing more is sent."""
    site = open_shop(one=declare("one", "below_product"), tag={"data-consent": "ask"})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/v1/" in request.url else None)
    stored = "() => [...Object.keys(localStorage), ...Object.keys(sessionStorage)].filter((name) => name.startsWith('crosslift'))"
    page.goto(site.url + PRODUCT)
    page.get_by_role("button", name="Add to cart").click()
    settle(page)
    assert (asked, page.evaluate(stored)) == ([], [])
    assert {cookie["name"] for cookie in page.context.cookies()} == {"shop_session"}
    page.evaluate("() => crosslift.consent(true)")
    expect(page.locator(".crosslift")).to_be_visible()
    site.await_rows("SELECT * FROM exposures", 1)
    page.evaluate("() => crosslift.consent(false)")
    count = len(asked)
    page.locator(".crosslift").get_by_role("button").first.click()
    page.goto(f"{site.url}/cart")
    settle(page)
    assert (asked[count:], page.evaluate(stored)) == ([], [])


@pytest.mark.parametrize("respected", [True, False])
def test_global_privacy_control(open_shop: OpenShop, page: Page, respected: bool) -> None:
    """Is respected by setting."""
    site = open_shop(one=declare("one", "below_product"), tag={"data-gpc": "respect"} if respected else {})
    page.add_init_script("Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', { get: () => true })")
    page.goto(site.url + PRODUCT)
    settle(page)
    assert page.locator(".crosslift").count() == (0 if respected else 1)
    assert len(site.exposures()) == (0 if respected else 1)
