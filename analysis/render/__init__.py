"""The report as people read it: terminal, HTML, charts. No statistics."""
