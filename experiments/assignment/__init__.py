"""Who gets what: draws, audiences, offers, the holdout, tokens. Pure and the same on every machine."""
