"""What must hold before a result may be believed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import binomtest, chisquare

SAMPLE_RATIO_ALPHA = 0.001
REPEATED_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Check:
    """
    One trust check.

    Attributes:
        passed: None where the data do not allow the check yet.
        detail: What was found, and where it failed, what to look for.
    """

    name: str
    passed: bool | None
    detail: str
    p_value: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON values of the report."""
        shown: dict[str, Any] = {"name": self.name, "passed": self.passed, "detail": self.detail}
        return shown if self.p_value is None else shown | {"p_value": self.p_value}


def sample_ratio(units: Mapping[str, int], weights: Mapping[str, float], strays: int = 0) -> Check:
    """
    Hold the units per variant against the declared weights.

    Args:
        units: Exposed units by variant.
        weights: Declared weights by variant; an arm of weight 0 takes no part, and leaves the degrees of freedom.
        strays: Exposures of variants that are not declared.

    Arms of which fewer than 5 units are expected are counted as one; where that is still too few for a chi-square, they are
    held against the rest by the exact binomial test.

    Source: Fabijan et al. (2019), KDD, on sample ratio mismatch; Pearson's chi-square at .001.
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
    p_value = _ratio_p({key: units[key] for key in taking}, taking)
    if p_value is None:
        return Check("sample_ratio", None, f"{shares}: too few units, or too few arms, to tell")
    if p_value >= SAMPLE_RATIO_ALPHA:
        return Check("sample_ratio", True, f"{shares}: as the weights say", p_value)
    lacking = min(taking, key=lambda key: units[key] / (taking[key] * total))
    detail = f"{shares}: not as the weights say. {lacking} has the fewest for its weight: were exposures lost there?"
    return Check("sample_ratio", False, detail, p_value)


def _ratio_p(units: Mapping[str, int], shares: Mapping[str, float]) -> float | None:
    total = sum(units.values())
    small = [key for key in units if shares[key] * total < 5]
    cells = [(units[key], shares[key] * total) for key in units if key not in small]
    rest = (sum(units[key] for key in small), sum(shares[key] for key in small) * total)
    if len(units) < 2 or not cells:
        return None
    if rest[1] >= 5:
        return _chi_square([*cells, rest])
    if not small:
        return _chi_square(cells)
    if total < 20:
        return None
    exact = float(binomtest(rest[0], total, min(1.0, rest[1] / total)).pvalue)
    return min(1.0, 2 * min(exact, _chi_square(cells))) if len(cells) > 1 else exact


def _chi_square(cells: Sequence[tuple[int, float]]) -> float:
    observed, expected = zip(*cells, strict=True)
    scale = sum(observed) / sum(expected)
    return float(chisquare(observed, [one * scale for one in expected]).pvalue)


def multiple_exposure(repeated: int, units: int) -> Check:
    """Count units that saw more than one variant; they are left out, and many of them mean that assignment is broken."""
    share = repeated / (repeated + units) if repeated + units else 0.0
    if not repeated:
        return Check("multiple_exposure", True, "no unit saw more than one variant")
    detail = f"{repeated:,} units ({share:.2%}) saw more than one variant and are left out"
    if share <= REPEATED_SHARE:
        return Check("multiple_exposure", True, detail)
    return Check("multiple_exposure", False, detail + ": look for a changed salt, or visitor ids that are not kept")
