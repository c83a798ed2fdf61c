"""The report's charts, each drawn from values that the report holds; nothing is worked out here but where to put them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import blended_transform_factory

from analysis.render import numbers
from analysis.render.svg import (
    ACCENT,
    FIXED,
    GRID,
    INK,
    LABEL,
    MUTED,
    PAPER,
    WARN,
    Chart,
    Sheet,
    axes_at,
    shortened,
    span,
)
from analysis.reports.model import LogLift, OrderValues

ROW = 42  # units of a row: its label above its interval
LETTERS = 34
REACH = 3.0  # relative lifts beyond +300% are cut, or one wild interval hides all others
Write = Callable[[float], str]
Ends = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Row:
    """
    One line of a forest plot.

    Attributes:
        estimate: None where there is none.
        fixed, anytime: Intervals for one reading, and for any day; None where there are none.
        words: The figures of the row in words.
        margin: What a guardrail may lose.
    """

    label: str
    estimate: float | None
    fixed: Ends | None
    anytime: Ends | None
    words: str
    margin: float | None = None


def forest(
    sheet: Sheet, title: str, axis: str, rows: Sequence[Row], write: Write = numbers.share, note: str = ""
) -> Chart:
    """Draw estimates with their intervals, a row each; what lies beyond the axis ends in an arrow."""
    drawn = [end for row in rows for ends in (row.fixed, row.anytime) if ends for end in ends]
    drawn += [value for row in rows for value in (row.estimate, row.margin) if value is not None]
    bound = REACH if write is numbers.share else math.inf
    limits = span([min(bound, max(-bound, value)) for value in drawn])

    def paint(figure: Figure) -> None:
        axes = _row_axes(figure, len(rows), limits, axis, write)
        for place, row in enumerate(rows):
            _label(axes, place, shortened(row.label, LETTERS), "" if row.estimate is None else write(row.estimate))
            _interval(axes, row.anytime, place + 0.12, limits, color=ACCENT, linewidth=1.6)
            _interval(axes, row.fixed, place + 0.12, limits, color=FIXED, linewidth=5)
            if row.margin is not None:
                axes.plot([row.margin] * 2, [place - 0.1, place + 0.34], color=WARN, linewidth=2.5)
            if row.estimate is not None and limits[0] <= row.estimate <= limits[1]:
                axes.plot(row.estimate, place + 0.12, "o", color=INK, markersize=6, markeredgecolor=PAPER)

    alternative = " ".join(f"{row.label}: {row.words}." for row in rows)
    return sheet.draw(title, alternative, len(rows) * ROW + 44, paint, note)


@dataclass(frozen=True, slots=True)
class Step:
    """One part of a waterfall: a logarithm with its interval."""

    label: str
    size: float
    low: float
    high: float

    @classmethod
    def of(cls, label: str, factor: LogLift) -> "Step":
        """Return the step of a factor that was computed."""
        return cls(label, factor.log_lift or 0.0, factor.low or 0.0, factor.high or 0.0)


def waterfall(sheet: Sheet, title: str, axis: str, parts: Sequence[Step]) -> Chart:
    """Draw parts that add up, one after the other, then their sum; each with the interval of its own."""
    starts, at = [], 0.0
    for part in parts[:-1]:
        starts.append(at)
        at += part.size
    starts.append(0.0)
    ends = [start + end for start, part in zip(starts, parts, strict=True) for end in (part.low, part.high)]
    limits = span([*starts, at, *ends])

    def paint(figure: Figure) -> None:
        axes = _row_axes(figure, len(parts), limits, axis, lambda log: numbers.share(math.expm1(log)))
        for place, (start, part) in enumerate(zip(starts, parts, strict=True)):
            last = place == len(parts) - 1
            end = start + part.size
            _label(axes, place, part.label, numbers.share(math.expm1(part.size)))
            axes.barh(place + 0.12, part.size, left=start, height=0.34, color=FIXED if last else MUTED, linewidth=0)
            axes.plot([start + part.low, start + part.high], [place + 0.12] * 2, color=INK, linewidth=1.4)
            if place < len(parts) - 2:
                axes.plot([end, end], [place + 0.12, place + 1.12], color=MUTED, linewidth=0.8, linestyle=":")

    words = "; ".join(
        f"{part.label} {numbers.share(math.expm1(part.size))} "
        f"({numbers.share_range(math.expm1(part.low), math.expm1(part.high))})"
        for part in parts
    )
    return sheet.draw(title, words + ".", len(parts) * ROW + 44, paint)


def histograms(
    sheet: Sheet, title: str, axis: str, arms: Mapping[str, OrderValues], marks: Mapping[str, str], write: Write
) -> Chart:
    """
    Draw the order values of the variants below one another, on one scale, with mean, median and mode marked.

    Args:
        sheet, title, axis: Where, and what it shows.
        arms: By variant, each with orders.
        marks: What mean, median and mode are called.
        write: Writes an amount.
    """
    bars = next(iter(arms.values())).histogram
    width = bars[0].high - bars[0].low
    starts = [bar.low for bar in bars]
    limits = (starts[0], starts[-1] + width)
    top = max(bar.orders / arm.orders for arm in arms.values() for bar in arm.histogram)
    panel, bottom = 104, 40

    def paint(figure: Figure) -> None:
        for place, (key, arm) in enumerate(arms.items()):
            under = bottom + (len(arms) - 1 - place) * panel
            axes = axes_at(figure, 38, under + 12, 20, figure.get_size_inches()[1] * 72 - under - panel + 32)
            shares = [bar.orders / arm.orders for bar in arm.histogram]
            color = MUTED if place == 0 else FIXED
            axes.bar(starts, shares, width * 0.9, align="edge", color=color, linewidth=0)
            for name, style in zip(marks, ("-", "--", ":"), strict=True):
                axes.axvline(min(getattr(arm, name), limits[1]), color=INK, linewidth=1.5, linestyle=style)
            axes.set_xlim(limits)
            axes.set_ylim(0, top * 1.05)
            axes.yaxis.set_major_locator(MaxNLocator(2))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}" if value else ""))
            axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
            axes.tick_params(length=0, labelbottom=place == len(arms) - 1)
            axes.set_title(shortened(key, LETTERS), loc="left", fontsize=LABEL, pad=4)
            if place == len(arms) - 1:
                axes.set_xlabel(axis)

    words = " ".join(
        f"{key}: {arm.orders:,} orders, "
        + ", ".join(f"{word} {write(getattr(arm, name))}" for name, word in marks.items())
        + "."
        for key, arm in arms.items()
    )
    return sheet.draw(title, words, len(arms) * panel + bottom, paint, "Lines: " + ", ".join(marks.values()) + ".")


@dataclass(frozen=True, slots=True)
class Curve:
    """
    A lift along an axis.

    Attributes:
        at: Where each point is.
        estimates, ends: The points, and their intervals; None where there are none.
    """

    at: Sequence[float]
    estimates: Sequence[float | None]
    ends: Sequence[Ends | None]

    def limits(self) -> Ends:
        """Return the ends of an axis for it; the wide intervals of the first days are cut, or they hide all later ones."""
        later = [ends for ends in self.ends if ends][-max(3, len(self.ends) * 2 // 3) :]
        seen = [end for ends in later for end in ends] + [value for value in self.estimates[-1:] if value is not None]
        return span([min(REACH, max(-REACH, value)) for value in seen], reach=0.02)


def band(
    sheet: Sheet, title: str, axis: str, curve: Curve, planned: float | None, limits: Ends, alternative: str
) -> Chart:
    """Draw a lift over days with the band that holds on all of them; `planned` marks the day of the planned size."""

    def paint(figure: Figure) -> None:
        axes = axes_at(figure, 50, 40, 14, 10)
        bounded = [(x, *ends) for x, ends in zip(curve.at, curve.ends, strict=True) if ends]
        if bounded:
            x, low, high = zip(*bounded, strict=True)
            axes.fill_between(x, low, high, color=ACCENT, alpha=0.22, linewidth=0)
            axes.plot(x, low, color=ACCENT, linewidth=1)
            axes.plot(x, high, color=ACCENT, linewidth=1)
        known = [(x, value) for x, value in zip(curve.at, curve.estimates, strict=True) if value is not None]
        axes.plot(*zip(*known, strict=True), color=INK, linewidth=1.6, marker="o" if len(known) < 3 else "")
        axes.axhline(0, color=MUTED, linewidth=1)
        if planned is not None:
            axes.axvline(planned, color=WARN, linewidth=1.6, linestyle="--")
        axes.set_ylim(limits)
        axes.set_xlim(min(curve.at) - 0.5, max([*curve.at, *([] if planned is None else [planned])]) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(_date))
        _lift_axis(axes, axis)

    return sheet.draw(title, alternative, 210, paint)


def days(sheet: Sheet, title: str, axis: str, curve: Curve, limits: Ends, alternative: str) -> Chart:
    """Draw a lift by days since the exposure, each day with its own interval."""

    def paint(figure: Figure) -> None:
        axes = axes_at(figure, 50, 40, 14, 10)
        axes.axhline(0, color=MUTED, linewidth=1)
        for x, estimate, ends in zip(curve.at, curve.estimates, curve.ends, strict=True):
            if ends:
                axes.plot([x, x], ends, color=FIXED, linewidth=3)
            if estimate is not None:
                axes.plot(x, estimate, "o", color=INK, markersize=6, markeredgecolor=PAPER)
        axes.set_ylim(limits)
        axes.set_xlim(min(curve.at) - 0.5, max(curve.at) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        _lift_axis(axes, axis)

    return sheet.draw(title, alternative, 210, paint)


def steps(sheet: Sheet, title: str, counts: Mapping[str, int], alternative: str) -> Chart:
    """Draw how many units of an arm came how far."""
    whole = max(1, next(iter(counts.values())))

    def paint(figure: Figure) -> None:
        axes = axes_at(figure, 4, 4, 4, 4)
        for place, (step, count) in enumerate(counts.items()):
            axes.barh(place, 1, height=0.4, color=GRID, linewidth=0)
            axes.barh(place, count / whole, height=0.4, color=FIXED, linewidth=0)
            axes.text(0, place - 0.25, step, va="bottom")
            axes.text(1, place - 0.25, f"{count:,} · {count / whole:.1%}", va="bottom", ha="right")
        axes.set_xlim(0, 1)
        axes.set_ylim(len(counts) - 0.6, -0.85)
        axes.set_axis_off()

    return sheet.draw(title, alternative, len(counts) * 38 + 8, paint)


def minutes(sheet: Sheet, title: str, counts: Mapping[str, Sequence[int]], alternative: str) -> Chart:
    """Draw counts of every minute, a row a variant, on one scale; the last minute is now."""
    top = max(1, *(max(one) for one in counts.values()))
    panel, bottom = 52, 40

    def paint(figure: Figure) -> None:
        height = figure.get_size_inches()[1] * 72
        for place, (key, one) in enumerate(counts.items()):
            under = bottom + (len(counts) - 1 - place) * panel
            axes = axes_at(figure, 40, under, 14, height - under - panel + 22)
            axes.bar(range(1 - len(one), 1), one, 0.8, color=FIXED, linewidth=0)
            axes.set_ylim(0, top)
            axes.set_xlim(-len(one) + 0.4, 0.6)
            axes.set_yticks([0, top])
            axes.tick_params(length=0, labelbottom=place == len(counts) - 1)
            axes.set_title(shortened(key, LETTERS), loc="left", fontsize=LABEL, pad=3)
            if place == len(counts) - 1:
                axes.set_xlabel("minutes before now")

    return sheet.draw(title, alternative, len(counts) * panel + bottom, paint)


def _row_axes(figure: Figure, rows: int, limits: Ends, axis: str, write: Write) -> Any:
    axes = axes_at(figure, 24, 40, 24, 4)
    axes.set_xlim(limits)
    axes.set_ylim(rows - 0.5, -0.62)
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    at = numbers.tick if write is numbers.share else write
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: at(value)))
    axes.tick_params(length=0)
    axes.grid(visible=True, axis="x")
    axes.set_axisbelow(True)
    axes.set_xlabel(axis)
    return axes


def _label(axes: Any, place: int, label: str, side: str) -> None:
    """Write a row's name at the left edge of the picture, and its estimate at the right one."""
    across = blended_transform_factory(axes.figure.transFigure, axes.transData)
    ground = {"facecolor": PAPER, "linewidth": 0, "pad": 1.5}  # no line of the grid runs through a name
    for at, text, side_of in ((0.01, label, "left"), (0.99, side, "right")):
        if text:
            axes.text(at, place - 0.18, text, transform=across, va="bottom", ha=side_of, bbox=ground)


def _interval(axes: Any, ends: Ends | None, place: float, limits: Ends, **style: Any) -> None:
    if ends is None:
        return
    low, high = max(ends[0], limits[0]), min(ends[1], limits[1])
    axes.plot([low, high], [place, place], solid_capstyle="butt", **style)
    for end, limit, mark in ((ends[0], limits[0], "<"), (ends[1], limits[1], ">")):
        if (end < limit) if mark == "<" else (end > limit):
            axes.plot(limit, place, mark, color=style["color"], markersize=7, clip_on=False)


def _lift_axis(axes: Any, axis: str) -> None:
    axes.set_xlabel(axis)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.tick(value)))
    axes.tick_params(length=0)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)


def _date(ordinal: float, _place: object) -> str:
    day = date.fromordinal(round(ordinal))
    return f"{day.day} {day:%b}"
