"""Files, and a made-up package to hold texts against, so that no line of the project's is cited."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.facts import bounds, flags, members

CONFIG = """\
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass
class Config:
    must: int
    width: int = 2
    mode: str = "a"
    size: Literal["s", "m"] = "s"
    either: int | Literal["auto"] = 4
    share: float | None = None
    place: Path = Path("x")
    names: list = field(default_factory=lambda: [1])


@dataclass
class Flags:
    out_dir: Path = Path("out")
    loud: bool = False


CHOICES = {"mode": ("a", "b")}
KEYS = {"width": "net.w", "mode": "m"}
MORE = {**KEYS, "share": "s"}
FLOOR = 1e-06
NAME = "x"
TOTAL = 2 * 3


def check(config):
    _check_int(config, "width", 1)
    _check_real(config, "share", 0, 1, low_open=True)
    _check_real(config, "either", 0, 9)


class Tool:
    def run(self):
        pass
"""

COMMAND = """\
from madeup.config import Config, Flags, check


def run(data, config=None, *, loud=False):
    pass


def main(parser):
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--count", type=int, default=3)
    Section("files", Flags)
    Section("model", Config, prefix="net")
"""


@pytest.fixture(scope="session")
def madeup(tmp_path_factory: pytest.TempPathFactory):
    """The folder of the package ``madeup``, which can be found and is never imported."""
    root: Path = tmp_path_factory.mktemp("code")
    folder = root / "madeup"
    folder.mkdir()
    for name, text in (("__init__", ""), ("config", CONFIG), ("command", COMMAND)):
        (folder / f"{name}.py").write_text(text)
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(root))
    plain = members.relative

    def relative(path: str) -> str:
        given = Path(path)
        return given.relative_to(root).as_posix() if given.is_relative_to(root) else plain(path)

    # It lies outside the repository; places in it are cited as if it did not.
    patch.setattr(members, "relative", relative)
    # An earlier run in this process had it in another folder.
    for read in (
        members.fields_of, members.entries_of, flags.flags_of, bounds.bounds_of, bounds.choices_of
    ):  # fmt: skip
        read.cache_clear()
    yield folder
    patch.undo()


@pytest.fixture
def write(tmp_path: Path):
    """Return a function that writes texts, by their paths below ``tmp_path``."""

    def written(texts: dict[str, str]) -> None:
        for name, text in texts.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return written
