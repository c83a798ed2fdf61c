"""
A canvas for charts as inline SVG: matplotlib draws, no browser and no script is needed.

Colours are the page's own CSS variables and letters its own font, so that one picture serves light, dark and paper.
"""

import io
import itertools
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

WIDTH = 380  # units of the picture, and CSS pixels on a phone
LABEL = 11.5  # font size

# Matplotlib knows colours by number only; each of these stands for a CSS variable of the page.
INK, MUTED, GRID, ACCENT, FIXED, WARN, PAPER = (f"#00000{n}" for n in range(1, 8))
_VARIABLES = dict(
    zip(
        (INK, MUTED, GRID, ACCENT, FIXED, WARN, PAPER),
        ("ink", "muted", "grid", "accent", "fixed", "warn", "paper"),
        strict=True,
    )
)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": LABEL,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.labelsize": LABEL,
    "axes.linewidth": 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": LABEL,
    "ytick.labelsize": LABEL,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "path.simplify": True,
}
_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_PLAIN = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True, slots=True)
class Chart:
    """
    One picture.

    Attributes:
        title: What it shows, with its unit.
        alternative: The same figures in words, for those who do not see it.
        svg: The picture, to stand within a page.
        note: What else a reader must know of it.
    """

    title: str
    alternative: str
    svg: Markup
    note: str = ""


class Sheet:
    """Draws the charts of one page; ids within their SVG differ from chart to chart."""

    def __init__(self, prefix: str = "c") -> None:
        self._names = (f"{prefix}{number}" for number in itertools.count(1))

    def draw(
        self,
        title: str,
        alternative: str,
        height: float,
        paint: Callable[[Figure], None],
        note: str = "",
    ) -> Chart:
        """Make a chart of WIDTH x height units; `paint` puts its axes on the figure."""
        with mpl.rc_context({**_STYLE, "svg.hashsalt": next(self._names)}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # letters are drawn by the reader's fonts
            figure = Figure(figsize=(WIDTH / 72, height / 72))
            figure.patch.set_visible(False)
            paint(figure)
            for axes in figure.axes:
                axes.patch.set_visible(False)
            file = io.StringIO()
            figure.savefig(file, format="svg", metadata=_PLAIN)
        return Chart(title, alternative, inline(file.getvalue(), f"{title}. {alternative}"), note)


def axes_at(figure: Figure, left: float, bottom: float, right: float, top: float) -> Any:
    """Return axes with margins in units of the picture."""
    width, height = figure.get_size_inches() * 72
    return figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    )


def inline(text: str, alternative: str) -> Markup:
    """Make of matplotlib's SVG file an element for a page: no size of its own, no ids but those used, the page's colours."""
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _LINK)
    root = ElementTree.fromstring(text)  # noqa: S314  our own drawing
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', text))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
        if parent.get("id") not in used:
            parent.attrib.pop("id", None)
        turned = parent.get("transform", "")
        if turned.startswith("rotate(-0 "):
            del parent.attrib["transform"]
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", alternative)
    svg = ElementTree.tostring(root, encoding="unicode")
    svg = re.sub(r" font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r"#00000[1-7]", lambda match: f"var(--{_VARIABLES[match[0]]})", svg)
    svg = re.sub(r' (?:d|x|y)="[^"]*"', lambda match: re.sub(r"(\.\d\d)\d+", r"\1", match[0]), svg)
    return Markup(re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><"))  # noqa: S704  serialised by ElementTree


def shortened(text: str, letters: int) -> str:
    """Cut a label that would not fit."""
    return text if len(text) <= letters else text[: letters - 1] + "…"


def span(values: Sequence[float], *, margin: float = 0.06, reach: float = 0.0) -> tuple[float, float]:
    """Return the ends of an axis that shows 0 and all values, at least `reach` to one side."""
    low, high = min([0.0, *values]), max([0.0, *values])
    wide = max(high - low, reach) or 1.0
    return low - wide * margin, high + wide * margin
