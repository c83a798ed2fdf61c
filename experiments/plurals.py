"""Words that go with numbers."""


def plural(n: int, singular: str, several: str = "") -> str:
    """Return the form of a word that goes with a number; an `s` is added unless the other form is named."""
    return singular if n == 1 else several or f"{singular}s"


def count_of(n: int, noun: str) -> str:
    """Return a number with its noun: `1 file`, `2,000 files`."""
    return f"{n:,} {plural(n, noun)}"
