"""The tier for editors: no framework, a few seconds, and a report that its schema describes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

import parity
from parity.checks.recorder import Finding
from parity.checks.registry import CheckResult, Verdict
from parity.gate import GateReport
from parity.spec.parse import load_specification, parse_texts, specification_folder

_SCHEMA = json.loads(
    Path(parity.__file__).with_name("report.schema.json").read_text(encoding="utf-8")
)

#: Runs the command line where no framework is installed, as far as the import system can tell.
_BLOCKED = """
import sys
from parity.isolated import FRAMEWORKS, Absence, FilteredFinder
absence = Absence(frozenset().union(*FRAMEWORKS.values()))
sys.meta_path[:] = [FilteredFinder(finder, absence) for finder in sys.meta_path]
from parity import cli
code = cli.main(sys.argv[1:])
assert not absence.names & set(sys.modules), sorted(absence.names & set(sys.modules))
sys.exit(code)
"""


def _child_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="module")
def fast(tmp_path_factory):
    """Run the fast tier once, both frameworks blocked; return process, seconds and report."""
    file = tmp_path_factory.mktemp("fast") / "report.json"
    before = _child_seconds()
    done = subprocess.run(
        [sys.executable, "-c", _BLOCKED, "check", "--fast", "--json", str(file)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        check=False,
    )
    assert file.is_file(), done.stdout + done.stderr
    return done, _child_seconds() - before, json.loads(file.read_text())


def test_it_holds_without_a_framework_and_says_nothing_else(fast):
    done, _, report = fast
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert report["summary"]["exit_code"] == 0
    assert report["summary"]["checks"] > 150


def test_it_takes_seconds(fast):
    """Of processor time; the figure to hold is 5 s (`benchmarks/gate.py`), machines differ."""
    assert fast[1] < 10


def test_its_report_is_as_the_schema_says(fast):
    jsonschema.Draft202012Validator.check_schema(_SCHEMA)
    jsonschema.validate(fast[2], _SCHEMA)
    clauses = fast[2]["clauses"]
    assert {"4.8-3", "D1-1", "model-config/N"} <= {clause["id"] for clause in clauses}
    assert any(clause["level"] == "ROW" for clause in clauses)


def test_every_clause_that_needs_no_framework_has_its_verdict(fast):
    verdicts = {clause["id"]: clause["verdicts"] for clause in fast[2]["clauses"]}
    assert set(verdicts["2.1-1"].values()) == {"pass"}
    assert set(verdicts["12-6"].values()) == {"not-run"}
    assert {"tensorflow", "pytorch", "pair"} == set(verdicts["12-6"])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda report: report.pop("clauses"),
        lambda report: report["clauses"][0].pop("section"),
        lambda report: report["clauses"][0]["verdicts"].pop("pair"),
        lambda report: report["clauses"][0]["verdicts"].update(jax="green"),
        lambda report: report["clauses"][0].update(level="must"),
        lambda report: report["summary"].update(checks=-1),
        lambda report: report["checks"][0].update(seconds="1"),
        lambda report: report.update(surplus=1),
    ],
)
def test_the_schema_refuses_other_reports(fast, spoil):
    report = json.loads(json.dumps(fast[2]))
    spoil(report)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(report, _SCHEMA)


def test_failures_and_third_backends_fit_the_schema():
    verdicts = {"tensorflow": Verdict("fail"), "jax": Verdict("not-run", "install jax")}
    findings = [Finding("tensorflow", "1 vs 2", "N=32")]
    red = CheckResult("F-1", "made up", verdicts, findings, 0.1, 1, "Traceback")
    lines = {"tensorflow": "available", "pytorch": "not selected", "jax": "install jax"}
    jsonschema.validate(GateReport([red], backends=lines).to_json(), _SCHEMA)


def test_the_specifications_are_read_in_a_third_of_a_second():
    texts = {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted(specification_folder().glob("*.md"))
        if path.name != "README.md"
    }
    start = time.process_time()
    spec = parse_texts(texts)
    assert time.process_time() - start < 0.3
    assert spec == load_specification()
