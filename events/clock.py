"""The clock; tests replace it."""

import time

DAY_MS = 86_400_000


def now_ms() -> int:
    """Return the time in milliseconds UTC."""
    return time.time_ns() // 1_000_000
