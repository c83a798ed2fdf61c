"""What must hold before a result may be believed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scipy.stats import chisquare

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


def sample_ratio(units: Mapping[str, int], weights: Mapping[str, float]) -> Check:
    """
    Hold the units per variant against the declared weights.

    Args:
        units: Exposed units by variant.
        weights: Declared weights by variant; an arm of weight 0 takes no part, and leaves the degrees of freedom.

    Source: Fabijan et al. (2019), KDD, on sample ratio mismatch; Pearson's chi-square at .001.
    """
    counted = {key: units[key] for key, weight in weights.items() if weight > 0}
    total, whole = sum(counted.values()), sum(weights[key] for key in counted)
    shares = ", ".join(f"{key} {count:,}" for key, count in counted.items())
    strays = [key for key, count in units.items() if count and not weights.get(key)]
    if strays:
        return Check("sample_ratio", False, f"units in arms of weight 0: {', '.join(strays)}")
    expected = [weights[key] / whole * total for key in counted]
    if len(counted) < 2 or min(expected) < 5:
        return Check("sample_ratio", None, f"{shares}: too few units, or too few arms, to tell")
    p_value = float(chisquare(list(counted.values()), expected).pvalue)
    if p_value >= SAMPLE_RATIO_ALPHA:
        return Check("sample_ratio", True, f"{shares}: as the weights say", p_value)
    lacking = min(counted, key=lambda key: counted[key] / weights[key])
    detail = f"{shares}: not as the weights say. {lacking} has the fewest for its weight: were exposures lost there?"
    return Check("sample_ratio", False, detail, p_value)


def multiple_exposure(repeated: int, units: int) -> Check:
    """Count units that saw more than one variant; they are left out, and many of them mean that assignment is broken."""
    share = repeated / (repeated + units) if repeated + units else 0.0
    if not repeated:
        return Check("multiple_exposure", True, "no unit saw more than one variant")
    detail = f"{repeated:,} units ({share:.2%}) saw more than one variant and are left out"
    if share <= REPEATED_SHARE:
        return Check("multiple_exposure", True, detail)
    return Check("multiple_exposure", False, detail + ": look for a changed salt, or visitor ids that are not kept")
