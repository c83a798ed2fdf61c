"""The report as a page: whole, valid, of one file, and as plain as the object behind it."""

import re
from collections.abc import Callable
from pathlib import Path

import html5lib
import pytest
from click.testing import Result

from analysis import Moments, lift
from analysis.render.html import fragment, page
from tests.analysis.cases import CASES, GERMAN, THAI, report_of
from tests.analysis.conftest import World, fill

Run = Callable[..., Result]


@pytest.mark.parametrize("name", CASES)
def test_every_state_has_a_page_of_one_valid_file(name: str) -> None:
    """No network, no script, under a megabyte, and HTML that a strict parser takes."""
    text = page(report_of(name))
    html5lib.HTMLParser(strict=True).parse(text)
    assert len(text.encode()) < 1_000_000
    assert "<script" not in text
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', text)
    assert not re.findall(r"url\((?!#)", text)
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", CASES)
def test_every_chart_has_a_title_and_an_alternative(name: str) -> None:
    """Whoever cannot see it reads the same figures."""
    text = page(report_of(name))
    charts = re.findall(r"<figure>\s*<figcaption>(.+?)</figcaption>\s*<svg ([^>]*)>", text, re.DOTALL)
    assert len(charts) == text.count("<svg")
    for _title, attributes in charts:
        assert 'role="img"' in attributes
        assert re.search(r'aria-label="[^"]{20,}"', attributes)


def test_the_page_says_what_the_report_says() -> None:
    """Figures are written from the object, not worked out again."""
    report = report_of("win")
    text = page(report).replace("\u2060", "")
    lift = report.metrics["revenue_per_visitor"].lifts["offer"]
    assert lift.relative.estimate is not None
    for part in ("Ship offer", f"+{lift.relative.estimate:.1%}", "30 days saw offer", " pp (", "What is not counted"):
        assert part in text


def test_lost_exposures_lead_to_the_check_first() -> None:
    """The failed check stands before any lift, no money is promised, and every figure says that it is not to be believed."""
    report = report_of("lost-exposures")
    text = page(report)
    assert report.verdict is not None
    assert report.verdict.decision == "withheld"
    assert text.index("Verdict withheld") < text.index("FAILED") < text.index("<svg")
    assert "were exposures lost there?" in text[: text.index("<svg")]
    assert "over the control&#39;s, if all" not in text
    assert text.count("Do not use these figures yet") == text.count("<section>") - 2  # what was left out, and methods


def test_names_of_any_script_are_shown_and_escaped() -> None:
    """Thai, German, and what looks like HTML or mathematics."""
    text = page(report_of("names"))
    assert THAI in text
    assert GERMAN.replace("&", "&amp;") in text
    assert "&lt;b&gt;$5 &amp; more&lt;/b&gt;" in text
    assert "<b>" not in text


def test_an_interval_without_ends_is_drawn_as_a_difference() -> None:
    """And the reason stands beside it."""
    text = page(report_of("unbounded"))
    assert "Revenue per visitor less control&#39;s, USD" in text
    assert "cannot be told from 0, so the relative interval has no ends" in text


def test_nobody_bought() -> None:
    """A page with reasons, and without charts of nothing."""
    text = page(report_of("no-buyers"))
    assert "Keep running" in text
    assert "Order values</h2>" not in text


def test_no_exposures() -> None:
    """Says so, and nothing else."""
    text = page(report_of("empty"))
    assert "there is nothing to report" in text
    assert "<svg" not in text


def test_the_command_writes_the_page(world: World, run: Run, tmp_path: Path) -> None:
    """With --format html; `analyze` too."""
    fill(world, {"control": 60, "offer": 90}, 200)
    out = tmp_path / "report.html"
    common = ("--configs", world.configs, "--store", world.store.url, "--format", "html", "--out", out)
    assert run("report", "ab", *common, "--as-of", "2026-07-01").exit_code == 0
    assert "<h1>ab</h1>" in out.read_text(encoding="utf-8")
    rows = tmp_path / "rows.csv"
    rows.write_text("arm,spent\n" + "".join(f"{'ab'[n % 2]},{n}\n" for n in range(200)))
    found = run("analyze", rows, "--variant", "arm", "--control", "a", "--mean", "spent", "--format", "html")
    assert found.exit_code == 0
    html5lib.HTMLParser(strict=True).parse(found.output)
    assert "on any day" not in found.output.split("Methods and definitions")[0]


def test_a_refused_report_leaves_no_older_one(world: World, run: Run, tmp_path: Path) -> None:
    """Mixed currencies: exit code 2, and a page that says why."""
    world.order("a", 1000, currency="EUR")
    out = tmp_path / "report.html"
    out.write_text("yesterday's")
    common = ("--configs", world.configs, "--store", world.store.url, "--format", "html", "--out", out)
    assert run("report", "ab", *common, "--as-of", "2026-07-01").exit_code == 2
    text = out.read_text(encoding="utf-8")
    html5lib.HTMLParser(strict=True).parse(text)
    assert "all must be in USD, the currency of shop.yaml, but some are in EUR" in text
    assert "yesterday" not in text


def displayed(value: object) -> str:
    """Return what a notebook asks a value for."""
    html: str = getattr(value, "_repr_html_")()  # noqa: B009  notebooks look it up by name
    return html


def test_notebooks_show_a_lift() -> None:
    """Its readings, and why one cannot be had."""
    found = lift(Moments.from_sums(3407, 1396.87, 52377.9767), Moments.from_sums(3461, 2422.7, 134698.29))
    text = displayed(found)
    assert "+9.4% to +171%" in text
    assert "no number of units was planned before the start" in text


def test_notebooks_show_the_report() -> None:
    """As a fragment that has its style with it; two of them on a page share no ids."""
    report = report_of("win")
    assert displayed(report).startswith("<style>")
    ids = re.findall(r' id="([pm][^"]+)"', fragment(report, "one") + fragment(report, "two"))
    assert ids
    assert len(ids) == len(set(ids))
