"""Faults on purpose: a run under them, the history of it, and the checker that judges it."""
