"""Tolerances and declared deviations: data with reasons, read by the checks."""

from __future__ import annotations

from parity.ledger.deviations import Deviation, load_deviations
from parity.ledger.tolerances import LedgerError, Tolerance, load_tolerances

__all__ = ["Deviation", "LedgerError", "Tolerance", "load_deviations", "load_tolerances"]
