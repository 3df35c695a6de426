"""Symmetric comparison of arrays: neither side is the expected one."""

from __future__ import annotations

from parity.compare.arrays import Comparison, Figure, compare, compare_named, median

__all__ = ["Comparison", "Figure", "compare", "compare_named", "median"]
