"""Assignment: pinned strings, shares, and who moves when a declaration changes."""

import copy
import json
import pickle
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chi2_contingency

from experiments import Experiment, RequestError, assign, explain
from experiments.assignment.draw import choose, draw, in_layer, in_traffic, scores
from tests.conftest import ROOT

VECTORS = json.loads((ROOT / "tests" / "vectors.json").read_text(encoding="utf-8"))
IDS = [f"visitor-{number}" for number in range(100_000)]


def declare(weights: dict[str, float], **fields: object) -> Experiment:
    """Declare an experiment with arms of these weights, all on no placement."""
    variants = {key: {"weight": weight, "placement": "none"} for key, weight in weights.items()}
    return Experiment.model_validate({"key": "exp", "title": "", "status": "running", "variants": variants, **fields})


@pytest.mark.parametrize("vector", VECTORS["draws"], ids=lambda vector: vector["text"])
def test_draw_is_the_first_53_bits_of_sha256(vector: dict[str, object]) -> None:
    """The numerator over 2^53, to the last bit."""
    assert draw(str(vector["text"])) * 2**53 == vector["numerator"]


@pytest.mark.parametrize("vector", VECTORS["assignments"], ids=lambda vector: f"{vector['salt']}-{vector['unit']}"[:40])
def test_assignments_are_pinned(vector: dict[str, object]) -> None:
    """A visitor keeps the variant in every version of crosslift, on every machine."""
    experiment = declare(vector["weights"], key=vector["salt"], traffic=vector["traffic"])  # type: ignore[arg-type]
    assert assign(experiment, str(vector["unit"])).variant == vector["variant"]


@pytest.mark.parametrize(
    "weights",
    [{"a": 1, "b": 1}, {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1}, {"a": 999, "b": 1}, {"a": 9, "b": 1, "c": 0}],
)
def test_shares_are_the_weights(weights: dict[str, float]) -> None:
    """Of 100,000 visitors each arm's count lies within the binomial interval of its weight."""
    counts = Counter(choose(declare(weights), one) for one in IDS)
    for key, weight in weights.items():
        low, high = binom.interval(1 - 1e-5, len(IDS), weight / sum(weights.values()))
        assert low <= counts[key] <= high, (key, counts)


def test_growing_one_arm_moves_only_who_must_move() -> None:
    """5 x 20% -> 40/15/15/15/15 moves a fifth of the visitors, every one of them into the grown arm."""
    before = declare(dict.fromkeys("abcde", 20.0))
    after = declare({"a": 40.0, "b": 15.0, "c": 15.0, "d": 15.0, "e": 15.0})
    moved = Counter(choose(after, one) for one in IDS if choose(before, one) != choose(after, one))
    assert set(moved) == {"a"}
    assert 0.19 < moved["a"] / len(IDS) < 0.21


weights_of_arms = st.dictionaries(st.sampled_from("abcdef"), st.floats(0.01, 100), min_size=2)


@given(weights_of_arms, st.floats(0.01, 100), st.integers(0, 10**9))
def test_raising_one_weight_only_moves_visitors_into_that_arm(
    weights: dict[str, float], more: float, number: int
) -> None:
    """A visitor who changes variant when one weight rises, changes to that variant."""
    arm = min(weights)
    before, after = (
        choose(declare(weights), f"v{number}"),
        choose(declare({**weights, arm: weights[arm] + more}), f"v{number}"),
    )
    assert after in (before, arm)


@given(weights_of_arms, st.floats(0.01, 100), st.integers(0, 10**9))
def test_an_added_arm_takes_visitors_only_into_itself(weights: dict[str, float], weight: float, number: int) -> None:
    """Nobody is moved between the arms that were there; removing it again moves only its own."""
    before, after = choose(declare(weights), f"v{number}"), choose(declare({**weights, "new": weight}), f"v{number}")
    assert after in (before, "new")


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([0.0, 1.0, 2.0]) | st.floats(0.01, 100), min_size=2),
    st.text(max_size=80) | st.integers(0, 10**9).map("v{}".format),
)
def test_the_choice_is_the_largest_score(weights: dict[str, float], unit_id: str) -> None:
    """Even where hashes are compared in place of scores, since all weights are equal."""
    experiment = declare(weights)
    found = scores(experiment, unit_id)
    assert choose(experiment, unit_id) == max(found, key=found.__getitem__)


def test_what_is_prepared_of_a_declaration_does_not_outlive_it() -> None:
    """A changed copy assigns by what it says itself; copies and pickles are equal to what they were made of."""
    experiment = shop("running")
    given = assign(experiment, "anna").variant
    (other,) = experiment.variants.keys() - {given}
    stopped = experiment.model_copy(update={"variants": {other: experiment.variants[other]}})
    assert assign(stopped, "anna").variant == other
    assert assign(experiment.model_copy(update={"traffic": 0.0}), "anna").reason == "traffic"
    pickled = pickle.loads(pickle.dumps(experiment))  # noqa: S301  it is our own
    for copied in (copy.deepcopy(experiment), copy.copy(experiment), pickled):
        assert copied == experiment
        assert assign(copied, "anna") == assign(experiment, "anna")


@given(weights_of_arms, st.randoms(), st.integers(0, 10**9))
def test_the_order_of_arms_does_not_matter(weights: dict[str, float], dice: object, number: int) -> None:
    """Moving lines about in the YAML moves no visitor."""
    keys = list(weights)
    dice.shuffle(keys)  # type: ignore[attr-defined]
    assert choose(declare({key: weights[key] for key in keys}), f"v{number}") == choose(declare(weights), f"v{number}")


def test_raising_traffic_moves_nobody_who_was_in() -> None:
    """10% -> 50% -> 100%: who was in stays in, with the same variant, and the shares are as declared."""
    found = [
        {one: assign(declare({"a": 1, "b": 1}, traffic=traffic), one).variant for one in IDS}
        for traffic in ("10%", "50%", "100%")
    ]
    for share, variants in zip((0.1, 0.5, 1), found, strict=True):
        inside = sum(variant is not None for variant in variants.values())
        low, high = binom.interval(1 - 1e-5, len(IDS), share)
        assert low <= inside <= high
    for fewer, more in pairwise(found):
        assert all(more[one] == variant for one, variant in fewer.items() if variant is not None)


def test_traffic_does_not_tell_the_variant() -> None:
    """Among those inside 10% of traffic the arms are as even as among all."""
    inside = Counter(
        choose(declare({"a": 1, "b": 1}), one)
        for one in IDS
        if in_traffic(declare({"a": 1, "b": 1}, traffic="10%"), one)
    )
    low, high = binom.interval(1 - 1e-5, inside.total(), 0.5)
    assert low <= inside["a"] <= high


def test_disjoint_layer_ranges_share_nobody() -> None:
    """Every visitor is in exactly one of two experiments that split a layer."""
    first = declare({"a": 1, "b": 1}, layer={"name": "pdp", "from": "0%", "to": "30%"})
    second = declare({"a": 1, "b": 1}, key="second", layer={"name": "pdp", "from": "30%", "to": "100%"})
    both = [(in_layer(first, one), in_layer(second, one)) for one in IDS]
    assert {sum(pair) for pair in both} == {1}
    low, high = binom.interval(1 - 1e-5, len(IDS), 0.3)
    assert low <= sum(pair[0] for pair in both) <= high


def test_experiments_are_independent() -> None:
    """What one experiment gives tells nothing of what another gives, of the holdout, or of its traffic."""
    arms = {"a": 1.0, "b": 2.0, "c": 1.0}
    first, second = declare(arms, key="first"), declare(arms, key="second", traffic="30%")
    pairs: dict[str, list[object]] = {
        "another experiment": [choose(second, one) for one in IDS],
        "its own traffic": [in_traffic(declare(arms, key="first", traffic="30%"), one) for one in IDS],
        "the holdout": [draw(f"holdout:{one}") < 0.1 for one in IDS],
        "a layer": [draw(f"layer:l:{one}") < 0.5 for one in IDS],
    }
    variants = [choose(first, one) for one in IDS]
    for name, other in pairs.items():
        table = Counter(zip(variants, other, strict=True))
        rows = [[table[variant, value] for value in sorted(set(other), key=str)] for variant in arms]
        assert chi2_contingency(rows).pvalue > 1e-4, name


OFFER = {"kind": "cross_sell", "products": ["p"]}


def shop(status: str, **fields: object) -> Experiment:
    """Declare a control that shows something, so that it can be told from nothing."""
    variants = {"now": {"placement": "sidebar", "offer": OFFER}, "new": {"placement": "popup", "offer": OFFER}}
    return declare({}, status=status, variants=variants, **fields)


@pytest.mark.parametrize(
    ("experiment", "context", "holdout", "variant", "placement", "reason"),
    [
        (shop("draft"), {}, 0, None, "none", "draft"),
        (shop("paused"), {}, 0, "now", "sidebar", "paused"),
        (shop("ended"), {}, 0, "now", "sidebar", "ended"),
        (shop("ended", winner="new"), {}, 0, "new", "popup", "ended"),
        (shop("ended", winner="new"), {}, 1, None, "none", "holdout"),
        (shop("running"), {}, 1, None, "none", "holdout"),
        (shop("running", traffic="0%"), {}, 0, None, "sidebar", "traffic"),
        (shop("running", audience={"device": "mobile"}), {"device": "desktop"}, 0, None, "sidebar", "audience"),
        (shop("running", layer={"name": "l", "from": "0%", "to": "0.0001%"}), {}, 0, None, "sidebar", "layer"),
    ],
)  # fmt: skip
def test_who_is_not_in_the_experiment(
    experiment: Experiment, context: dict[str, object], holdout: float, variant: str | None, placement: str, reason: str
) -> None:
    """Outside the experiment the shop looks as it would without it; a holdout sees nothing; nobody of them is exposable."""
    found = assign(experiment, "anna", context, holdout=holdout)
    assert (found.variant, found.placement, found.reason, found.exposable) == (variant, placement, reason, False)


def test_a_missing_unit_is_an_error() -> None:
    """Never a random answer."""
    with pytest.raises(RequestError, match="unit_id: found nothing"):
        assign(shop("running"), "")


@settings(max_examples=200)
@given(
    st.integers(0, 10**6),
    st.sampled_from(["draft", "running", "paused", "ended"]),
    st.sampled_from(["0%", "50%", "100%"]),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([{}, {"device": "mobile"}]),
)
def test_the_explanation_agrees_with_the_assignment(
    number: int, status: str, traffic: str, holdout: float, context: dict[str, object]
) -> None:
    """A running experiment takes exactly the units whose every step passed; the outcome is what assign gives."""
    experiment = shop(status, traffic=traffic, audience={"device": "mobile"})
    steps, outcome = explain(experiment, f"v{number}", context, holdout=holdout)
    assert outcome == assign(experiment, f"v{number}", context, holdout=holdout)
    gates = [step.passed for step in steps if not step.name.startswith("variant.")]
    assert all(gates) == outcome.exposable
    chosen = [step.name.removeprefix("variant.") for step in steps if step.name.startswith("variant.") and step.passed]
    assert not outcome.exposable or chosen == [outcome.variant]
