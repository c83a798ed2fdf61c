"""Planning: how many units and days an experiment needs, and A/A tests on the shop's own data."""
