"""Files that come in: exposures, interactions, orders; and the comparison with the shop's own export."""
