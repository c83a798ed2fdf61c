"""Files in: exposures, interactions and orders, and a comparison with the shop's own export."""
