"""Where events are kept: one contract, on SQLite and on PostgreSQL."""
