"""What must hold before a result may be believed. Each check says what was found, and where it failed, the likely cause."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.stats.comparisons.readings import Lift
from analysis.stats.heterogeneity import fit_line
from analysis.stats.sample_ratio import Counts, Weights, anytime_ratio_p, independence_p, ratio_p

ALPHA = 0.001
REPEATED_SHARE = 0.01
UNMATCHED_SHARE = 0.5
TOO_GOOD = 2.0  # times the control, or as many times less


@dataclass(frozen=True, slots=True)
class Check:
    """
    One trust check.

    Attributes:
        passed: None where the data do not allow the check yet.
        detail: What was found, and where it failed, what to look for.
        more: Further figures.
    """

    name: str
    passed: bool | None
    detail: str
    p_value: float | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON values of the report."""
        shown: dict[str, Any] = {"name": self.name, "passed": self.passed, "detail": self.detail}
        return shown | ({} if self.p_value is None else {"p_value": self.p_value}) | dict(self.more)


def sample_ratio(
    units: Counts,
    weights: Weights,
    strays: int = 0,
    parts: Mapping[str, tuple[Counts, Weights]] | None = None,
    days: Sequence[tuple[Counts, Weights]] = (),
) -> Check:
    """
    Hold the units per variant against the declared weights.

    Args:
        units: Exposed units by variant.
        weights: Declared weights by variant; an arm of weight 0 takes no part, and leaves the degrees of freedom.
        strays: Exposures of variants that are not declared.
        parts: The same of epochs, days and segments, by what they are called; their p are corrected for their number.
        days: The same day by day, in order, for the form that may be read every day.

    Arms of which fewer than 5 units are expected are counted as one; where that is still too few for a chi-square, they are
    held against the rest by the exact binomial test.

    Source: Fabijan et al. (2019), KDD, on sample ratio mismatch; Pearson's chi-square at .001. Lindon and Malek (2022), NeurIPS,
    for the anytime form.
    """
    resting = [key for key, count in units.items() if count and not weights.get(key)]
    if resting or strays:
        found = [
            *(f"{key} of weight 0" for key in resting),
            *([f"{strays:,} of variants not declared"] if strays else []),
        ]
        return Check("sample_ratio", False, f"found exposures where none belong: {', '.join(found)}")
    taking = {key: weight / sum(weights.values()) for key, weight in weights.items() if weight > 0}
    total = sum(units[key] for key in taking)
    shares = ", ".join(f"{key} {units[key]:,}" for key in taking)
    p_value = ratio_p(units, weights)
    if p_value is None:
        return Check("sample_ratio", None, f"{shares}: too few units, or too few arms, to tell")
    anytime = anytime_ratio_p(days or [(units, weights)])
    more: dict[str, Any] = {"anytime_p_value": anytime}
    if min(p_value, anytime) < ALPHA:
        lacking = min(taking, key=lambda key: units[key] / (taking[key] * total))
        cause = f"{lacking} has the fewest for its weight: were exposures lost there?"
        return Check("sample_ratio", False, f"{shares}: not as the weights say. {cause}", p_value, more)
    told = {name: ratio_p(*part) for name, part in (parts or {}).items()}
    known = {name: p for name, p in told.items() if p is not None}
    failing = {name: min(1.0, p * len(known)) for name, p in known.items() if p * len(known) < ALPHA}
    if failing:
        more["failing"] = failing
        where = ", ".join(failing)
        detail = f"{shares}: as the weights say overall, but not in {where}. Did something break there?"
        return Check("sample_ratio", False, detail, p_value, more)
    return Check("sample_ratio", True, f"{shares}: as the weights say", p_value, more)


def multiple_exposure(repeated: int, units: int) -> Check:
    """Count units that saw more than one variant; they are left out, and many of them mean that assignment is broken."""
    share = repeated / (repeated + units) if repeated + units else 0.0
    if not repeated:
        return Check("multiple_exposure", True, "no unit saw more than one variant")
    detail = f"{repeated:,} units ({share:.2%}) saw more than one variant and are left out"
    if share <= REPEATED_SHARE:
        return Check("multiple_exposure", True, detail)
    return Check("multiple_exposure", False, detail + ": look for a changed salt, or visitor ids that are not kept")


def unmatched_orders(without_unit: int, with_unit: int, sold: Mapping[str, tuple[int, int]]) -> Check:
    """
    Count the orders whose visitor is not known.

    Args:
        without_unit, with_unit: Orders that would count.
        sold: By variant, of the orders that our offers sold: those without a unit, and all.
    """
    total = without_unit + with_unit
    if not total:
        return Check("unmatched_orders", None, "no orders yet")
    share = without_unit / total
    detail = f"{without_unit:,} of {total:,} orders ({share:.1%}) have no visitor"
    rates = {key: lost / n for key, (lost, n) in sold.items() if n}
    more = {"share": share, "by_variant": rates}
    p_value = independence_p([(lost, n - lost) for lost, n in sold.values() if n])
    if p_value is not None and p_value < ALPHA:
        worst = max(rates, key=lambda key: rates[key])
        cause = f"most often where {worst} sold: is the visitor id carried through its checkout?"
        return Check("unmatched_orders", False, f"{detail}, {cause}", p_value, more)
    if share > UNMATCHED_SHARE:
        cause = "is the visitor id handed to the checkout (cart attribute, hidden field)?"
        return Check("unmatched_orders", False, f"{detail}: {cause}", p_value, more)
    return Check("unmatched_orders", True, detail, p_value, more)


def pre_period(lifts: Mapping[str, Lift], buyers: int) -> Check:
    """
    Hold against each other what the arms did before their exposure, when nothing could differ.

    Args:
        lifts: By variant, of the share of units that had bought before.
        buyers: Units that had.
    """
    p_values = {key: lift.p_value for key, lift in lifts.items() if lift.p_value is not None}
    if buyers < 2 * 5 * (len(lifts) + 1) or not p_values:
        return Check("pre_period", None, f"{buyers:,} units had bought before their exposure: too few to compare")
    worst = min(p_values, key=lambda key: p_values[key])
    p_value = min(1.0, p_values[worst] * len(p_values))
    if p_value >= ALPHA:
        return Check("pre_period", True, f"{buyers:,} units had bought before, alike in all variants", p_value)
    cause = "was the population chosen after the variant was known, or an id used again from an earlier test?"
    return Check(
        "pre_period", False, f"units of {worst} differ from the control's before their exposure: {cause}", p_value
    )


def bots(marked: Counts, weights: Weights, units: int) -> Check:
    """Count exposures that are marked as bots; they are left out, and must be spread as the weights are."""
    n = sum(marked.values())
    if not n:
        return Check("bots", True, "no exposure is marked as a bot")
    detail = f"{n:,} exposures ({n / (n + units):.2%}) are marked as bots and left out"
    p_value = ratio_p(marked, weights)
    if p_value is None or p_value >= ALPHA:
        return Check("bots", True, detail, p_value)
    return Check(
        "bots", False, f"{detail}, not spread as the weights are: does a variant attract or mark them?", p_value
    )


def cost_coverage(costed: int, orders: int, *, decides: bool, asked: bool) -> Check:
    """Say how many orders' cost is known; margin cannot be had without all of them."""
    if not orders:
        return Check("cost_coverage", None, "no counted orders yet")
    detail = f"the cost of {costed:,} of {orders:,} counted orders is known"
    more = {"share": costed / orders}
    if costed == orders or not asked:
        return Check("cost_coverage", True if costed == orders else None, detail, None, more)
    advice = f"{detail}: give the catalogue's products their cost, or the orders theirs"
    return Check("cost_coverage", False if decides else None, advice, None, more)


def too_good(name: str, lifts: Mapping[str, Lift]) -> Check:
    """
    Mistrust an effect that is too large to be true: most often it is a fault of the measurement.

    Source: Twyman's law, as in Kohavi, Tang, Xu (2020), Trustworthy Online Controlled Experiments, chapter 3.
    """
    for key, lift in lifts.items():
        low, high = lift.anytime.relative.low, lift.anytime.relative.high
        if (low is not None and 1 + low > TOO_GOOD) or (high is not None and 1 + high < 1 / TOO_GOOD):
            cause = "is an event sent twice, or an order counted for one arm only?"
            change = "more than doubles" if (low or 0) > 0 else "more than halves"
            return Check("too_good", False, f"{key} surely {change} {name}: too good, or too bad, to be true; {cause}")
    return Check("too_good", True, f"no effect on {name} is beyond belief")


def novelty(curves: Mapping[str, Sequence[tuple[int, float, float]]]) -> Check:
    """
    Ask whether a gain fades with the days since the exposure.

    Args:
        curves: By variant: days since the exposure, the logarithm of variant over control on that day, its variance.
    """
    p_values: dict[str, float] = {}
    fading = []
    for key, points in curves.items():
        if len(points) < 3:
            continue
        line = fit_line(*zip(*points, strict=True))
        p_values[key] = line.p_value
        if line.slope < 0 < line.intercept:
            fading.append(key)
    if not p_values:
        return Check("novelty", None, "too few days, or too few orders on them, to tell whether a gain fades")
    p_value = min(1.0, min(p_values.values()) * len(p_values))
    failing = [key for key in fading if p_values[key] * len(p_values) < ALPHA]
    if failing:
        detail = f"the gain of {', '.join(failing)} fades with the days since the first exposure: wait, or count later days only"
        return Check("novelty", False, detail, p_value)
    return Check("novelty", True, "no gain fades with the days since the first exposure", p_value)
