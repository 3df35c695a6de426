"""What this package calls deprecated, told apart from what other packages do."""

from __future__ import annotations

__all__ = ["DeprecatedSetting"]


class DeprecatedSetting(DeprecationWarning):
    """A setting that goes away; the message says what to write instead. Commands show it."""
