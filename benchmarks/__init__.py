"""Measurements against named alternatives, in one run each; `make bench` writes them to docs/benchmarks.md."""
