"""Importing TensorFlow: its start-up messages are kept back, everything else is not."""

import os
import subprocess
import sys
import types

import pytest

from ptycho import tensorflow_import

_NOTES = (
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    b"I0000 00:00:1795569459.041367   23348 port.cc:153] oneDNN custom operations are on.\n"
)
_TROUBLE = b"E0000 00:00:1795569459.041367   23348 loader.cc:9] no such library\nsomething else\n"


def _importing(monkeypatch, error=None):
    keras = types.SimpleNamespace(
        __version__="3.9", backend=types.SimpleNamespace(backend=lambda: "tensorflow")
    )

    def import_module(name):
        if name == "keras":
            return keras
        os.write(2, _NOTES + _TROUBLE)
        if error is not None:
            raise error
        return types.SimpleNamespace()

    monkeypatch.setattr(tensorflow_import.importlib, "import_module", import_module)


@pytest.mark.parametrize(("level", "kept"), [("0", _NOTES + _TROUBLE), ("3", _TROUBLE)])
def test_only_start_up_notes_are_kept_back(monkeypatch, capfd, level, kept):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    _importing(monkeypatch)
    tensorflow_import.require_tensorflow()
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err.encode() == kept + b"afterwards\n"


def test_a_failing_import_says_what_it_wrote(monkeypatch, capfd):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    _importing(monkeypatch, ImportError("no tensorflow"))
    with pytest.raises(RuntimeError, match="no tensorflow"):
        tensorflow_import.require_tensorflow()
    assert capfd.readouterr().err.encode() == _TROUBLE


@pytest.mark.parametrize("close", ["", "import os; os.close(2)\n"])
def test_the_real_import_is_silent(close):
    code = (
        f"{close}from ptycho.tensorflow_import import require_tensorflow\n"
        "require_tensorflow().config.list_physical_devices()"
    )
    given = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=given, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
