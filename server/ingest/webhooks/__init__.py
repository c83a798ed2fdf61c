"""Orders as shops send them of their own accord: signed, retried, out of order."""
