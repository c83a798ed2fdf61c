"""Pages in a real Chromium: phone and desktop, light and dark; nothing cut, nothing over another, nothing that axe-core minds."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from analysis.dashboard.app import create_dashboard, serve, signer_of
from analysis.dashboard.background import Background
from analysis.render.html import page as html_page
from analysis.render.html import refused
from tests.analysis.cases import CASES, report_of
from tests.analysis.conftest import World, fill

CHROMIUM = shutil.which("chromium")
TOKEN = "a-token-of-this-test"

# Texts of a chart that stick out of it, or lie over one another.
CUT = """() => [...document.querySelectorAll('svg text')].filter(text => {
  const own = text.getBoundingClientRect(), all = text.closest('svg').getBoundingClientRect();
  return own.left < all.left - 1 || own.right > all.right + 1 || own.top < all.top - 1 || own.bottom > all.bottom + 1;
}).map(text => text.textContent)"""
OVER = """() => [...document.querySelectorAll('svg')].flatMap(svg => {
  const all = [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
  return all.flatMap(([one, a], i) => all.slice(i + 1).filter(([, b]) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3
  ).map(([other]) => [one, other]));
})"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed; `make test` installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def assert_sound(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("innerWidth")
    assert page.evaluate(CUT) == []
    assert page.evaluate(OVER) == []
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def views(browser: Browser) -> Iterator[Page]:
    for width in (390, 1280):
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            yield page
            page.close()


@pytest.mark.parametrize("name", [*CASES, "refused"])
def test_reports_are_sound(chromium: Browser, tmp_path: Path, name: str) -> None:
    """Every state of a report, in all four views."""
    path = tmp_path / "report.html"
    text = (
        refused("ab", "orders: all must be in USD, but some are in EUR")
        if name == "refused"
        else html_page(report_of(name))
    )
    path.write_text(text, encoding="utf-8")
    for page in views(chromium):
        page.goto(path.as_uri())
        assert_sound(page)


def test_the_failed_check_is_the_first_thing_seen(chromium: Browser, tmp_path: Path) -> None:
    """On a phone the lifts are below the fold, the failed check is above it."""
    path = tmp_path / "report.html"
    path.write_text(html_page(report_of("lost-exposures")), encoding="utf-8")
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    page.goto(path.as_uri())
    failed, chart = page.locator("li.failed").bounding_box(), page.locator("svg").first.bounding_box()
    assert failed is not None
    assert chart is not None
    assert failed["y"] + failed["height"] < 844 < chart["y"]
    page.close()


def test_the_dashboard_is_sound_and_live(chromium: Browser, world: World) -> None:
    """Its pages in all four views; a page that is open shows what has been written since, without being loaded again."""
    fill(world, {"control": 60, "offer": 90}, 300)
    background = Background(str(world.configs), world.store.url)
    app = create_dashboard(background, TOKEN, signer_of(world.store.url))
    ports: list[int] = []
    bound = threading.Event()

    def ready(port: int) -> None:
        ports.append(port)
        bound.set()

    threading.Thread(target=serve, args=(app, 0, ready), daemon=True).start()
    background.start()
    assert bound.wait(20)
    root = f"http://127.0.0.1:{ports[0]}"
    for page in views(chromium):
        page.goto(root)
        assert_sound(page)
        page.fill("#token", TOKEN)
        page.click("text=Log in")
        page.wait_for_selector("text=600", timeout=60_000)
        for path in ("/", "/experiments/ab", "/experiments/ab/declaration", "/experiments/ab/previews?url=https://shop.example/", "/quality"):  # fmt: skip
            page.goto(root + path)
            assert_sound(page)
    page = chromium.new_page()
    page.goto(root)
    page.fill("#token", TOKEN)
    page.click("text=Log in")
    page.goto(root + "/experiments/ab")
    assert "600 units in 2 variants" in page.inner_text("main")
    page.wait_for_timeout(2500)
    world.expose("one-more", "control")
    page.wait_for_selector("text=601 units in 2 variants", timeout=60_000)
    background.stop()
