"""Searches over configurations and inputs (needs hypothesis, of the ``test`` extra)."""
