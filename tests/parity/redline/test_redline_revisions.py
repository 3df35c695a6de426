"""Where the two texts come from, and what is said where there is none."""

from __future__ import annotations

import os
import subprocess

import pytest

from parity.redline.revisions import (
    RevisionError,
    at_revision,
    in_tree,
    merge_base,
    read_file,
    text_at,
    two_files,
)

NO_GIT = "git is not installed: nothing to compare the text with"
NO_COMMIT = "this is no git repository with a commit: nothing to compare the text with"
NO_TRUNK = "no trunk to find a merge base with: compared with HEAD"


def git(root, *arguments):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(root), "-c", "user.name=A", "-c", "user.email=a@b", *arguments],
        check=True, capture_output=True, text=True, env={**kept, "GIT_CONFIG_GLOBAL": os.devnull},
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "specs" / "more").mkdir(parents=True)
    for name in ("a.md", "b.md", "README.md", "notes.txt", "more/c.md"):
        (tmp_path / "specs" / name).write_text(f"{name} ½\n", encoding="utf-8")
    git(tmp_path, "init", "-q", "-b", "lonely")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "Begin")
    return tmp_path


def test_texts_are_the_markdown_files_of_the_folder_without_its_readme(repository):
    texts = {"a.md": "a.md ½\n", "b.md": "b.md ½\n"}
    tree, head = in_tree(repository), at_revision(repository, "HEAD")
    assert (tree.label, tree.texts) == ("working tree", texts)
    assert (head.label, head.texts) == ("HEAD", texts)
    (repository / "specs" / "a.md").write_text("other\n")
    assert in_tree(repository).texts["a.md"] == "other\n"
    assert at_revision(repository, "HEAD").texts == texts
    assert text_at(repository, "HEAD", "specs/notes.txt") == "notes.txt ½\n"


def test_the_base_is_where_the_branch_left_the_first_trunk_that_there_is(repository):
    assert merge_base(repository) == ("HEAD", NO_TRUNK)
    begin = git(repository, "rev-parse", "HEAD")
    for trunk in ("master", "main"):
        git(repository, "branch", trunk)
        git(repository, "commit", "-q", "--allow-empty", "-m", trunk)
        head = git(repository, "rev-parse", f"{trunk}")
        assert merge_base(repository) == (head, f"merge base with {trunk}, {head[:12]}")
    for trunk in ("origin/master", "origin/main", "origin/HEAD"):
        git(repository, "update-ref", f"refs/remotes/{trunk}", begin)
        assert merge_base(repository) == (begin, f"merge base with {trunk}, {begin[:12]}")


def test_without_git_or_a_commit_there_is_no_base(tmp_path, monkeypatch, capfd):
    assert merge_base(tmp_path) == (None, NO_COMMIT)
    git(tmp_path, "init", "-q")
    assert merge_base(tmp_path) == (None, NO_COMMIT)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert merge_base(tmp_path) == (None, NO_GIT)
    with pytest.raises(RevisionError, match="git cannot be used here .*: give --old and --new"):
        at_revision(tmp_path, "HEAD")
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_read_is_said(repository):
    with pytest.raises(RevisionError, match="'--help' is no git revision: give a commit, tag or"):
        at_revision(repository, "--help")
    wanted = "git has no revision 'no' here .*Not a valid object name no.*: fetch it, or give --old"
    with pytest.raises(RevisionError, match=wanted + " and --new$"):
        at_revision(repository, "no")
    with pytest.raises(RevisionError, match=r"^git cannot show HEAD:specs/no.md: fatal: .*no.md"):
        text_at(repository, "HEAD", "specs/no.md")
    with pytest.raises(RevisionError, match=r"no.md cannot be read: No such file or directory$"):
        read_file(repository / "no.md")
    (repository / "specs" / "bad.md").write_bytes(b"\xff")
    with pytest.raises(RevisionError, match=r"bad.md is not UTF-8 text: .*0xff"):
        in_tree(repository)
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "Bad")
    with pytest.raises(RevisionError, match="git cannot be used here .*0xff"):
        at_revision(repository, "HEAD")


def test_two_files_are_one_text_under_the_name_of_the_newer(tmp_path):
    old, new = tmp_path / "old.md", tmp_path / "new.md"
    old.write_text("1")
    new.write_text("2")
    before, after = two_files(old, new)
    assert (before.label, before.texts) == (str(old), {"new.md": "1"})
    assert (after.label, after.texts) == (str(new), {"new.md": "2"})
