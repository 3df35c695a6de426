"""The import block behind I-1 hides what it should, and tells who asked."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from parity.isolated import Absence, FilteredFinder


@pytest.fixture
def hidden(monkeypatch):
    absence = Absence(frozenset({"colorsys"}))
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    finders = [FilteredFinder(finder, absence) for finder in sys.meta_path]
    monkeypatch.setattr(sys, "meta_path", finders)
    return absence


def test_a_hidden_module_is_absent_and_others_are_not(hidden):
    with pytest.raises(ModuleNotFoundError, match="colorsys"):
        import colorsys  # noqa: F401
    assert importlib.util.find_spec("colorsys") is None
    assert importlib.util.find_spec("json") is not None


def test_only_attempts_of_our_own_code_are_noted(hidden):
    def attempt(module):
        code = "try:\n    import colorsys\nexcept ImportError:\n    pass"
        exec(code, {"__name__": module})

    attempt("scipy.special")
    assert hidden.attempts == []
    attempt("ptycho_torch.training")
    assert set(hidden.attempts) == {"colorsys (from ptycho_torch.training)"}
