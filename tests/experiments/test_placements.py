"""The one table of placements: what reads it agrees with it."""

import pytest

from experiments.placements import PLACEMENT_TABLE, is_seen_before


def test_every_placement_has_a_moment_or_says_that_it_has_none() -> None:
    """A placement that is not in the table is an error, never a late one."""
    assert [row.name for row in PLACEMENT_TABLE if is_seen_before(row.name, "cart")] == [
        "below_product", "sidebar", "after_add_to_cart", "announcement_bar",
    ]  # fmt: skip
    assert not is_seen_before("custom:footer", "checkout")
    assert not is_seen_before("announcement_bar", "own-trigger")
    with pytest.raises(KeyError):
        is_seen_before("footer", "cart")
