"""The dashboard: a second web app on a loopback port of its own. It only reads."""
