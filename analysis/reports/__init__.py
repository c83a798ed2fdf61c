"""From what was read to the report: lifts, trust checks, verdict."""
