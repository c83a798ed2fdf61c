"""The dashboard: a second web app, on a loopback port of its own, never the public one. It reads, and changes nothing."""
