"""What every route needs: keys, bodies, cookies, responses, counters."""
