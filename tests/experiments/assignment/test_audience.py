"""Conditions over a visitor's context."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.assignment.audience import meets, prepare
from experiments.declarations.conditions import first_failing, holds
from experiments.declarations.model import Condition


def condition(**fields: object) -> Condition:
    return Condition.model_validate({name.rstrip("_"): value for name, value in fields.items()})


@pytest.mark.parametrize(
    ("wanted", "value", "expected"),
    [
        (condition(is_="b2c"), "b2c", True), (condition(is_="b2c"), "b2b", False), (condition(is_="b2c"), None, False),
        (condition(is_=1), 1.0, True), (condition(is_=1), True, False), (condition(is_=1), "1", False),
        (condition(is_=True), True, True), (condition(is_=True), 1, False), (condition(is_=False), False, True),
        (condition(not_="x"), "y", True), (condition(not_="x"), "x", False), (condition(not_="x"), None, False),
        (condition(in_=["a", 2]), 2, True), (condition(in_=["a", 2]), "b", False),
        (condition(not_in=["a"]), "b", True), (condition(not_in=["a"]), "a", False),
        (condition(at_least=20), 20, True), (condition(at_least=20), 19.99, False), (condition(at_least=20), "25", False),
        (condition(at_least=0), True, False), (condition(at_most=5), 5, True), (condition(at_least=1, at_most=5), 6, False),
        (condition(exists=True), "", True), (condition(exists=True), None, False),
        (condition(exists=False), None, True), (condition(exists=False), 0, False),
        (condition(in_=["a"]), ["a"], False), (condition(at_most=5), {"x": 1}, False),
    ],
)  # fmt: skip
def test_a_condition_holds_or_not(wanted: Condition, value: object, expected: bool) -> None:
    """Text, numbers and truth are never taken for one another; what is missing meets only `exists: false`."""
    assert holds(wanted, "name", {} if value is None else {"name": value}) is expected


def test_all_conditions_must_hold() -> None:
    """The first that fails is named."""
    audience = {"a": condition(is_=1), "b": condition(is_=2)}
    assert first_failing(audience, {"a": 1, "b": 2}) is None
    assert first_failing(audience, {"a": 1}) == "b"


values = st.sampled_from(["a", "b", "", 1, 1.0, 0, True, False, None, 2.5, ["a"], {"a": 1}])
scalars = st.sampled_from(["a", "b", "", 1, 0, True, False, 2.5])
conditions = st.fixed_dictionaries(
    {},
    optional={
        "is": scalars,
        "not": scalars,
        "in": st.lists(scalars, min_size=1),
        "not_in": st.lists(scalars, min_size=1),
        "at_least": st.sampled_from([0, 2]),
        "exists": st.booleans(),
    },
).filter(bool)


@given(st.dictionaries(st.sampled_from("xyz"), conditions), st.dictionaries(st.sampled_from("xyz"), values))
def test_prepared_conditions_hold_where_the_declared_ones_do(
    declared: dict[str, dict[str, object]], context: dict[str, object]
) -> None:
    """Whatever is asked for, and whatever a context holds."""
    audience = {key: Condition.model_validate(one) for key, one in declared.items()}
    assert meets(prepare(audience), context) is (first_failing(audience, context) is None)
