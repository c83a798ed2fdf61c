"""
Smaller variance from what was known before the experiment: covariates (CUPED) and strata.

Both give new moments, so that every reading of a comparison works on them as it does on the plain ones.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.stats.comparisons import Undefined
from analysis.stats.moments import Floats, Moments

Arms = Mapping[str, Moments]


def adjusted(arms: Arms) -> dict[str, Moments]:
    """
    Take out of each arm what its units' covariate explains.

    A mean becomes mean(Y - theta (X - mean X over all arms)), with theta = cov(Y, X) / var(X) within the arms, pooled. A
    ratio is adjusted by the ratio of its covariates, with theta from the linearised values and the variance by the delta method.

    Args:
        arms: Moments with one covariate (a mean's) or two (a ratio's numerator and denominator).

    Raises:
        Undefined: The covariate does not vary, or has a denominator of 0 in an arm.

    Source: Deng, Xu, Kohavi, Walker (2013), WSDM; for ratios Deng, Knoblich, Lu (2018), KDD, and their section on CUPED.
    """
    covariates = next(iter(arms.values())).covariates
    if not covariates:
        raise Undefined("nothing is known of the units before their exposure")
    if any(arm.n < 2 for arm in arms.values()):
        raise Undefined("an arm has fewer than 2 units")
    gradients = {key: _gradients(arm) for key, arm in arms.items()}
    own = {key: gradient for key, (gradient, _) in gradients.items()}
    before = {key: gradient for key, (_, gradient) in gradients.items()}
    shared = sum(own[key] @ arm.scatter @ before[key] for key, arm in arms.items())
    spread = sum(before[key] @ arm.scatter @ before[key] for key, arm in arms.items())
    size = sum(before[key] ** 2 @ np.diag(arm.scatter) for key, arm in arms.items())
    if spread <= 1e-12 * size or spread == 0:
        raise Undefined("no unit differs from another in what it did before its exposure")
    theta = float(shared / spread)
    typical = _covariate(_together(arms))
    adjusted_arms = {}
    for key, arm in arms.items():
        gradient = own[key] - theta * before[key]
        variance = max(0.0, float(gradient @ arm.scatter @ gradient)) / (arm.n - 1) / arm.n
        value = arm.without_covariates().value
        if value is None:
            raise Undefined("an arm's denominator is 0")
        adjusted_arms[key] = Moments.of_estimate(arm.n, value - theta * (_covariate(arm) - typical), variance)
    return adjusted_arms


def stratified(strata: Sequence[Arms], sizes: Sequence[int] | None = None) -> dict[str, Moments]:
    """
    Combine strata: the mean of every arm is that of its strata, weighted by their shares of all units.

    So arms whose weights changed are compared within each set of weights only (post-stratification: Cochran, Sampling
    Techniques, 1977, 5A.9). Strata in which an arm has fewer than 2 units are left out. Combine pairs of arms separately, so
    that an arm that was stopped does not cost the others their later data.

    Args:
        strata: Every arm's moments, stratum by stratum.
        sizes: The weights of the strata; by default the units of their arms.

    Returns:
        Moments whose means and variances are the combined ones, over all columns together.
    """
    weights = sizes or [sum(arm.n for arm in stratum.values()) for stratum in strata]
    used = [
        (stratum, size)
        for stratum, size in zip(strata, weights, strict=True)
        if all(arm.n >= 2 for arm in stratum.values())
    ]
    if not used:
        return dict(strata[-1])
    usable = [stratum for stratum, _size in used]
    shares = np.array([size for _stratum, size in used], float) / sum(size for _stratum, size in used)
    combined = {}
    for key, arm in usable[0].items():
        parts = [stratum[key] for stratum in usable]
        n = sum(part.n for part in parts)
        means = np.asarray(sum(share * part.means for share, part in zip(shares, parts, strict=True)))
        covariance = np.asarray(
            sum(share**2 * part.scatter / (part.n * (part.n - 1)) for share, part in zip(shares, parts, strict=True))
        )
        combined[key] = Moments(n, means, covariance * n * (n - 1), arm.covariates)
    return combined


def paired(
    strata: Sequence[Arms], control: str, treatments: Sequence[str]
) -> tuple[dict[str, Moments], dict[str, Moments]]:
    """Return every treatment, and its control, over the strata in which both had units; with one stratum as they are."""
    if len(strata) == 1:
        return dict.fromkeys(treatments, strata[0][control]), {key: strata[0][key] for key in treatments}
    pairs = {
        key: stratified([{control: stratum[control], key: stratum[key]} for stratum in strata]) for key in treatments
    }
    return {key: pair[control] for key, pair in pairs.items()}, {key: pair[key] for key, pair in pairs.items()}


def _gradients(arm: Moments) -> tuple[Floats, Floats]:
    """Return the derivatives of an arm's value, and of its covariate's, by all of its columns' means."""
    own, before = np.zeros(len(arm.means)), np.zeros(len(arm.means))
    metric = len(arm.means) - arm.covariates
    _differentiate(arm.means, own, 0, metric)
    _differentiate(arm.means, before, metric, arm.covariates)
    return own, before


def _differentiate(means: Floats, into: Floats, at: int, columns: int) -> None:
    if columns == 1:
        into[at] = 1.0
        return
    numerator, denominator = means[at : at + 2]
    if denominator == 0:
        raise Undefined("an arm has no orders, or had none before its exposure")
    into[at] = 1 / denominator
    into[at + 1] = -numerator / denominator**2


def _covariate(arm: Moments) -> float:
    before = arm.means[len(arm.means) - arm.covariates :]
    return float(before[0] / before[1]) if arm.covariates == 2 else float(before[0])


def _together(arms: Arms) -> Moments:
    first, *others = arms.values()
    for other in others:
        first = first + other
    return first
