"""How a client's job ended, and a machine without a framework, for the client's children."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

_BLOCK = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        absent = name.partition(".")[0] in {names!r}
        return None if absent else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def message_of(action) -> str:
    """Return the text that reaches the user of a failed job; the error survives pickling."""
    with pytest.raises(Exception) as caught:
        action()
    # The client hands a child's exception on where it survived the way between the processes.
    original = getattr(caught.value, "child_exception", caught.value)
    assert original is not None, "the child's exception did not survive pickling"
    again = pickle.loads(pickle.dumps(original))
    assert (type(again), str(again)) == (type(original), str(original))
    text = str(original)
    assert text.strip()
    return text


def frameworks_loaded_by(code: str, folder: Path) -> str:
    """Return the set, as text, of frameworks that a process running ``code`` has loaded."""
    told = "print({'tensorflow', 'torch', 'keras', 'lightning'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; {told}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    return done.stdout.strip()


def without(names: tuple[str, ...], folder: Path, monkeypatch) -> None:
    """Let every process started from here on be one in which ``names`` are not installed."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_BLOCK.format(names=names))
    path = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(folder), path))))
