"""Backends beyond the two of the specification: found, shown, and judged on their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from parity.backends import NotOffered
from parity.backends.reference import ReferenceBackend
from parity.checks.recorder import PAIR, NotRun
from parity.checks.registry import Check
from parity.gate import run_check

pytestmark = [pytest.mark.parity, pytest.mark.xdist_group("parity")]

_TOYS = """
from parity.backends.reference import ReferenceBackend

class Right(ReferenceBackend):
    name = "right"

class Wrong(ReferenceBackend):
    name = "wrong"

    def evaluate(self, *given):
        outputs = super().evaluate(*given)
        return {**outputs, "amplitude": 1.001 * outputs["amplitude"]}
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Install a distribution with two toys on a path of its own."""
    folder = tmp_path_factory.mktemp("toys")
    (folder / "toys_of_parity.py").write_text(_TOYS, encoding="utf-8")
    info = folder / "toys_of_parity-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys-of-parity\nVersion: 0.1\n")
    lines = ["[ptychopinn.parity]", "right = toys_of_parity:Right", "wrong = toys_of_parity:Wrong"]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = os.pathsep.join([str(folder), *(p for p in sys.path if p)])
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}


def _parity(environment, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "parity", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def test_toys_have_their_columns_and_the_wrong_one_is_red_alone(environment, tmp_path):
    """With both frameworks: nothing that a toy does touches another column."""
    file = tmp_path / "report.json"
    done = _parity(environment, "check", "--id", "F-1", "--json", str(file))
    report = json.loads(file.read_text())
    verdicts = dict(report["checks"][0]["verdicts"])
    if "not-run" in verdicts.values():
        pytest.skip(str(report["checks"][0]["reasons"]))
    assert done.returncode == 1, done.stdout + done.stderr
    assert verdicts == {
        "tensorflow": "pass",
        "pytorch": "pass",
        PAIR: "pass",
        "right": "pass",
        "wrong": "fail",
    }
    for clause in report["clauses"]:
        assert clause["verdicts"] == verdicts
    assert {f["subject"] for f in report["checks"][0]["findings"]} == {"wrong"}
    assert done.stdout.splitlines()[0].split() == ["check", *verdicts]
    assert "--backend wrong" in done.stdout
    assert "--backend tensorflow" not in done.stdout


def test_the_matrix_has_a_column_for_each_backend_that_was_chosen(environment):
    chosen = ["--backend", "wrong", "--backend", "numpy"]
    done = _parity(environment, "matrix", "--id", "12-6", *chosen)
    head, row = (line.split() for line in done.stdout.splitlines()[:2])
    assert head == ["clause", "tensorflow", "pytorch", "numpy", "right", "wrong", PAIR]
    assert row[:7] == ["12-6", "--", "--", "ok", "--", "FAIL", "--"]
    assert done.returncode == 1


def _result(function, *guests):
    check = Check("X-1", "made up", function, frozenset({"backend", "pair"}), framework=False)
    named = {guest.name: guest for guest in guests}
    wings = {"tensorflow": object(), "pytorch": object()}
    result, _ = run_check(check, wings, {}, {}, guests=named)
    assert not result.error, result.error
    return result


def _run(function, *guests):
    verdicts = _result(function, *guests).verdicts
    return {name: (v.status, v.reason) for name, v in verdicts.items()}


def _fine(run):
    for subject in run.backends:
        run.require(subject, True, "")
    if len(run.backends) > 1:
        run.require(PAIR, True, "")


_WINGS = {"tensorflow": ("pass", ""), "pytorch": ("pass", ""), PAIR: ("pass", "")}


def test_what_breaks_on_a_guest_is_a_finding_against_the_guest():
    def breaks(run):
        _fine(run)
        if "numpy" in run.backends:
            raise RuntimeError("on the guest")

    assert _run(breaks, ReferenceBackend()) == {**_WINGS, "numpy": ("fail", "")}


@pytest.mark.parametrize("exception", [NotOffered, NotRun])
def test_what_a_guest_does_not_offer_is_not_run_with_its_reason(exception):
    def lacks(run):
        if "numpy" in run.backends:
            raise exception("no such thing")
        _fine(run)

    assert _run(lacks, ReferenceBackend()) == {**_WINGS, "numpy": ("not-run", "no such thing")}


def test_a_guest_that_fails_before_it_lacks_something_has_failed():
    def both(run):
        _fine(run)
        if "numpy" in run.backends:
            run.fail("numpy", "1 vs 2")
            raise NotOffered("the rest")

    assert _run(both, ReferenceBackend())["numpy"] == ("fail", "")


def test_a_check_that_does_not_look_at_a_guest_gives_it_no_verdict():
    def wings_only(run):
        for subject in ("tensorflow", "pytorch", PAIR):
            run.require(subject, True, "")

    status, reason = _run(wings_only, ReferenceBackend())["numpy"]
    assert (status, "does not look" in reason) == ("not-run", True)


def test_a_guest_cannot_blame_another_column():
    def blames(run):
        _fine(run)
        if "numpy" in run.backends:
            run.fail("tensorflow", "not me")
            run.fail(PAIR, "nor me")

    assert _run(blames, ReferenceBackend()) == {**_WINGS, "numpy": ("pass", "")}
    assert not _result(blames, ReferenceBackend()).findings


def test_what_a_guest_leaves_behind_is_not_seen_by_the_others():
    def shares(run):
        for subject in run.backends:
            run.require(subject, run.once("name", lambda s=subject: s) != "numpy", "not mine")
        run.require(PAIR, True, "")

    verdicts = _run(shares, ReferenceBackend())
    assert (verdicts["tensorflow"][0], verdicts["numpy"][0]) == ("pass", "fail")
