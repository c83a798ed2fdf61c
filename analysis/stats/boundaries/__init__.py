"""How wide an interval must be: for one comparison, for several at once, and for repeated reading."""
