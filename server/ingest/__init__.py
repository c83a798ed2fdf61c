"""Events in: HTTP requests become records, and records are written to the store."""
