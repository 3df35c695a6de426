"""The command: revisions, formats, reports, exit codes, speed, hook and workflow."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from parity import cli

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
HEAD = "# Demo\n\nVersion: 0.1\n\n## 1. First\n\n"
TEXT = f"{HEAD}- **[1-1]** Work MUST end.\n- **[1-2]** Rest MUST follow.\n"
WEAKER = TEXT.replace("Work MUST", "Work SHOULD")

#: Runs the command line where no framework is installed, as far as the import system can tell.
BLOCKED = """
import sys
from parity.isolated import FRAMEWORKS, Absence, FilteredFinder
absence = Absence(frozenset().union(*FRAMEWORKS.values()))
sys.meta_path[:] = [FilteredFinder(finder, absence) for finder in sys.meta_path]
from parity import cli
code = cli.main(sys.argv[1:])
assert not absence.names & set(sys.modules), sorted(absence.names & set(sys.modules))
sys.exit(code)
"""


def git(root, *arguments):
    identity = {"NAME": "A", "EMAIL": "a@example.org"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    given = {f"GIT_{who}_{k}": v for who in ("AUTHOR", "COMMITTER") for k, v in identity.items()}
    done = subprocess.run(
        ["git", "-C", str(root), "-c", "core.hooksPath=/dev/null", *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**kept, **given, "GIT_CONFIG_GLOBAL": os.devnull},
    )
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path):
    """A repository's folders without git."""
    root = tmp_path / "tree"
    (root / "specs").mkdir(parents=True)
    (root / "parity" / "ledger").mkdir(parents=True)
    (root / "specs" / "demo.md").write_text(TEXT)
    for name in ("redline.toml", "deviations.toml"):
        (root / "parity" / "ledger" / name).write_text("")
    return root


@pytest.fixture
def repository(tree):
    """The same with a commit on main and a branch that starts there."""
    git(tree, "init", "-q", "-b", "main")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "Begin")
    git(tree, "checkout", "-q", "-b", "work")
    return tree


def run(root, *arguments):
    return cli.main(["redline", "--root", str(root), *arguments])


def test_the_working_tree_is_compared_with_the_merge_base(repository, capsys):
    assert run(repository) == 0
    assert "0 semantic changes" in capsys.readouterr().out
    (repository / "specs" / "demo.md").write_text(WEAKER)
    assert run(repository) == 1
    out = capsys.readouterr().out
    assert "merge base with main" in out
    assert "clause-level-lowered  specs/demo.md:7" in out
    git(repository, "commit", "-q", "-am", "Weaker")
    assert run(repository) == 1, "what the branch has committed counts"
    # What others did on main since is not this branch's change.
    git(repository, "checkout", "-q", "main")
    (repository / "specs" / "demo.md").write_text(TEXT.replace("Rest MUST", "Rest MAY"))
    git(repository, "commit", "-q", "-am", "Elsewhere")
    git(repository, "checkout", "-q", "work")
    capsys.readouterr()
    assert run(repository, "--format", "json") == 1
    changes = json.loads(capsys.readouterr().out)["changes"]
    assert [change["id"] for change in changes] == ["1-1"]


def test_without_git_the_text_is_held_against_the_code_alone(tree, capsys):
    assert run(tree) == 0
    out = capsys.readouterr().out
    assert "no git repository" in out
    assert "0 semantic changes" in out
    (tree / "specs" / "demo.md").write_text(TEXT.replace("Work MUST", "`ptycho.zebra` MUST"))
    table = "<!-- table: k kind=keys target=ptycho.config.config:KEY_MAPPINGS -->\n"
    (tree / "specs" / "demo.md").write_text(
        TEXT + "\n" + table + "| Field | Legacy key |\n|---|---|\n| `seed` | `other` |\n"
    )
    assert run(tree) == 1
    assert "ptycho/config/config.py:" in capsys.readouterr().out


def test_without_a_git_program_or_a_commit_it_says_so(tree, capsys, monkeypatch):
    git(tree, "init", "-q", "-b", "main")
    assert run(tree) == 0
    assert "with a commit" in capsys.readouterr().out
    monkeypatch.setenv("PATH", str(tree))
    assert run(tree) == 0
    assert "git is not installed" in capsys.readouterr().out


def test_without_a_trunk_head_is_what_it_is_compared_with(tree, capsys):
    git(tree, "init", "-q", "-b", "lonely")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "Begin")
    (tree / "specs" / "demo.md").write_text(WEAKER)
    assert run(tree) == 1
    assert "compared with HEAD" in capsys.readouterr().out


def test_a_base_without_a_specification_is_nothing_to_compare_with(tree, capsys):
    git(tree, "init", "-q", "-b", "main")
    git(tree, "commit", "-q", "--allow-empty", "-m", "Begin")
    assert run(tree) == 0
    out = capsys.readouterr().out
    assert "no specification there" in out
    assert "0 semantic changes" in out


def test_the_project_may_be_a_folder_of_a_repository(tree, capsys):
    git(tree.parent, "init", "-q", "-b", "main")
    git(tree.parent, "add", ".")
    git(tree.parent, "commit", "-q", "-m", "Begin")
    (tree / "specs" / "demo.md").write_text(WEAKER)
    assert run(tree) == 1
    assert "1 semantic changes" in capsys.readouterr().out


def test_a_base_may_be_any_revision(repository, capsys):
    git(repository, "tag", "v1")
    (repository / "specs" / "demo.md").write_text(WEAKER)
    (repository / "specs" / "more.md").write_text("# More\n\nVersion: 1.0\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "Weaker")
    assert run(repository, "--base", "v1") == 1
    assert run(repository, "--base", "HEAD") == 0
    capsys.readouterr()
    for wrong in ("nowhere", "--output=/tmp/x", "HEAD:specs"):
        assert run(repository, f"--base={wrong}") in (0, 2)
        assert "Traceback" not in capsys.readouterr().err
    assert run(repository, "--base=nowhere") == 2
    assert "--old and --new" in capsys.readouterr().err


def test_two_files_are_two_states_of_one_text(tree, tmp_path, capsys):
    old, new = tmp_path / "before.md", tmp_path / "demo.md"
    old.write_text(TEXT)
    new.write_text(WEAKER)
    assert run(tree, "--old", str(old), "--new", str(new)) == 1
    assert "specs/demo.md:7" in capsys.readouterr().out
    assert run(tree, "--old", str(old), "--new", str(old)) == 0
    capsys.readouterr()
    for arguments, word in (
        (("--old", str(old)), "both or neither"),
        (("--old", str(old), "--new", str(new), "--base", "HEAD"), "one of them"),
        (("--old", str(old), "--new", str(tmp_path / "no.md")), "no.md"),
    ):
        assert run(tree, *arguments) == 2
        assert word in capsys.readouterr().err


def test_a_text_that_is_not_utf8_is_an_error_of_use(tree, tmp_path, capsys):
    bad = tmp_path / "bad.md"
    bad.write_bytes(b"\xff\xfe")
    assert run(tree, "--old", str(bad), "--new", str(bad)) == 2
    assert "UTF-8" in capsys.readouterr().err


def test_json_has_what_tools_need(repository, capsys):
    (repository / "specs" / "demo.md").write_text(WEAKER)
    assert run(repository, "--format", "json") == 1
    document = json.loads(capsys.readouterr().out)
    (change,) = document["changes"]
    assert {"id", "rule", "level", "audience", "old", "new", "impact"} <= set(change)
    assert (change["id"], change["rule"]) == ("1-1", "clause-level-lowered")
    assert (change["level"], change["audience"]) == ("BREAKING", "callers")
    assert (change["old"], change["new"]) == ("MUST", "SHOULD")
    assert document["summary"]["exit_code"] == 1
    assert document["lint"] == []


def test_github_annotates_the_line(repository, capsys):
    (repository / "specs" / "demo.md").write_text(WEAKER)
    assert run(repository, "--format", "github") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("::error file=specs/demo.md,line=7,title=clause-level-lowered::1-1")
    assert all(line.startswith("::") for line in lines)


def test_html_stands_side_by_side_and_escapes_the_text(repository, tmp_path, capsys):
    text = TEXT.replace("Rest MUST follow", "Rest & <b>sleep</b> MUST follow")
    (repository / "specs" / "demo.md").write_text(text)
    page = tmp_path / "out" / "page.html"
    assert run(repository, "--format", "html", "--output", str(page)) == 0
    html = page.read_text()
    assert '<tr class="changed"><td>' in html
    assert "<ins>&amp; &lt;b&gt;sleep&lt;/b&gt;</ins>" in html
    assert "<b>" not in html
    assert "http" not in html
    assert capsys.readouterr().out == ""


def test_reports_have_their_sections_and_are_equal_for_equal_texts(repository, capsys):
    (repository / "specs" / "demo.md").write_text(
        WEAKER.replace("follow.", "follow, see §1.\n- **[1-3]** Play MUST come last.")
    )
    found = []
    for stamp in ("2026-01-31T120000Z", "2026-01-31T120001Z"):
        assert run(repository, "--initiative", "X-1", "--timestamp", stamp, "--phase", "a") == 1
        folder = repository / "plans" / "active" / "X-1" / "reports" / stamp / "phase_a"
        assert sorted(path.name for path in folder.iterdir()) == [
            "spec_delta_notes.md",
            "spec_redline.md",
        ]
        found.append([path.read_bytes() for path in sorted(folder.iterdir())])
    assert found[0] == found[1]
    notes, redline = (data.decode() for data in found[0])
    for heading in ("Observed gaps", "Inventory", "Proposed structure"):
        assert f"\n## {heading}\n" in notes
    assert "| demo.md §1 | 2 | 3 |" in notes
    for heading in (
        "Changes",
        "Lines changed",
        "Before and after",
        "Normative guarantees added",
        "Breaking changes",
        "Validation done",
    ):
        assert f"\n## {heading}\n" in redline
    assert "- **[1-1]** Work MUST end." in redline
    assert "- **[1-1]** Work SHOULD end." in redline
    assert "Rationale: _to be written_" in redline
    assert "Cross-references: §1" in redline
    assert "| demo.md | 0.1 → 0.1 | 3 | 2 |" in redline
    assert "- **1-3** Play MUST come last." in redline
    assert "`clause-level-lowered` 1-1" in redline
    capsys.readouterr()
    assert (
        run(repository, "--initiative", "X-1", "--timestamp", "2026-01-31T120000Z", "--phase", "a")
        == 2
    )
    assert "never overwritten" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../x", "", "/etc", "a/b", "-x"])
def test_reports_stay_in_their_folder(repository, capsys, name):
    assert run(repository, f"--initiative={name}", "--timestamp", "2026-01-31T120000Z") == 2
    assert not (repository / "plans").exists()


def test_a_change_is_accepted_in_the_ledger(repository, capsys):
    (repository / "specs" / "demo.md").write_text(WEAKER.replace("0.1", "0.2"))
    assert run(repository) == 1
    stub = capsys.readouterr().out.partition("to accept:\n")[2].partition("\n\n")[0]
    ledger = repository / "parity" / "ledger" / "redline.toml"
    ledger.write_text(stub)
    assert run(repository) == 0
    assert "accepted: ..." in capsys.readouterr().out
    ledger.write_text(stub.replace("1-1", "1-2"))
    assert run(repository) == 1
    ledger.write_text("[[nonsense]]\n")
    assert run(repository) == 2
    assert "Traceback" not in capsys.readouterr().err


def _seconds(*arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_redline_and_lint_take_less_than_two_seconds_without_a_framework(tmp_path):
    """Of processor time, on the project's own text with a contradiction in it."""
    old = ROOT / "specs" / "ptychodus_api_spec.md"
    new = tmp_path / old.name
    text = old.read_text(encoding="utf-8")
    new.write_text(text.replace("| `nepochs` | int | `50` |", "| `nepochs` | int | `60` |"))
    done, seconds = _seconds("redline", "--old", str(old), "--new", str(new))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 semantic changes" in done.stdout
    assert seconds < 2
    done, seconds = _seconds("lint", "specs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert seconds < 2


def test_the_hooks_refuse_what_the_commands_refuse(repository):
    shutil.copy(ROOT / ".pre-commit-config.yaml", repository)
    (repository / ".venv" / "bin").mkdir(parents=True)
    (repository / ".venv" / "bin" / "parity").write_text(f'#!/bin/sh\nexec {BIN}/parity "$@"\n')
    (repository / ".venv" / "bin" / "parity").chmod(0o755)
    git(repository, "add", ".pre-commit-config.yaml")

    def hook(name):
        git(repository, "add", "specs")
        done = subprocess.run(
            [BIN / "pre-commit", "run", name, "--files", "specs/demo.md"],
            cwd=repository,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PRE_COMMIT_HOME": str(repository.parent / "cache")},
        )
        assert "Skipped" not in done.stdout
        return done.returncode, done.stdout

    assert hook("specs-lint")[0] == hook("specs-redline")[0] == 0
    (repository / "specs" / "demo.md").write_text(WEAKER + "\nSee §7.\n")
    code, out = hook("specs-lint")
    assert code == 1
    assert "demo.md has no section 7" in out
    code, out = hook("specs-redline")
    assert code == 1
    assert "clause-level-lowered" in out


def test_the_workflow_annotates_a_pull_request(repository):
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "specs.yml").read_text())
    steps = {step.get("name"): step for step in workflow["jobs"]["redline"]["steps"]}
    checkout = workflow["jobs"]["redline"]["steps"][0]
    assert checkout["with"]["fetch-depth"] == 0, "without history there is no merge base"
    base = git(repository, "rev-parse", "main")
    (repository / "specs" / "demo.md").write_text(WEAKER)
    git(repository, "commit", "-q", "-am", "Weaker")
    codes = {}
    for name in ("lint", "redline"):
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", steps[name]["run"]],
            cwd=repository,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "BASE": base, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        )
        codes[name] = done.returncode, done.stdout
    assert codes["lint"] == (0, "")
    assert codes["redline"][0] == 1
    assert "::error file=specs/demo.md,line=7," in codes["redline"][1]
    assert "github.event.pull_request.base.sha" in steps["redline"]["env"]["BASE"]


def test_continuous_integration_runs_both():
    script = (ROOT / ".ci" / "run").read_text()
    assert "run make specs\n" in script
    # The suite itself runs under make, which tells its children so, ARGS included.
    theirs = ("MAKE", "MFLAGS", "ARGS")
    apart = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    done = subprocess.run(
        ["make", "-n", "specs"], cwd=ROOT, env=apart, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-3:] == [
        ".venv/bin/parity lint specs",
        ".venv/bin/parity tolerances --history",
        ".venv/bin/parity redline ",
    ]
