"""Before the start: how many units, how long, and do the shop's own data cry wolf."""
