"""Defaults that the environment may name (standard library only)."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["BACKEND_VARIABLE", "from_environment"]

#: Names the backend of configurations that name none.
BACKEND_VARIABLE = "PTYCHO_BACKEND"


def from_environment(variable: str, otherwise: str) -> Any:
    """Return the text of an environment variable, ``otherwise`` where it is unset or empty."""
    return os.environ.get(variable) or otherwise
