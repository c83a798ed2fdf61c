"""The report in a terminal: what to do first, one screen, and nothing that only colour says."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from click.testing import Result
from rich.console import Console

from analysis.render.terminal import WIDTH, print_report
from tests.analysis.cases import CASES, report_of
from tests.analysis.conftest import World, fill
from tests.conftest import ROOT

Run = Callable[..., Result]


def printed(name: str) -> str:
    file = io.StringIO()
    print_report(report_of(name), Console(file=file, width=WIDTH, highlight=False, markup=False))
    return file.getvalue()


@pytest.mark.parametrize("name", CASES)
def test_every_state_fits_its_screen(name: str) -> None:
    """100 columns in all states; with two variants, 40 lines."""
    lines = printed(name).splitlines()
    assert max(map(len, lines)) <= 100
    if len(CASES[name].shares) == 2:
        assert len(lines) <= 40


def test_a_failed_check_comes_before_the_verdict_and_the_verdict_before_the_lifts() -> None:
    """Without colour: the word FAILED, then WITHHELD; no money that nobody may believe."""
    text = printed("lost-exposures")
    assert text.index("✗ FAILED sample_ratio") < text.index("Verdict: WITHHELD") < text.index("revenue per visitor")
    assert "30 days" not in text
    assert "Do not use these figures yet: sample_ratio failed." in text


def test_the_terminal_and_the_page_say_the_same() -> None:
    """Both are written from one object."""
    from analysis.render.html import page

    text, shown = printed("win"), page(report_of("win")).replace("\u2060", "")
    for part in ("15.05", "+37.6%", "+4.0% to +84.6%", "offer"):
        assert part in text
        assert part in shown


def test_watching_prints_again_when_the_store_changes(world: World) -> None:
    """Once at the start, once after a write, and an interruption ends it well."""
    fill(world, {"control": 60, "offer": 90}, 200)
    arguments = ["report", "ab", "--watch", "--configs", str(world.configs), "--store", world.store.url]
    process = subprocess.Popen(
        [sys.executable, "-m", "crosslift", *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ
    )
    assert process.stdout is not None
    try:
        until(process, "200 units in 2 variants".replace("200", "400"))
        world.expose("one-more", "control")
        until(process, "401 units in 2 variants")
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in rest


def until(process: "subprocess.Popen[str]", part: str) -> None:
    assert process.stdout is not None
    deadline = time.monotonic() + 60
    for line in process.stdout:
        assert time.monotonic() < deadline
        if part in line:
            return
    raise AssertionError(f"{part!r} was not printed")


def test_watching_is_for_the_terminal(world: World, run: Run) -> None:
    """Not for files, other faces or past days."""
    common = ("report", "ab", "--watch", "--configs", world.configs, "--store", world.store.url)
    for option in (("--format", "json"), ("--out", world.configs / "x"), ("--as-of", "2026-07-01")):
        assert run(*common, *option).exit_code == 2
