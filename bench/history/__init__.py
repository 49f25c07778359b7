"""Histories: every operation of every client as it went, written down at once, and the promises of
docs/guarantees.md, which a pure checker looks for breaches of afterwards."""
