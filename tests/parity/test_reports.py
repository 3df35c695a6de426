"""Every report says under which threads, flags and versions its figures came about."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import first_light, gate, machine, memory, network, tracer
from parity import cli, process
from parity.callchain.environment import trace_environment
from parity.checks.recorder import Measurement
from parity.demo import report as demo_report
from parity.diverge.walk import Divergence, Stage, judge_values
from parity.diverge_command import report_json
from parity.gate import GateReport
from parity.ledger import load_noise, load_tolerances
from parity.selftest.run import SelftestReport
from parity.slack import slack_lines, slack_rows

_ROOT = Path(__file__).parents[2]

#: What writes JSON and is no report: values handed from one process to the next, and data.
_NO_REPORTS = {
    "benchmarks/contenders.py": "samples of one contender, for time_to_quality",
    "parity/callchain/golden.py": "golden call chains",
    "parity/callchain/taps.py": "a value at a tap",
    "parity/callchain/worker.py": "traces of one process",
    "parity/checks/clauses_archive.py": "a made-up archive",
    "parity/checks/clauses_cli.py": "printed by a child of a check",
    "parity/checks/clauses_conversion.py": "a made-up archive",
    "parity/checks/clauses_params.py": "printed by a child of a check",
    "parity/checks/clauses_plugin.py": "printed by a child of a check",
    "parity/checks/rows_files.py": "a made-up scan",
    "parity/demo/worker.py": "the training's part of the demo's report",
    "parity/failures.py": "quotes in text",
    "parity/isolated.py": "printed by a child of a check",
    "parity/own_noise.py": "printed by a child of a check",
    "parity/redline/render.py": "what an edit of a text means: nothing is computed",
    "parity/report_file.py": "writes what the others give it",
    "parity/search/cases.py": "a configuration as text",
    "parity/unequipped.py": "printed by a child of a check",
}


def _tolerances(tmp_path, monkeypatch):
    name, entry = next(iter(load_tolerances().items()))
    found = [Measurement(name, entry.value / 2, "F-1", "pair", "")]
    monkeypatch.setattr("parity.gate.run_gate", lambda *given: GateReport([], found))
    assert cli.main(["tolerances", "--seeds", "2", "--json", str(tmp_path / "it.json")]) == 0
    content = json.loads((tmp_path / "it.json").read_text())
    assert content["seeds"] == [0, 1]
    assert (content["rows"][0]["id"], content["rows"][0]["samples"]) == (name, 2)
    return content


def _diverge(tmp_path, monkeypatch):
    stage = judge_values(Stage("wave", ("y",), 1e-6), {"tensorflow": [1.0], "pytorch": [2.0]})
    content = report_json("train", [Divergence("free", [stage])], 7)
    assert (content["seed"], content["first"]["stage"]) == (7, "wave")
    assert content["walks"][0]["stages"][0]["distances"][0]["scale_relative"] == 0.5
    assert report_json("train", [], 7)["first"] is None
    return content


def _check(tmp_path, monkeypatch):
    content = GateReport(seed=3).to_json()
    assert content["seed"] == 3
    return content


def _demo(tmp_path, monkeypatch):
    training = {
        "history": {"loss": [1.0]},
        "train_seconds": 1.0,
        "save_seconds": 1.0,
        "settings": {"torch threads": "2"},
    }
    names = demo_report.BACKENDS
    scores = SimpleNamespace(of={name: {} for name in names}, pair={}, has_reference=True)
    content = demo_report.assemble(
        [], Path("scan.npz"), {"model": {"N": 64}}, dict.fromkeys(names, training), scores, None
    )
    assert all(content["backends"][n]["settings"] == training["settings"] for n in names)
    return content


def _printed(module, arguments, monkeypatch, capsys, **replaced):
    for name, value in replaced.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(sys, "argv", ["it", *arguments])
    assert module.main() == 0
    return capsys.readouterr().out


def _written(module, tmp_path, monkeypatch, **replaced):
    for name, value in replaced.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(sys, "argv", ["it", "--json", str(tmp_path / "it.json")])
    assert module.main() == 0
    return json.loads((tmp_path / "it.json").read_text())


def _of_gate(tmp_path, monkeypatch, capsys):
    replaced = {"seconds": lambda *given: 1.0, "parsing": lambda: 1.0}
    return json.loads(_printed(gate, [], monkeypatch, capsys, **replaced))


def _of_first_light(tmp_path, monkeypatch, capsys):
    replaced = {"equal_epochs": lambda *given: {"loss": 1.0}}
    return json.loads(_printed(first_light, ["equal-epochs"], monkeypatch, capsys, **replaced))


def _of_tracer(tmp_path, monkeypatch, capsys):
    row = {"load": {"ratio": 1.0, "traced": 1.0, "untraced": 1.0}}
    done = SimpleNamespace(stdout=json.dumps(row))
    run = SimpleNamespace(run=lambda *given, **named: done, PIPE=None)
    printed = _printed(tracer, ["load"], monkeypatch, capsys, subprocess=run)
    return json.loads(printed.splitlines()[-1])


def _of_network(tmp_path, monkeypatch, capsys):
    run = SimpleNamespace(run=lambda *given, **named: SimpleNamespace(stdout="{}"), PIPE=None)
    return _written(network, tmp_path, monkeypatch, subprocess=run, line=lambda found: "")


def _of_memory(tmp_path, monkeypatch, capsys):
    replaced = {"write_scan": lambda *given, **named: 1.0, "peaks": lambda *given: {"train": 1.0}}
    return _written(memory, tmp_path, monkeypatch, **replaced)


_REPORTS = {
    "parity/cli.py": _check,
    "parity/tolerances_command.py": _tolerances,
    "parity/diverge_command.py": _diverge,
    "parity/selftest_command.py": lambda *given: SelftestReport().to_json(),
    "parity/trace_commands.py": lambda *given: trace_environment("it", "now", (), {}),
    "parity/demo/report.py": _demo,
    "benchmarks/suite.py": lambda *given: machine.facts(),
    "benchmarks/time_to_quality.py": lambda *given: machine.facts(),
    "benchmarks/gate.py": _of_gate,
    "benchmarks/first_light.py": _of_first_light,
    "benchmarks/tracer.py": _of_tracer,
    "benchmarks/network.py": _of_network,
    "benchmarks/memory.py": _of_memory,
}


def test_every_writer_is_known():
    writes = re.compile(r"\bjson\.dumps?\(|\bwrite_report\(")
    found = {
        str(path.relative_to(_ROOT))
        for folder in ("parity", "benchmarks")
        for path in (_ROOT / folder).rglob("*.py")
        if writes.search(path.read_text(encoding="utf-8"))
    }
    assert found == _REPORTS.keys() | _NO_REPORTS.keys()


@pytest.mark.parametrize("writer", _REPORTS)
def test_a_report_has_the_settings(writer, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    make = _REPORTS[writer]
    given = (tmp_path, monkeypatch)
    content = make(*given, capsys) if make.__name__.startswith("_of_") else make(*given)
    assert content["settings"]["OMP_NUM_THREADS"] == "7"
    assert process.SETTINGS.keys() <= content["settings"].keys()


@pytest.mark.parametrize("writer", ["benchmarks/suite.py", "benchmarks/time_to_quality.py"])
def test_a_benchmark_has_the_settings_of_what_it_measures(writer):
    assert machine.facts(machine.with_threads(5))["settings"]["OMP_NUM_THREADS"] == "5"
    text = (_ROOT / writer).read_text(encoding="utf-8")
    assert re.search(r"\bfacts\((with_threads|of_contenders)\(args.threads\)\)", text)


def test_frameworks_are_asked_only_where_they_are(monkeypatch):
    for name in ("torch", "tensorflow"):
        monkeypatch.setitem(sys.modules, name, None)
    assert process.in_use() == {}
    torch = SimpleNamespace(
        get_num_threads=lambda: 3,
        are_deterministic_algorithms_enabled=lambda: True,
        get_float32_matmul_precision=lambda: "high",
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    used = {
        "torch threads": "3",
        "torch deterministic": "True",
        "torch matmul precision": "high",
    }
    assert process.in_use() == used
    assert used.items() <= process.in_force().items()
    assert "torch threads 3" in process.in_force_line()
    assert not used.keys() & process.in_force({}).keys()


def test_the_table_shows_noise_beside_what_is_measured():
    tolerances, noise = load_tolerances(), load_noise()
    limit, recorded = tolerances["gradient.pair"].value, noise["gradient.pair"].maximum

    def row(*measured, **own):
        found = [Measurement("gradient.pair", value, "G-1", "pair", "") for value in measured]
        found += [Measurement("gradient.pair", v, "T-5", "s", "", True) for v in own.values()]
        (only,) = slack_rows(tolerances, noise, found)
        return only

    assert row(limit / 3.5, noise=recorded).remark == ""
    assert row(limit / 3.5, noise=recorded * 1.1).remark == "above the ledger's noise"
    assert row(limit / 3.5, noise=limit * 1.1).exceeded
    alone = row(noise=recorded)
    assert (alone.to_json()["max"], alone.to_json()["noise_max"]) == (None, recorded)
    assert f"{recorded:.1e}" in slack_lines([alone])[1]
    assert row(float("inf")).to_json()["max"] is None
