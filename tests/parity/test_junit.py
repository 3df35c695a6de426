"""JUnit carries which clauses a check proves."""

from __future__ import annotations

import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from parity.clauses import clauses_by_check
from parity.ledger.bindings import load_bindings
from parity.spec.parse import load_specification


@pytest.mark.parametrize("family", ["xunit1", "xunit2"])
def test_every_case_names_its_clauses_and_verdicts(tmp_path, repository, family):
    file = tmp_path / "junit.xml"
    chosen = ("P-9", "P-12", "model-config/N")
    tests = [f"tests/parity/test_gate_checks.py::test_check[{id}]" for id in chosen]
    options = ["-p", "no:cacheprovider", "-o", f"junit_family={family}", f"--junitxml={file}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "parity", *options, *tests],
        cwd=repository,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cases = ElementTree.parse(file).getroot().findall(".//testcase")
    proved = clauses_by_check(load_specification(), load_bindings())
    assert len(cases) == len(chosen)
    found = {}
    for case in cases:
        properties = [
            (p.get("name"), p.get("value")) for p in case.findall("./properties/property")
        ]
        check = dict(properties)["parity"]
        found[check] = [value for name, value in properties if name == "clause"]
        assert ("tensorflow", "pass") in properties
    assert found == {check: proved[check] for check in chosen}
    assert len(found["P-12"]) > 1
