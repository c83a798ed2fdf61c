"""What reports say: none of the usual misreadings, in any state, on any face."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from analysis.render import html
from analysis.render.terminal import WIDTH, print_report
from tests.analysis.cases import CASES, report_of
from tests.conftest import ROOT

# What the words would claim, and why it is wrong.
FORBIDDEN = {
    r"\d+(\.\d+)?% (probability|chance|likel|sure|certain)": "an interval's confidence is not the probability of a result",
    r"(probability|chance|likelihood) that (the|it|this|a|an|\w+ is)": "p is not the probability of a hypothesis",
    r"accept(s|ed|ing)? the null|null (hypothesis )?is true|no effect (was|is) (found|there|shown)": "not seen is not absent",
    r"due to chance|by luck|fluke": "p is not the probability that chance alone was at work",
    r"(?<!statistically )significan(t|ce)": "significant alone may mean important; statistically significant is a term of its own",
    r"prov(e|es|ed|en)\b|guarantee|definitely|undoubtedly": "data never prove",
    r"trend(s|ing)? toward|almost significant|nearly significant|marginally": "not yet told is not nearly told",
    r"confidence (that|level of the result)|confident that": "confidence is the method's, not the result's",
    r"winner|winning|loser|losing": "a lead is not a win",
    r"uplift of|will (rise|increase|bring|gain|grow) by": "an estimate is no promise",
    r"correlat": "nothing here is a correlation",
    r"power (of|to detect) .* observed|observed power|post.hoc power": "observed power tells nothing that p does not",
}  # fmt: skip
ALLOWED = r"does not say how large or how likely"


def faces(name: str) -> str:
    file = io.StringIO()
    print_report(report_of(name), Console(file=file, width=WIDTH, highlight=False, markup=False))
    page = re.sub(r"<style>.*?</style>|<[^>]+>", " ", html.page(report_of(name)), flags=re.DOTALL)
    attributes = " ".join(re.findall(r'aria-label="([^"]*)"', html.page(report_of(name))))
    return " ".join((file.getvalue() + page + attributes).split())


@pytest.mark.parametrize("name", CASES)
def test_no_face_invites_a_misreading(name: str) -> None:
    """Terminal, page and text alternatives of every state."""
    assert_plain(faces(name))


@pytest.mark.parametrize(
    "path",
    [
        ROOT / "analysis" / "render" / "messages.py",
        ROOT / "analysis" / "reports" / "messages.py",
        ROOT / "analysis" / "dashboard" / "messages.py",
        *sorted((ROOT / "analysis" / "render" / "templates").rglob("*.html")),
        ROOT / "docs" / "reading.md",
    ],
    ids=lambda path: path.name,
)
def test_no_sentence_invites_a_misreading(path: Path) -> None:
    """Those of states that the cases do not reach, too."""
    assert_plain(" ".join(path.read_text(encoding="utf-8").split()))


def assert_plain(text: str) -> None:
    text = re.sub(ALLOWED, "", text)
    for pattern, why in FORBIDDEN.items():
        found = re.search(pattern, text, re.IGNORECASE)
        assert found is None, f"{text[max(0, found.start() - 60) : found.end() + 60]!r}: {why}"


@pytest.mark.parametrize(
    "sentence",
    [
        "There is a 95% probability that the lift is in here.",
        "p is the probability that the null is true",
        "We accept the null hypothesis.",
        "The result is significant.",
        "This proves it.",
        "offer is the winner",
        "Revenue will increase by 5%.",
    ],
)
def test_the_usual_misreadings_are_caught(sentence: str) -> None:
    """Or the test above would pass whatever is written."""
    with pytest.raises(AssertionError):
        assert_plain(sentence)


def test_templates_hold_no_statistics_of_their_own() -> None:
    """What is said of figures stands in messages.py: the report's template has tags and names only."""
    body = (ROOT / "analysis" / "render" / "templates" / "body.html").read_text(encoding="utf-8")
    text = re.sub(r"{%.*?%}|{{.*?}}|<[^>]+>", " ", body, flags=re.DOTALL)
    assert re.findall(r"[A-Za-z]{2,}", text) == []
