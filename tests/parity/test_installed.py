"""The specifications travel with an installed package."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from parity.spec import parse


@pytest.fixture
def installed(tmp_path, monkeypatch, repository):
    """Return a package folder outside any checkout; another project's specs lie beside it."""
    package = tmp_path / "site-packages" / "parity"
    (package / "spec").mkdir(parents=True)
    (package.parent / "specs").mkdir()
    (package.parent / "specs" / "other.md").write_text("not ours", encoding="utf-8")
    monkeypatch.setattr(parse, "__file__", str(package / "spec" / "parse.py"))
    return package


def test_the_packages_own_folder_is_read(installed, repository):
    shutil.copytree(repository / "specs", installed / "specs")
    assert parse.specification_folder() == installed / "specs"
    assert parse.load_specification().clauses


def test_without_any_the_error_says_what_to_do(installed):
    with pytest.raises(FileNotFoundError, match=r"in a checkout, or install a wheel"):
        parse.load_specification()


@pytest.mark.slow
def test_a_wheel_has_the_specifications_and_no_warning(tmp_path, repository):
    pytest.importorskip("setuptools")
    source = tmp_path / "source"
    folders = ("ptycho", "ptycho_torch", "parity", "specs")
    for name in folders:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repository / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy2(repository / name, source / name)
    built = tmp_path / "built"
    code = f"import setuptools.build_meta as b; b.build_wheel({str(built)!r})"
    built.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "absent from" not in done.stderr
    (wheel,) = built.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "unpacked", "zip")
    found = {path.name for path in (tmp_path / "unpacked" / "parity" / "specs").iterdir()}
    assert found == {path.name for path in Path(repository, "specs").glob("*.md")}
    for name in ("demo/templates/report.html.j2", "report.schema.json", "ledger/floors.toml"):
        assert (tmp_path / "unpacked" / "parity" / name).is_file()
