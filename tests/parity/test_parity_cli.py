"""The command line of the gate: exit codes, files, and what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from parity import cli
from parity.checks.recorder import PAIR
from parity.checks.registry import CheckResult, Verdict
from parity.gate import GateReport


@pytest.fixture(autouse=True)
def _environment_kept(monkeypatch):
    monkeypatch.setattr("parity.process.os.environ", dict(os.environ))


def test_list_names_checks(capsys):
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    for name in ("W-1", "F-1", "G-1", "T-1", "A-1", "C-1", "S-1", "I-1"):
        assert f"{name} " in out


def test_a_framework_free_check_writes_the_report(tmp_path, capsys):
    file = tmp_path / "new" / "parity.json"
    assert cli.main(["check", "--id", "C-1", "--json", str(file)]) == 0
    document = json.loads(file.read_text())
    assert document["checks"][0]["verdicts"] == {PAIR: "pass"}
    assert not list(file.parent.glob("*.part"))
    assert "C-1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["check", "--id", "Q-9"], "Q-9"),
        (["check", "--id", "C-1", "--backend", "jax"], "jax"),
        (["layout", "no-such-file.zip"], "no-such-file.zip"),
        (["layout", "a", "b", "c"], "3 archives"),
        (["tolerances", "--seeds", "0"], "--seeds is 0"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments, what, capsys):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert what in error
    assert error.count("\n") == 1


def _made_up(*checks):
    def run_gate(ids=None, backends=None, seed=0, progress=None, **more):
        for result in checks:
            progress(result)
        return GateReport(list(checks))

    return run_gate


def test_a_failure_says_what_where_and_how_to_reproduce(monkeypatch, capsys):
    from parity.checks.recorder import Finding

    red = CheckResult(
        "F-1",
        "made up",
        {"tensorflow": Verdict("pass"), "pytorch": Verdict("fail"), PAIR: Verdict("fail")},
        [Finding("pytorch", "object[B=0, y=1]: 1 vs 2", "N=32"), Finding(PAIR, "1 vs 2", "N=32")],
    )
    monkeypatch.setattr("parity.gate.run_gate", _made_up(red))
    assert cli.main(["check", "--seed", "5"]) == 1
    out = capsys.readouterr().out
    assert "object[B=0, y=1]: 1 vs 2" in out
    assert "in N=32" in out
    assert "parity check --id F-1 --backend pytorch --seed 5" in out
    assert "parity check --id F-1 --seed 5" in out


def test_a_broken_harness_is_exit_2_and_shows_the_trace(monkeypatch, capsys):
    broken = CheckResult("F-1", "made up", {PAIR: Verdict("not-run")}, error="Traceback: here")
    monkeypatch.setattr("parity.gate.run_gate", _made_up(broken))
    assert cli.main(["check"]) == 2
    assert "Traceback: here" in capsys.readouterr().out


def test_help_is_quick_and_loads_no_framework():
    code = (
        "import sys; sys.argv = ['parity', '--help']; from parity import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "assert not {'tensorflow', 'torch', 'numpy', 'rich'} & set(sys.modules), 'too much loaded'"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "check" in done.stdout
    assert time.perf_counter() - start < 5  # half a second where nothing else runs


def test_layout_shows_one_archive_and_compares_two(monkeypatch, capsys):
    trees = {"one": {"a": {"kind": "json"}}, "two": {"a": {"kind": "hdf5"}}}
    monkeypatch.setattr("parity.layout.archive_tree", lambda path, hashes: trees[str(path)])
    assert cli.main(["layout", "one"]) == 0
    assert "kind: json" in capsys.readouterr().out
    assert cli.main(["layout", "one", "one"]) == 0
    assert cli.main(["layout", "one", "two"]) == 1
    assert "a > kind: 'json' vs 'hdf5'" in capsys.readouterr().out


def test_tolerances_fail_where_one_is_exceeded(monkeypatch, capsys):
    from parity.checks.recorder import Measurement
    from parity.ledger import load_tolerances

    name, tolerance = next(iter(load_tolerances().items()))

    def measuring(value):
        def run_gate(ids, backends, seed, progress):
            found = [Measurement(name, value, "F-1", PAIR, "")]
            return GateReport([], found)

        return run_gate

    monkeypatch.setattr("parity.gate.run_gate", measuring(tolerance.value * 2))
    assert cli.main(["tolerances", "--seeds", "1"]) == 1
    assert "exceeded" in capsys.readouterr().out
    monkeypatch.setattr("parity.gate.run_gate", measuring(tolerance.value / 2))
    assert cli.main(["tolerances", "--seeds", "1"]) == 0
