"""Every placement in a real browser: it appears in its slot and only there, nothing moves, and it can be bought."""

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from experiments.placements import PLACEMENT_TABLE
from tests.storefront.conftest import BUNDLE, COMPLEMENTS, OpenShop, Site, declare

SLOTS = tuple(placement.name for placement in PLACEMENT_TABLE if placement.slot)
SHIFT = """() => new Promise((done) => {
  let sum = 0;
  new PerformanceObserver((list) => list.getEntries().forEach((entry) => { if (!entry.hadRecentInput) sum += entry.value; }))
    .observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(sum), 300);
})"""


def buy(page: Page, site: Site, product: str = "kettle-swan") -> None:
    """Walk from the product to the thanks."""
    page.goto(f"{site.url}/products/{product}")
    page.get_by_role("button", name="Add to cart").click()
    expect(page.locator("#count")).to_have_text("1")
    page.goto(f"{site.url}/checkout")
    page.get_by_role("button", name=re.compile("^Buy")).click()
    page.wait_for_url("**/thanks")


def filled(page: Page) -> list[str]:
    """Return the slots that hold something, and the dialogs."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("[data-crosslift-slot]")].filter((slot) => slot.firstElementChild)
          .map((slot) => slot.dataset.crossliftSlot).concat([...document.querySelectorAll("dialog[open]")].map(() => "dialog"))"""
    )
    return found


@pytest.mark.parametrize(
    ("placement", "trigger", "path", "where"),
    [
        ("below_product", "product_page", "/products/kettle-swan", "below_product"),
        ("sidebar", "product_page", "/products/kettle-swan", "sidebar"),
        ("popup", "product_page", "/products/kettle-swan", "dialog"),
        ("announcement_bar", "home", "/", "announcement_bar"),
        ("cart", "product_page", "/cart", "cart"),
        ("checkout", "checkout", "/checkout", "checkout"),
        ("post_purchase", "order_completed", "/thanks", "post_purchase"),
        ("after_add_to_cart", "add_to_cart", "/products/kettle-swan", "dialog"),
    ],
)
def test_a_placement_appears_in_its_slot_and_only_there(
    open_shop: OpenShop, page: Page, placement: str, trigger: str, path: str, where: str
) -> None:
    """Without moving anything, and its exposure is logged once, at the trigger."""
    offer = (
        "{kind: free_shipping, threshold: 50, headline: Free shipping from $50}" if trigger == "home" else COMPLEMENTS
    )
    site = open_shop(one=declare("one", placement, trigger=trigger, offer=offer))
    seen: dict[str, list[str]] = {}
    for address in ("/", "/products/kettle-swan", "/cart", "/account"):
        page.goto(site.url + address)
        page.wait_for_timeout(300)
        seen[address] = filled(page)
        assert page.evaluate(SHIFT) == 0, address
        page.keyboard.press("Escape")
    page.goto(f"{site.url}/products/kettle-swan")
    page.wait_for_timeout(300)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Add to cart").click()
    page.wait_for_timeout(300)
    if placement == "after_add_to_cart":
        seen["/products/kettle-swan"] = filled(page)
        page.keyboard.press("Escape")
    page.goto(f"{site.url}/checkout")
    page.wait_for_timeout(300)
    seen["/checkout"] = filled(page)
    page.get_by_role("button", name=re.compile("^Buy")).click()
    page.wait_for_url("**/thanks")
    page.wait_for_timeout(300)
    seen["/thanks"] = filled(page)
    assert page.evaluate(SHIFT) == 0
    pages = seen if placement == "announcement_bar" else [path]  # the bar goes on once it has begun
    assert {address: slots for address, slots in seen.items() if slots} == {address: [where] for address in pages}
    site.await_rows("SELECT * FROM exposures", 1)
    assert len(site.exposures()) == 1


def test_separate_items_have_buttons_of_their_own(open_shop: OpenShop, page: Page) -> None:
    """What is added says in the order which offer it came from; the order which visitor."""
    site = open_shop(one=declare("one", "below_product"))
    page.goto(f"{site.url}/products/kettle-swan")
    section = page.get_by_role("region", name="Goes well with it")
    expect(section.get_by_role("listitem")).to_have_count(3)
    expect(section.get_by_text("$7.90")).to_be_visible()
    section.get_by_role("button", name="Add Paper filters (100)").click()
    expect(section.get_by_role("status")).to_have_text("Paper filters (100): in your cart")
    expect(page.locator("#count")).to_have_text("1")
    page.goto(f"{site.url}/checkout")
    page.get_by_role("button", name="Buy for $7.90").click()
    page.wait_for_url("**/thanks")
    visitor = page.context.cookies()[0]
    ((unit, lines_from),) = site.await_rows(
        "SELECT unit_id, offer_experiment || ':' || offer_variant FROM orders JOIN order_lines USING (shop, order_id)",
        1,
    )
    assert lines_from == "one:shown"
    assert unit in {cookie["value"] for cookie in page.context.cookies()}, visitor
    kinds = {row[0] for row in site.await_rows("SELECT kind FROM interactions", 1)}
    assert "add_to_cart" in kinds


def test_a_bundle_has_one_price(open_shop: OpenShop, page: Page) -> None:
    """With what it saves, charged so by the shop; declining takes it away, and says so."""
    site = open_shop(one=declare("one", "below_product", offer=BUNDLE))
    page.goto(f"{site.url}/products/kettle-swan")
    section = page.get_by_role("region", name="Both together")
    expect(section).to_contain_text("$66.90 $60.21 You save $6.69")
    section.get_by_role("button", name="Add all 2 to cart").click()
    expect(page.locator("#count")).to_have_text("2")
    page.goto(f"{site.url}/cart")
    expect(page.get_by_text("$60.21")).to_be_visible()
    page.goto(f"{site.url}/products/press-glass")
    page.get_by_role("region", name="Both together").get_by_role("button", name="No, thanks").click()
    expect(page.get_by_role("region", name="Both together")).to_have_count(0)
    site.await_rows("SELECT * FROM interactions WHERE kind = 'decline'", 1)
    assert len(site.rows("SELECT * FROM interactions WHERE kind = 'add_to_cart'")) == 2


def test_a_bundle_of_ones_own(open_shop: OpenShop, page: Page) -> None:
    """Only what is ticked is added."""
    offer = "{kind: build_your_own, products: complements, limit: 3, headline: Put it together}"
    site = open_shop(one=declare("one", "below_product", offer=offer))
    page.goto(f"{site.url}/products/kettle-swan")
    section = page.get_by_role("region", name="Put it together")
    section.get_by_role("checkbox", name="Pocket scale").uncheck()
    section.get_by_role("button", name="Add what is ticked").click()
    expect(page.locator("#count")).to_have_text("2")
    assert page.goto(f"{site.url}/cart")
    expect(page.get_by_role("link", name="Pocket scale")).to_have_count(0)


def test_a_popup_and_a_bundle_by_keyboard_alone(open_shop: OpenShop, page: Page) -> None:
    """The focus goes in, stays in, comes back; Escape dismisses; the whole purchase needs no pointer."""
    site = open_shop(one=declare("one", "popup", offer=BUNDLE, trigger="add_to_cart"))
    page.goto(f"{site.url}/products/kettle-swan")
    add = page.get_by_role("button", name="Add to cart")
    add.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Both together")
    expect(dialog).to_be_visible()
    inside = "() => document.activeElement.closest('dialog') !== null"
    for key in ["Tab"] * 8 + ["Shift+Tab"] * 8:
        page.keyboard.press(key)
        assert page.evaluate(inside), key
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert page.evaluate("() => document.activeElement.textContent") == "Add to cart"
    site.await_rows("SELECT * FROM interactions WHERE kind = 'dismiss'", 1)

    page.evaluate("() => localStorage.removeItem('crosslift.popup')")
    page.goto(f"{site.url}/products/press-glass")
    page.get_by_role("button", name="Add to cart").focus()
    page.keyboard.press("Enter")
    expect(dialog).to_be_visible()
    while page.evaluate("() => !document.activeElement.classList.contains('crosslift-add')"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="Continue")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    page.goto(f"{site.url}/cart")
    page.get_by_role("link", name="Check out").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/checkout")
    page.get_by_role("button", name=re.compile("^Buy")).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/thanks")
    site.await_rows("SELECT * FROM order_lines WHERE bundle_id IS NOT NULL", 2)
    assert len(site.rows("SELECT * FROM interactions WHERE kind = 'dismiss'")) == 1


def test_a_popup_opens_once_a_day(open_shop: OpenShop, page: Page) -> None:
    """However many pages are opened; the exposure needs no popup."""
    site = open_shop(one=declare("one", "popup"))
    opened = []
    for product in ("kettle-swan", "press-glass", "kettle-swan"):
        page.goto(f"{site.url}/products/{product}")
        page.wait_for_timeout(300)
        opened.append(filled(page))
    assert opened == [["dialog"], [], []]
    assert len(site.exposures()) == 1


def test_exit_intent(open_shop: OpenShop, page: Page) -> None:
    """When the pointer leaves towards the address bar; nothing before, in no arm."""
    site = open_shop(
        one=declare("one", "popup", trigger="exit_intent"),
        two=declare("two", "none", trigger="exit_intent", control=1)
        .replace("  shown", "  other")
        .replace("{placement: none, offer", "{weight: 0, placement: cart, offer"),
    )
    page.goto(f"{site.url}/products/kettle-swan")
    page.wait_for_timeout(300)
    assert (filled(page), site.exposures()) == ([], [])
    page.evaluate("() => document.dispatchEvent(new MouseEvent('mouseout', { clientY: -1, relatedTarget: null }))")
    page.wait_for_timeout(300)
    assert filled(page) == ["dialog"]
    site.await_rows("SELECT * FROM exposures", 2)
    assert [row[:2] for row in site.exposures()] == [("one", "shown"), ("two", "none")]


OFFERS: list[tuple[str, str, str, str]] = [
    ("below_product", "product_page", "{kind: cross_sell, products: complements, limit: 3, headline: Goes well with it}", "/products/kettle-swan"),
    ("below_product", "product_page", BUNDLE, "/products/kettle-swan"),
    ("sidebar", "product_page", "{kind: cross_sell, products: complements, headline: Goes well with it}", "/products/kettle-swan"),
    ("popup", "product_page", BUNDLE.replace("Both together", "Before you go on"), "/products/kettle-swan"),
    ("announcement_bar", "home", "{kind: free_shipping, threshold: 50, headline: Free shipping from $50}", "/"),
    ("announcement_bar", "product_page", "{kind: cross_sell, products: complements, headline: Goes well with it}", "/products/kettle-swan"),
    ("cart", "cart", "{kind: cross_sell, products: complements, headline: Often bought together}", "/cart"),
    ("checkout", "checkout", "{kind: cross_sell, products: complements, limit: 2, headline: Last call}", "/checkout"),
    ("post_purchase", "order_completed", "{kind: cross_sell, products: complements, limit: 2, headline: One more thing?, decline: true}", "/thanks"),
    ("after_add_to_cart", "add_to_cart", "{kind: cross_sell, products: complements, limit: 2, headline: It is in your cart. One of these with it?}", "/products/kettle-swan"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("placement", "trigger", "offer", "path"), OFFERS, ids=[f"{one[0]}-{one[2][7:12]}" for one in OFFERS]
)
def test_no_placement_breaks_a_rule_of_accessibility(
    open_shop: OpenShop,
    new_context: Any,
    request: pytest.FixtureRequest,
    placement: str,
    trigger: str,
    offer: str,
    path: str,
) -> None:
    """By axe-core, on a phone and on a desktop, light and dark; with --screenshots DIR, a picture of each."""
    site = open_shop(one=declare("one", placement, trigger=trigger, offer=offer))
    folder = request.config.getoption("--screenshots")
    for width in (390, 1280):
        for scheme in ("light", "dark"):
            size = {"width": width, "height": 844}
            page = new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce").new_page()
            page.goto(f"{site.url}/products/kettle-swan")
            if path in ("/checkout", "/thanks", "/cart"):
                page.get_by_role("button", name="Add to cart").click()
                expect(page.locator("#count")).to_have_text("1")
            if path == "/thanks":
                page.goto(f"{site.url}/checkout")
                page.get_by_role("button", name=re.compile("^Buy")).click()
            if path not in ("/thanks", "/products/kettle-swan"):
                page.goto(site.url + path)
            if trigger == "add_to_cart":
                page.get_by_role("button", name="Add to cart").click()
            shown = page.locator(".crosslift")
            expect(shown).to_be_visible()
            if trigger == "add_to_cart":
                expect(page.locator("#count")).to_have_text("1")
            assert page.evaluate("() => document.documentElement.scrollWidth") <= width
            if folder:
                page.screenshot(path=f"{folder}/{placement}-{offer[7:13].strip()}-{width}-{scheme}.png", full_page=True)
            found = Axe().run(
                page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
            )
            assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("placement", ["below_product", "sidebar", "cart", "announcement_bar"])
def test_nothing_moves_on_smaller_screens(open_shop: OpenShop, new_context: Any, placement: str) -> None:
    """Whether an offer comes or not, and under a policy that admits no inline script or style."""
    site = open_shop(one=declare("one", placement, trigger="cart" if placement == "cart" else "product_page"))
    for width in (390, 768):
        page = new_context(viewport={"width": width, "height": 844}).new_page()
        for path in ("/products/kettle-swan", "/cart", "/products/mug-clay"):
            answer = page.goto(site.url + path)
            assert answer is not None
            assert "unsafe" not in answer.headers["content-security-policy"]
            page.wait_for_timeout(300)
            page.mouse.wheel(0, 400)
            assert page.evaluate(SHIFT) == 0, (width, path)
            if path == "/products/kettle-swan":
                page.get_by_role("button", name="Add to cart").click()
                expect(page.locator("#count")).to_have_text("1")
