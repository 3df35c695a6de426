"""The benchmarks' runner: what it writes, and that a missed target is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import resident
from benchmarks.report import apart, table
from benchmarks.rows import Row

ROOT = Path(__file__).parents[2]

#: A row with another target than any machine can meet, judged by the suite's own rules.
_MISSED = """
from benchmarks.rows import Row, Work, measure, missed
row = Row("group", "name", lambda: Work(sum_up, sum_up, lambda: {"megabytes": 3.0}), "itself",
          seconds=1e-12, limits={"megabytes": 2.0}, runs=3)
sum_up = lambda: sum(range(1000))
print(len(missed(row, measure(row))))
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_row_is_measured_beside_its_floor(tmp_path: Path) -> None:
    words = ["--only", "2000 positions, gridsize 2", "--quick", "--output", str(tmp_path)]
    done = run("-m", "benchmarks.suite", *words)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    (found,) = results["rows"].values()
    assert 0 < found["floor_seconds"] < 1
    assert 0 < found["seconds"] < 1
    assert found["peak_mib"] > 10
    assert "one cKDTree query" in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert (tmp_path / "ratios.png").stat().st_size > 1000
    machine = json.dumps(results["machine"])
    assert str(Path.home()) not in machine


def test_every_missed_target_is_counted() -> None:
    assert run("-c", _MISSED).stdout.strip() == "2"


def test_a_failing_row_is_reported_and_ends_with_2(tmp_path: Path) -> None:
    code = (
        "import sys; from benchmarks import suite; from benchmarks.rows import Row;"
        "suite.every_row = lambda: iter([Row('no', 'such row', None, '')]);"
        f"sys.exit(suite.main(['--output', {str(tmp_path)!r}]))"
    )
    done = run("-c", code)
    assert done.returncode == 2
    assert "failed" in done.stdout


def test_rows_measured_together_fail_together_and_once(tmp_path: Path) -> None:
    code = (
        "import sys; from benchmarks import suite; from benchmarks.rows import Row;"
        "rows = [Row('no', name, None, '', together='such case') for name in 'ab'];"
        "suite.every_row = lambda: iter(rows);"
        "original, calls = suite.run, [];"
        "suite.run = lambda *given: calls.append(given) or original(*given);"
        f"found = suite.main(['--output', {str(tmp_path)!r}]); sys.exit(10 * len(calls) + found)"
    )
    done = run("-c", code)
    assert done.returncode == 12
    assert done.stdout.count("failed: ") == 2


def test_an_interrupt_keeps_what_was_measured(tmp_path: Path) -> None:
    code = (
        "import sys; from benchmarks import suite\n"
        "original, calls = suite.run, []\n"
        "def run(*given):\n"
        "    calls.append(given)\n"
        "    if len(calls) > 1: raise KeyboardInterrupt\n"
        "    return original(*given)\n"
        "suite.run = run\n"
        "words = ['--only', '2000 positions', '--quick', '--output', sys.argv[1]]\n"
        "sys.exit(suite.main(words))"
    )
    done = run("-c", code, str(tmp_path))
    assert done.returncode == 130, done.stderr
    assert "interrupted" in done.stderr
    assert len(json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["rows"]) == 1


def test_backends_that_are_too_far_apart_are_missed() -> None:
    keys = [f"train: step, {name}, N=64, gridsize 1, batch 16" for name in ("a", "b")]
    rows = [Row("train", key.removeprefix("train: "), None, "") for key in keys]
    figures = [{"seconds": seconds, "floor_seconds": 1.0, "ratio": 1.0} for seconds in (3.0, 4.0)]
    results: dict[str, Any] = {
        "rows": dict(zip(keys, figures, strict=True)),
        "flat": {},
        "threads": 2,
    }
    machine = {"processor": "", "cores": 2, "memory_gib": 1, "load_average": 0, "python": ""}
    results |= {"threads": 2, "clock": "wall", "machine": {**machine, "packages": {}}}
    results["apart"] = apart(rows, results["rows"])
    assert results["apart"] == {"train: step, N=64, gridsize 1, batch 16": pytest.approx(4 / 3)}
    text, misses, failures = table(rows, results)
    assert (misses, failures) == (1, 0)
    assert "1.33 | <= 1.3 x | | MISSED" in text


def test_the_peak_is_that_of_the_step_alone() -> None:
    held = bytearray(200 << 20)
    del held
    resident.forget_peak()
    before = resident.now()
    assert resident.peak() < before + 20
    held = bytearray(100 << 20)
    del held
    assert 95 < resident.peak() - before < 120
    # More than this process holds, which a new one begins with.
    more = int(resident.now()) + 200
    command = [sys.executable, "-c", f"held = bytearray({more << 20})"]
    assert more < resident.of_command(command) < more + 50
    with pytest.raises(subprocess.CalledProcessError):
        resident.of_command([sys.executable, "-c", "raise SystemExit(3)"])
