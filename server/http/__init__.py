"""What every route shares: bodies, keys, cookies, errors, CORS, counters."""
