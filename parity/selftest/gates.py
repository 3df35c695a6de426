"""Running the gate on a tree, in a process of its own, and reading what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from parity import process

__all__ = ["Outcome", "run_gate_on"]

_TIMEOUT_SECONDS = 900
_CHAINS = "tests/parity/test_golden_chains.py"


@dataclass(frozen=True)
class Outcome:
    """What a gate said of a tree.

    ``red`` maps checks to the subjects whose verdict is red (all where the check broke),
    ``findings`` to what was found; ``clauses`` are the red ones, ``known`` the checks that ran.
    ``said`` is the end of the output.
    """

    exit_code: int
    red: Mapping[str, tuple[str, ...]]
    findings: Mapping[str, tuple[str, ...]]
    clauses: frozenset[str]
    said: str
    known: frozenset[str] = frozenset()


def _run(tree: Path, arguments: Sequence[str]) -> tuple[int, str]:
    settings = {**process.SETTINGS, **os.environ, "PYTHONPATH": str(tree)}
    settings.pop("PARITY_GOLDEN_REASON", None)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_SECONDS,
    )
    return done.returncode, (done.stdout + done.stderr)[-2000:]


def _of_report(code: int, said: str, file: Path) -> Outcome:
    if not file.exists():
        return Outcome(code, {}, {}, frozenset(), said)
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    red, findings = {}, {}
    for check in report["checks"]:
        verdicts = check["verdicts"].items()
        subjects = [name for name, status in verdicts if status == "fail" or check["error"]]
        if subjects or check["error"]:
            red[check["id"]] = tuple(sorted(subjects))
            whats = [finding["what"] for finding in check["findings"]]
            whats += [*check["reasons"].values(), check["error"]]
            findings[check["id"]] = tuple(what for what in whats if what)
    clauses = {
        clause["id"]
        for clause in report["clauses"]
        if {"fail", "unbound", "suspect"} & set(clause["verdicts"].values())
    }
    known = frozenset(check["id"] for check in report["checks"])
    return Outcome(code, red, findings, frozenset(clauses), said, known)


def _of_junit(code: int, said: str, file: Path) -> Outcome:
    red, findings, known = {}, {}, set()
    cases = ElementTree.parse(file).iter("testcase") if file.exists() else ()
    for case in cases:
        name = case.get("name", "")
        known.add(name)
        wrong = [*case.findall("failure"), *case.findall("error"), *case.findall("skipped")]
        if wrong:
            red[name] = tuple(b for b in ("tensorflow", "pytorch") if f"-{b}]" in name)
            findings[name] = tuple(f"{e.get('message', '')}\n{e.text or ''}" for e in wrong)
    return Outcome(code, red, findings, frozenset(), said, frozenset(known))


def run_gate_on(tree: Path, gate: str, checks: Sequence[str] = ()) -> Outcome:
    """Run ``gate`` (of ``defects.GATES``) on a tree; ``checks`` are those of ``checks``."""
    with tempfile.TemporaryDirectory() as folder:
        if gate == "chains":
            file = Path(folder) / "report.xml"
            options = ["-q", "-p", "no:cacheprovider", f"--junitxml={file}"]
            code, said = _run(tree, ["-m", "pytest", _CHAINS, *options])
            return _of_junit(code, said, file)
        file = Path(folder) / "report.json"
        chosen = ["--fast"] if gate == "fast" else [f"--id={check}" for check in checks]
        code, said = _run(tree, ["-m", "parity", "check", "--json", str(file), *chosen])
        return _of_report(code, said, file)
