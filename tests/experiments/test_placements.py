"""The one table of placements: what reads it agrees with it."""

import pytest

from experiments.placements import PLACEMENT_TABLE, is_seen_before, with_tables
from tests.conftest import ROOT


def test_every_placement_has_a_moment_or_says_that_it_has_none() -> None:
    """A placement that is not in the table is an error, never a late one."""
    assert [row.name for row in PLACEMENT_TABLE if is_seen_before(row.name, "cart")] == [
        "below_product", "sidebar", "after_add_to_cart", "announcement_bar",
    ]  # fmt: skip
    assert not is_seen_before("custom:footer", "checkout")
    assert not is_seen_before("announcement_bar", "own-trigger")
    with pytest.raises(KeyError):
        is_seen_before("footer", "cart")


@pytest.mark.parametrize("page", ["declaring.md", "storefront.md"])
def test_the_documented_tables_are_those_of_the_code(page: str) -> None:
    """`python -m experiments.placements docs` has nothing to write."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert "<!-- table: placements -->" in text
    assert with_tables(text) == text
