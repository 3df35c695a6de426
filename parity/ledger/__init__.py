"""Tolerances, noise and declared deviations: data with reasons, read by the checks."""

from __future__ import annotations

from parity.ledger.deviations import Deviation, load_deviations
from parity.ledger.noise import Noise, below_noise, load_noise
from parity.ledger.tolerances import LedgerError, Tolerance, load_tolerances

__all__ = [
    "Deviation",
    "LedgerError",
    "Noise",
    "Tolerance",
    "below_noise",
    "load_deviations",
    "load_noise",
    "load_tolerances",
]
