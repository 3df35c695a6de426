"""The one place that imports torch and Lightning for the door modules, with clear errors."""

from __future__ import annotations

import importlib
import re
from types import ModuleType

_OLDEST = (2, 2)
_INSTALL = "install with: pip install 'torch>=2.2' lightning"


def require_torch() -> ModuleType:
    """Import and return torch.

    Raises ``RuntimeError`` where torch or Lightning is not usable, or torch is older than 2.2,
    and says what to install.
    """
    try:
        torch = importlib.import_module("torch")
        importlib.import_module("lightning.pytorch")
    except (ImportError, OSError) as error:
        raise RuntimeError(
            f"PyTorch backend selected, but it cannot be imported ({error}); {_INSTALL}"
        ) from error
    found = tuple(int(number) for number in re.findall(r"\d+", torch.__version__)[:2])
    if found < _OLDEST:
        raise RuntimeError(
            f"PyTorch backend selected, but torch {torch.__version__} is too old; {_INSTALL}"
        )
    return torch
