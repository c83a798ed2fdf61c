"""
Calibration by seeded simulation: how often intervals hold the truth, and how often nothing is called something.

Shoppers are made up: most buy nothing, some come back, order values are skewed, and a visitor's orders are alike. Every figure is
read by the code that reports use. `make calibrate` writes docs/calibration.md and its pictures.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from analysis.reports.trust_checks import ALPHA
from analysis.stats.boundaries import confidence_sequences, multiplicity
from analysis.stats.comparisons import Kind
from analysis.stats.comparisons.means import Means
from analysis.stats.comparisons.proportions import Proportions
from analysis.stats.comparisons.quantiles import Quantiles
from analysis.stats.covariates import adjusted
from analysis.stats.lift import compare
from analysis.stats.moments import Moments
from analysis.stats.orders.order_statistics import Ranked
from analysis.stats.orders.quantiles import cluster_factor
from analysis.stats.sample_ratio import anytime_ratio_p, ratio_p
from benchmarks.results import table
from benchmarks.shoppers import Floats, Shoppers, shoppers

mpl.use("svg")
DOCS = Path(__file__).parent.parent / "docs"
SEED = 20261122
CAP = 0.99


METRICS: Mapping[str, tuple[Kind, Callable[[Shoppers], tuple[Floats, ...]]]] = {
    "conversion": ("proportion", lambda one: ((one.orders > 0).astype(float),)),
    "revenue_per_visitor": ("mean", lambda one: (one.net,)),
    "margin_per_visitor": ("mean", lambda one: (one.margin,)),
    "orders_per_visitor": ("mean", lambda one: (one.orders,)),
    "average_order_value": ("ratio", lambda one: (one.net, one.orders)),
    "units_per_order": ("ratio", lambda one: (one.units, one.orders)),
    "revenue_per_visitor, adjusted": ("mean", lambda one: (one.net, one.before_net)),
    "average_order_value, adjusted": ("ratio", lambda one: (one.net, one.orders, one.before_net, one.before_orders)),
    "median_order_value": ("quantile", lambda one: (one.net, one.orders)),
}


def moments(metric: str, one: Shoppers) -> Moments:
    """Return an arm's moments of one metric; of a quantile its order statistics, every order of a visitor of one value."""
    kind, columns = METRICS[metric]
    if kind == "quantile":
        return _median(one)
    told = columns(one)
    if "adjusted" not in metric:
        return Moments.from_values(*told)
    return Moments.from_values(
        told[0], None if kind == "mean" else told[1], *(told[1:] if kind == "mean" else told[2:])
    )


def _median(one: Shoppers) -> Moments:
    bought = one.orders > 0
    order = np.sort(np.repeat(one.net[bought] / one.orders[bought], one.orders[bought].astype(int)))
    plain = Ranked(len(order), 0.5, 1.0, lambda rank: float(order[rank - 1]))
    under = (one.net[bought] / one.orders[bought] <= plain.value) * one.orders[bought]
    factor = cluster_factor(Moments.from_values(under, one.orders[bought]), len(order))
    return Moments.of_estimate(len(order), plain.value, 0.0, Ranked(len(order), 0.5, factor, plain.at))


def p_values(metric: str, arms: Sequence[Shoppers]) -> list[float]:
    """Return each treatment's own p, or the family's where there are several."""
    kind, _columns = METRICS[metric]
    told = {str(index): moments(metric, one) for index, one in enumerate(arms)}
    if "adjusted" in metric:
        told = adjusted(told)
    control, *others = told.values()
    compared = [_comparison(kind, control, other) for other in others]
    own = [multiplicity.own_p(one.statistic, one.degrees_of_freedom) for one in compared]
    if len(compared) == 1:
        return own
    loadings = [multiplicity.loading(control.variance or 0.0, other.variance or 0.0) for other in others]
    normal = [multiplicity.as_normal(one.statistic, one.degrees_of_freedom) for one in compared]
    return [multiplicity.dunnett_p(z, p, loadings) for z, p in zip(normal, own, strict=True)]


def _comparison(kind: Kind, control: Moments, treatment: Moments) -> Means | Proportions | Quantiles:
    if kind == "proportion":
        return Proportions(control, treatment)
    if control.ranked is not None and treatment.ranked is not None:
        return Quantiles(control.ranked, treatment.ranked)
    return Means(control, treatment)


def interval_of(count: int, runs: int, digits: int = 1) -> str:
    """Return a share with its standard error, in percent."""
    share = count / runs
    return f"{share:.{digits}%} ± {math.sqrt(max(share, 1 / runs) * (1 - share) / runs):.{digits}%}"


@dataclass
class Page:
    """What is written, and how far it is."""

    progress: Progress
    scale: float
    parts: list[str]

    def runs(self, count: int, what: str) -> Iterator[int]:
        """Count runs, and show how far they are."""
        total = max(20, int(count * self.scale))
        task = self.progress.add_task(what, total=total)
        for run in range(total):
            yield run
            self.progress.advance(task)


DESIGNS = {
    "2 arms, 50/50": (2000, 2000),
    "2 arms, 90/10": (18_000, 2000),
    "90/10, small": (3600, 400),
    "6 arms (any of 5)": (2000,) * 6,
}


def error_rates(page: Page, runs: int = 10_000) -> None:
    """Section: A/A tests of every metric, all of them over the same visitors."""
    told: dict[str, list[str]] = {metric: [] for metric in METRICS}
    for design, sizes in DESIGNS.items():
        dice = np.random.default_rng([SEED, *sizes])
        alarms = dict.fromkeys(METRICS, 0)
        done = 0
        for _ in page.runs(runs // (2 if sum(sizes) > 10_000 else 1), f"A/A {design}"):
            done += 1
            arms = [shoppers(dice, n) for n in sizes]
            for metric in METRICS:
                if len(sizes) == 2 or not metric.startswith("median"):
                    alarms[metric] += min(p_values(metric, arms)) < 0.05
        for metric in METRICS:
            skipped = len(sizes) > 2 and metric.startswith("median")
            told[metric].append("–" if skipped else interval_of(alarms[metric], done))
    page.parts.append(
        "## Nothing differs: how often 5% tests alarm\n\nShould be 5%. 4,000 visitors at 50/50, 20,000 at 90/10, 2,000 in each "
        "of 6 arms, where an alarm is any of five comparisons held together (Dunnett). A miss, shown as one: at 90/10 money "
        "alarms too often, 6% with 400 buyers in the small arm and 7 to 9% with 80. Means of few skewed values are not normal, "
        "and unequal arms do not cancel it; the verdict does not rest on these p; `crosslift aa-check` shows a shop its own.\n\n"
        + table(["metric", *DESIGNS], [[metric, *row] for metric, row in told.items()])
    )


TRUE_LIFTS = (-0.2, 0.0, 0.2, 0.5)


def coverage(page: Page, runs: int = 5000) -> None:
    """Section: how often 95% intervals hold true lifts."""
    rows: dict[str, list[list[str]]] = {}
    for lift in TRUE_LIFTS:
        for name, inside in _coverage_of(page, lift, runs).items():
            shares = [interval_of(sum(one[k] for one in inside), len(inside)) for k in (0, 1)]
            rows.setdefault(name, []).append([name, f"{lift:+.0%}", *shares])
    page.parts.append(
        "## Something differs: how often 95% intervals hold it\n\nShould be 95%. 2,000 visitors an arm. Capped: the lift of the "
        f"capped values, at the {CAP:.0%} percentile of two million visitors. Three treatments: all intervals at once.\n\n"
        + table(["metric", "true lift", "absolute", "relative"], [row for told in rows.values() for row in told])
    )


Inside = tuple[bool, bool]


def _coverage_of(page: Page, lift: float, runs: int) -> dict[str, list[Inside]]:
    dice = np.random.default_rng([SEED, 2, int(100 * lift) + 100])
    large = [float(one.mean()) for one in _clipped([shoppers(dice, 1_000_000), shoppers(dice, 1_000_000, 1, 1 + lift)])]
    found: dict[str, list[Inside]] = {}
    for _ in page.runs(runs, f"coverage at {lift:+.0%}"):
        control, dearer = shoppers(dice, 2000), shoppers(dice, 2000, 1, 1 + lift)
        found.setdefault("conversion", []).append(_holds("conversion", lift, [control, shoppers(dice, 2000, 1 + lift)]))
        for metric in (*_DEARER, *(f"{metric}, adjusted" for metric in _DEARER)):
            found.setdefault(metric, []).append(_holds(metric, lift, [control, dearer]))
        capped = Means(*(Moments.from_values(one) for one in _clipped([control, dearer])))
        found.setdefault("revenue_per_visitor, capped", []).append(
            _inside(capped, large[1] - large[0], large[1] / large[0] - 1)
        )
        others = [dearer, shoppers(dice, 2000, 1, 1 + lift), shoppers(dice, 2000, 1, 1 + lift)]
        found.setdefault("revenue_per_visitor, 3 treatments at once", []).append(_family_holds(lift, control, others))
    return found


_DEARER = ("revenue_per_visitor", "average_order_value")


def _holds(metric: str, lift: float, arms: Sequence[Shoppers]) -> Inside:
    """Tell whether the absolute and the relative interval of one experiment hold the lift that was made."""
    told = {str(index): moments(metric, one) for index, one in enumerate(arms)}
    if "adjusted" in metric:
        told = adjusted(told)
    truth = TRUTH[metric.removesuffix(", adjusted")] * lift
    return _inside(_comparison(METRICS[metric][0], told["0"], told["1"]), truth, lift)


def _inside(found: Means | Proportions | Quantiles, absolute: float, relative: float) -> Inside:
    multiple = multiplicity.own_multiple(found.degrees_of_freedom, 0.95)
    (low, high), (relative_low, relative_high) = found.absolute(multiple), found.relative(multiple)
    return low <= absolute <= high, relative_low <= relative <= relative_high


def _family_holds(lift: float, control: Shoppers, others: Sequence[Shoppers]) -> Inside:
    told = {str(index): moments("revenue_per_visitor", one) for index, one in enumerate(others)}
    lifts = [one.simultaneous for one in compare("mean", moments("revenue_per_visitor", control), told).values()]
    truth = TRUTH["revenue_per_visitor"] * lift
    return (
        all((one.absolute.low or 0) <= truth <= (one.absolute.high or 0) for one in lifts),
        all((one.relative.low or 0) <= lift <= (one.relative.high or 0) for one in lifts),
    )


_BUYERS = 0.3 * 0.45 + 0.7 * 0.1
_MEAN_VALUE = 30 * math.exp(0.8**2 / 2) * math.exp(0.6**2 / 2)
TRUTH = {
    "conversion": _BUYERS,
    "revenue_per_visitor": _BUYERS * 1.25 * _MEAN_VALUE,
    "average_order_value": _MEAN_VALUE,
}


def _clipped(arms: Sequence[Shoppers]) -> list[Floats]:
    """Cap revenue at the percentile of all arms' buyers together, at both ends, as reports do."""
    bought = np.sort(np.concatenate([one.net[one.orders > 0] for one in arms]))
    beyond = int(len(bought) * (1 - CAP))
    low, high = bought[beyond], bought[len(bought) - 1 - beyond]
    return [np.where(one.orders > 0, np.clip(one.net, low, high), 0.0) for one in arms]


LOOKS = 100


def peeking(page: Page, runs: int = 2000) -> None:
    """Section: reading after every 1% of the traffic."""
    ever = {name: np.zeros((0, LOOKS), bool) for name in ("fixed-horizon p", "always-valid p")}
    n = 8000  # an arm at the end
    dice = np.random.default_rng([SEED, 5])
    scale = confidence_sequences.anytime_scale(0.05, 2 * n)
    for _ in page.runs(runs, "reading a hundred times"):
        alarms = {name: np.zeros(LOOKS, bool) for name in ever}
        arms = [shoppers(dice, n).net for _arm in range(2)]
        for look in range(LOOKS):
            until = (look + 1) * n // LOOKS
            if until < 100 or min(int((arm[:until] > 0).sum()) for arm in arms) < 30:
                continue
            found = Means(*(Moments.from_values(arm[:until]) for arm in arms))
            alarms["fixed-horizon p"][look] = multiplicity.own_p(found.statistic, found.degrees_of_freedom) < 0.05
            alarms["always-valid p"][look] = confidence_sequences.anytime_p(found.statistic, 2 * until, scale) < 0.05
        for name, one in alarms.items():
            ever[name] = np.vstack([ever[name], np.logical_or.accumulate(one)])
    done = len(next(iter(ever.values())))
    rows = [[name, interval_of(int(one[:, -1].sum()), done)] for name, one in ever.items()]
    _draw_peeking(ever)
    page.parts.append(
        "## Read after every 1% of the traffic\n\nA/A experiments of 16,000 visitors, revenue per visitor: the share that was "
        "called different at least once. Should be at most 5% for what may be read on any day.\n\n"
        + table(["read", "ever alarmed"], rows)
        + "\n\n![Share of A/A experiments called different at least once, by how much of the traffic had been read: the "
        "fixed-horizon p climbs beyond 30%, the always-valid p stays below 5%.](calibration/peeking.svg)"
    )


def _draw_peeking(ever: Mapping[str, NDArray[np.bool_]]) -> None:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.6))
    for (name, one), style in zip(ever.items(), ("--", "-"), strict=True):
        axes.plot(
            np.arange(1, LOOKS + 1),
            100 * one.mean(axis=0),
            style,
            label=name,
            color="#1f5fa8" if style == "-" else "#b3541e",
        )
    axes.axhline(5, color="#777777", linewidth=0.8, linestyle=":")
    axes.set(xlabel="traffic read, %", ylabel="called different at least once, %", ylim=(0, None), xlim=(0, 100))
    axes.set_title("Reading every day: only the always-valid p keeps its 5%", loc="left", fontsize=11)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    (DOCS / "calibration").mkdir(exist_ok=True)
    figure.savefig(
        DOCS / "calibration" / "peeking.svg", bbox_inches="tight", metadata={"Date": None}, facecolor="white"
    )
    plt.close(figure)


def sample_ratio(page: Page, runs: int = 20_000) -> None:
    """Section: false alarms and detection of the sample-ratio check."""
    weights = {"a": 1.0, "b": 1.0}
    rows = []
    for share, units, what in (
        (0.5, 10_000, "as declared"),
        (0.5025, 100_000, "1% more in one arm"),
        (0.51, 100_000, "4% more"),
    ):
        dice = np.random.default_rng([SEED, 6, int(share * 10_000), units])
        fixed = anytime = done = 0
        for _ in page.runs(runs if share == 0.5 else runs // 10, f"sample ratio {what}"):
            done += 1
            days = [int(one) for one in dice.binomial(units // 20, share, 20)]
            counts = [({"a": one, "b": units // 20 - one}, weights) for one in days]
            p_value = ratio_p({"a": sum(days), "b": units - sum(days)}, weights)
            fixed += p_value is not None and p_value < ALPHA
            anytime += anytime_ratio_p(counts) < ALPHA
        rows.append([what, f"{units:,}", interval_of(fixed, done, 2), interval_of(anytime, done, 2)])
    page.parts.append(
        "## Sample ratio\n\nHow often the check fails, at p below 0.001. The first row should be at most 0.1%; in the others the "
        "more the better. The anytime form is read after each of 20 days.\n\n"
        + table(["units fall", "units", "chi-square at the end", "anytime form, any day"], rows)
    )


def power(page: Page, runs: int = 2000) -> None:
    """Section: what a unit's own history is worth."""
    rows = []
    for lift in (0.1, 0.2):
        dice = np.random.default_rng([SEED, 7, int(100 * lift)])
        found = {"plain": 0, "adjusted": 0}
        saved = []
        done = 0
        for _ in page.runs(runs, f"power {lift:+.0%}"):
            done += 1
            arms = [shoppers(dice, 8000), shoppers(dice, 8000, 1, 1 + lift)]
            found["plain"] += min(p_values("revenue_per_visitor", arms)) < 0.05
            found["adjusted"] += min(p_values("revenue_per_visitor, adjusted", arms)) < 0.05
            told = {str(k): moments("revenue_per_visitor, adjusted", one) for k, one in enumerate(arms)}
            after = sum(one.variance or 0 for one in adjusted(told).values())
            saved.append(1 - after / sum(one.without_covariates().variance or 0 for one in told.values()))
        rows.append([f"{lift:+.0%}", *(interval_of(one, done) for one in found.values()), f"{np.mean(saved):.1%}"])
    page.parts.append(
        "## What history is worth\n\nRevenue per visitor, 8,000 an arm, of whom 30% have a history: how often a true lift is "
        "seen, plain and adjusted for what each visitor spent before. History saves as much as it says about what comes; here a "
        "visitor's level is told, whether they buy is not.\n\n"
        + table(["true lift", "seen plain", "seen adjusted", "variance saved"], rows)
    )


INTRODUCTION = """# Calibration

Are the error rates what they say? Shoppers are made up (benchmarks/calibration.py): 21% buy, a quarter of the buyers come back,
order values are log-normal with a visitor's own level, so that a visitor's orders are alike. Every figure is read by the code
that reports use; ± is the standard error of the simulation. `make calibrate` repeats all of it, with the same seed.
"""


def main(arguments: Sequence[str]) -> None:
    """Run all sections, `--quick` with a fiftieth of the runs and nothing written."""
    quick = "--quick" in arguments
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        page = Page(progress, 0.02 if quick else 1.0, [INTRODUCTION])
        for section in (error_rates, coverage, peeking, sample_ratio, power):
            section(page)
    text = "\n\n".join(page.parts) + "\n"
    if not quick:
        (DOCS / "calibration.md").write_text(text, encoding="utf-8")
    print(text)  # noqa: T201  what was asked for


if __name__ == "__main__":
    main(sys.argv[1:])
