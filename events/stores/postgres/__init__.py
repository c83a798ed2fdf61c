"""The store for several servers."""
