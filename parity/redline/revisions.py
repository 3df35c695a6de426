"""The texts of the specification at two revisions, from git or from files."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

#: Branches from which work starts, in order of preference.
_TRUNKS = ("origin/HEAD", "origin/main", "origin/master", "main", "master")
_FOLDER = "specs"


class RevisionError(ValueError):
    """A revision or a file cannot be read; the message says what to do."""


@dataclass(frozen=True)
class Texts:
    """Names and contents of one side, and what to call it."""

    label: str
    texts: dict[str, str]


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=False, encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise RevisionError(f"git cannot be used here ({error}): give --old and --new") from error


def merge_base(root: Path) -> tuple[str | None, str]:
    """Return the revision from which the working tree's branch started, and a remark.

    Without git, without a commit or without a trunk there is none, and the remark says so.
    """
    try:
        inside = _git(root, "rev-parse", "HEAD^{commit}")
    except RevisionError:
        return None, "git is not installed: nothing to compare the text with"
    if inside.returncode:
        return None, "this is no git repository with a commit: nothing to compare the text with"
    for trunk in _TRUNKS:
        found = _git(root, "merge-base", "HEAD", trunk)
        if found.returncode == 0:
            revision = found.stdout.strip()
            return revision, f"merge base with {trunk}, {revision[:12]}"
    return "HEAD", "no trunk to find a merge base with: compared with HEAD"


def at_revision(root: Path, revision: str) -> Texts:
    """Return the specification at a git revision.

    Raises :class:`RevisionError` where git or the revision is missing.
    """
    if revision.startswith("-"):
        raise RevisionError(f"{revision!r} is no git revision: give a commit, tag or branch")
    listed = _git(root, "ls-tree", "--name-only", "-z", revision, f"{_FOLDER}/")
    if listed.returncode:
        raise RevisionError(
            f"git has no revision {revision!r} here ({listed.stderr.strip()}): fetch it, or give "
            "--old and --new"
        )
    texts = {}
    for path in sorted(filter(None, listed.stdout.split("\0"))):
        name = Path(path).name
        if name.endswith(".md") and name != "README.md":
            texts[name] = text_at(root, revision, path)
    return Texts(revision, texts)


def text_at(root: Path, revision: str, path: str) -> str:
    """Return a file's text at a git revision; :class:`RevisionError` where it has none."""
    shown = _git(root, "show", f"{revision}:./{path}")
    if shown.returncode:
        raise RevisionError(f"git cannot show {revision}:{path}: {shown.stderr.strip()}")
    return shown.stdout


def in_tree(root: Path) -> Texts:
    """Return the specification as it stands in the working tree."""
    paths = sorted((root / _FOLDER).glob("*.md"))
    return Texts("working tree", {p.name: read_file(p) for p in paths if p.name != "README.md"})


def read_file(path: Path) -> str:
    """Return a text; :class:`RevisionError` where it is not UTF-8 or not there."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RevisionError(f"{path} is not UTF-8 text: {error}") from error
    except OSError as error:
        raise RevisionError(f"{path} cannot be read: {error.strerror}") from error


def two_files(old: Path, new: Path) -> tuple[Texts, Texts]:
    """Return two files as two states of one text, called by the newer one's name."""
    return (
        Texts(str(old), {new.name: read_file(old)}),
        Texts(str(new), {new.name: read_file(new)}),
    )
