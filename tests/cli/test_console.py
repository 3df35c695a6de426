"""What commands show of warnings."""

from __future__ import annotations

import warnings

from ptycho.cli.arguments import make_parser
from ptycho.cli.console import run_command
from ptycho.config.deprecation import DeprecatedSetting


def _warn(namespace):
    code = "import warnings; warnings.warn('an array of another package', DeprecationWarning)"
    exec(compile(code, "loader.py", "exec"), {"__name__": "ptycho.core.container"})
    warnings.warn("write this instead", DeprecatedSetting, stacklevel=2)


def test_only_what_is_deprecated_here_is_shown(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # as Python does
        assert run_command(make_parser("command", "A command.", ()), [], _warn) == 0
    shown = capsys.readouterr().err
    assert "warning: write this instead" in shown
    assert "another package" not in shown
