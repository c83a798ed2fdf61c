"""Reads sums out of a store, through Ibis. No statistics."""
