"""Recorder, canonical form, differences, stages and the static half, without a framework."""

from __future__ import annotations

import copy
import importlib
import itertools
import json
import random
import shutil
import subprocess
import sys
import threading

import jsonschema
import pytest

from parity.callchain.chain import canonical, events_of
from parity.callchain.changes import changes
from parity.callchain.environment import SCHEMA, trace_environment
from parity.callchain.golden import dump, log_update
from parity.callchain.recorder import Call, ChainRecorder
from parity.callchain.stages import (
    misplaced,
    read_stages,
    stage_events,
    unconfigured,
    unrestored,
    untimely_imports,
)
from parity.callchain.symbols import source_functions
from parity.callchain.watching import CFG_READ, CFG_WRITE, watched_params
from parity.cli import main
from parity.spec.parse import load_specification
from ptycho import params

pytestmark = pytest.mark.parity

_TOY = """
import threading

def outer():
    inner()
    for _ in range(3):
        step()
    return 1

def inner():
    [x for x in (1, 2)]

def step():
    try:
        fails()
    except ValueError:
        pass

def fails():
    raise ValueError

def on_thread():
    thread = threading.Thread(target=step)
    thread.start()
    thread.join()

def imports():
    import toy_lazy

def values():
    yield 1
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    folder = tmp_path / "toys"
    folder.mkdir()
    (folder / "toy.py").write_text(_TOY)
    (folder / "toy_lazy.py").write_text("import toy\ntoy.inner()\n")
    monkeypatch.syspath_prepend(str(folder))
    module = importlib.import_module("toy")
    yield module, str(folder)
    for name in ("toy", "toy_lazy"):
        sys.modules.pop(name, None)


def _recorded(toy, name, **given):
    module, folder = toy
    recorder = ChainRecorder([folder], **given)
    with recorder.recording():
        getattr(module, name)()
    return canonical(recorder.chain.calls)


def test_calls_are_a_tree_with_repeats_collapsed(toy):
    step = {"call": "toy:step", "times": 3, "calls": [{"call": "toy:fails"}]}
    expected = {"call": "toy:outer", "calls": [{"call": "toy:inner"}, step]}
    assert _recorded(toy, "outer") == [expected]


def test_calls_of_what_is_not_kept_belong_to_the_caller(toy):
    found = _recorded(toy, "outer", wanted={"toy:outer", "toy:fails"})
    assert found == [{"call": "toy:outer", "calls": [{"call": "toy:fails", "times": 3}]}]


def test_threads_are_recorded_apart(toy):
    found = _recorded(toy, "on_thread")
    step = {"call": "toy:step", "calls": [{"call": "toy:fails"}]}
    assert found == [{"call": "toy:on_thread"}, {"call": "thread", "calls": [step]}]


def test_what_a_module_does_when_imported_is_left_out(toy):
    assert _recorded(toy, "imports") == [{"call": "toy:imports"}]


def test_another_trace_function_is_put_back_and_an_exception_passes(toy):
    def trace(*_):
        return None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with pytest.raises(ValueError):
            _recorded(toy, "fails")
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)
    assert threading.gettrace() is before


_ELSEWHERE = """
import json, sys
sys.path[:0] = [{root!r}, {folder!r}]
import toy
from parity.callchain.chain import canonical
from parity.callchain.recorder import ChainRecorder
found = {{}}
for name in ("outer", "on_thread", "imports", "outer"):
    recorder = ChainRecorder([{folder!r}])
    with recorder.recording():
        getattr(toy, name)()
    found[name] = canonical(recorder.chain.calls)
print(json.dumps(found))
"""


@pytest.mark.parametrize("python", ["python3.12", "python3.13"])
def test_a_newer_python_records_the_same(toy, repository, python):
    program = shutil.which(python)
    if program is None or subprocess.run([program, "-c", ""], check=False).returncode:
        pytest.skip(f"{python} is not here: it records with sys.monitoring")
    code = _ELSEWHERE.format(root=str(repository), folder=toy[1])
    done = subprocess.run([program, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = ("outer", "on_thread", "imports")
    assert json.loads(done.stdout) == {name: _recorded(toy, name) for name in names}


def test_the_observer_sees_what_is_returned(toy):
    seen = []
    _recorded(toy, "outer", observer=lambda *told: seen.append((told[0], *told[2:])))
    assert seen[0] == ("toy:outer", False, None)
    assert seen[-1] == ("toy:outer", True, 1)


def test_params_tell_of_reading_and_writing():
    marks = []
    with watched_params(marks.append) as written:
        params.cfg["N"] = params.cfg.get("N", 64)
        params.cfg.update(gridsize=1)
    assert marks == [CFG_READ, CFG_WRITE, CFG_WRITE]
    assert written == {"N", "gridsize"}
    assert type(params.cfg) is dict


# --------------------------------------------------------------------------- canonical form


def _random_calls(rng, depth=0):
    return [
        Call(rng.choice("abc"), _random_calls(rng, depth + 1) if depth < 2 else [])
        for _ in range(rng.randint(0, 6))
    ]


@pytest.mark.parametrize("seed", range(50))
def test_collapsing_keeps_every_event(seed):
    calls = _random_calls(random.Random(seed))
    plain = [inner.symbol for call in calls for inner in call.walk()]
    assert list(events_of(canonical(calls))) == plain


def test_a_block_that_repeats_is_written_once():
    calls = [Call(symbol) for symbol in "xababaab"]
    found = canonical(calls)
    assert found[1] == {"repeat": 2, "calls": [{"call": "a"}, {"call": "b"}]}


# --------------------------------------------------------------------------- differences

_CHAIN = [
    {"call": "a", "calls": [{"call": "b"}, {"call": "c", "times": 2}]},
    {"call": "d", "calls": [{"call": "e"}]},
]


def _changed(edit):
    chain = copy.deepcopy(_CHAIN)
    edit(chain)
    return [str(change) for change in changes(_CHAIN, chain)]


def test_changes_are_named_by_kind_and_place():
    assert _changed(lambda chain: None) == []
    assert _changed(lambda c: c[0]["calls"].append({"call": "n"})) == ["added n in a"]
    assert _changed(lambda c: c[1].pop("calls")) == ["removed e in d"]
    assert _changed(lambda c: c[0]["calls"][1].update(times=5)) == ["repeated c 2 -> 5 times in a"]
    moved = _changed(lambda c: c[1]["calls"].append(c[0]["calls"].pop(0)))
    assert moved == ["moved b to d in a"]
    swapped = _changed(lambda c: c[0]["calls"].reverse())
    assert len(swapped) == 1
    assert swapped[0].startswith("moved")


def test_a_golden_is_not_replaced_without_a_reason(tmp_path):
    golden = {"chain": _CHAIN, "bodies": {}}
    with pytest.raises(ValueError, match="reason"):
        log_update(tmp_path, "train", " ", golden, golden)
    log_update(tmp_path, "train", "a call more", golden, {"chain": _CHAIN[:1], "bodies": {}})
    (log,) = tmp_path.iterdir()
    assert "| train | a call more | removed d in the scenario |" in log.read_text()
    assert json.loads(dump(golden)) == golden


# --------------------------------------------------------------------------- stages


def _scenarios():
    return {
        row.cells["Scenario"]: read_stages(row.cells["Stages"])
        for row in load_specification().of_table("chains")
    }


def _minimal(expected):
    return [each.stage for each in expected for _ in range(max(1, each.least))]


@pytest.mark.parametrize("scenario", _scenarios())
def test_every_reordering_of_stages_is_caught(scenario):
    expected = _scenarios()[scenario]
    good = _minimal(expected)
    assert misplaced(good, expected) == []
    for i, j in itertools.combinations(range(len(good)), 2):
        bad = list(good)
        bad[i], bad[j] = bad[j], bad[i]
        assert misplaced(bad, expected), f"{i} and {j} exchanged"


@pytest.mark.parametrize("scenario", _scenarios())
def test_a_missing_an_extra_and_a_strange_stage_are_caught(scenario):
    expected = _scenarios()[scenario]
    good = _minimal(expected)
    for each in expected:
        without = [stage for stage in good if stage != each.stage]
        assert bool(misplaced(without, expected)) == (each.least > 0)
        if each.most < 100:
            assert misplaced([*good, *[each.stage] * int(each.most)], expected)
    assert misplaced([*good, "dream"], expected)


def test_ranges_are_read_or_refused():
    read = [(e.stage, e.least, e.most) for e in read_stages("a b? c+ d{2} e{1,3} f{2,}")]
    inf = float("inf")
    assert read == [
        ("a", 1, 1),
        ("b", 0, 1),
        ("c", 1, inf),
        ("d", 2, 2),
        ("e", 1, 3),
        ("f", 2, inf),
    ]
    with pytest.raises(ValueError, match="range"):
        read_stages("a b!")


_CONFIGURE = "ptycho.config.config:update_legacy_dict"


def test_temporal_clauses_see_what_comes_too_early():
    load, adopt, build = "load", "ptycho.core.workflow:adopt_bundle", "build"
    assert unconfigured([_CONFIGURE, load, CFG_READ], [load]) == []
    assert unconfigured([load, _CONFIGURE], [load]) == [load]
    assert unconfigured([CFG_READ, _CONFIGURE], [load]) == [CFG_READ]
    assert unrestored([adopt, build], build) == []
    assert unrestored([build, adopt], build) == [build]
    assert untimely_imports(["decide", "import:torch"], "decide") == []
    assert untimely_imports(["import:torch", "decide"], "decide") == ["import:torch"]


def test_stages_are_found_among_events():
    assert stage_events(["x", "m:f", "y", "m:f"], {"m:f": "load"}) == ["load", "load"]


# --------------------------------------------------------------------------- the static half


def test_bodies_are_hashed_without_lines_and_docstrings(tmp_path):
    def hash_of(text):
        source_functions.cache_clear()
        (tmp_path / "pack").mkdir(exist_ok=True)
        (tmp_path / "pack" / "room.py").write_text(text)
        return source_functions(tmp_path, ("pack",))["pack.room:f"].body

    first = hash_of("def f(x):\n    return x + 1\n")
    assert hash_of('\n\n# more\ndef f(x):\n    """Words."""\n    return x + 1\n') == first
    assert hash_of("def f(x):\n    return x + 2\n") != first
    source_functions.cache_clear()


def test_calls_are_resolved_through_imports():
    functions = source_functions()
    callees = functions["ptycho.workflows.components:train_cdi_model"].callees
    assert callees.index("ptycho.core.workflow:prepare") < callees.index("ptycho.training:train")


def test_the_static_half_needs_no_framework(tmp_path, capsys):
    loaded = {"tensorflow", "torch"} & set(sys.modules)
    assert main(["trace", "save", "--static", "--initiative", "X", "--out", str(tmp_path)]) == 0
    assert {"tensorflow", "torch"} & set(sys.modules) == loaded
    (folder,) = tmp_path.iterdir()
    static = (folder / "callchain" / "static.md").read_text()
    assert "`ptycho.core.bundle:write_bundle`" in static
    assert "skipped: --static" in (folder / "dynamic.txt").read_text()
    environment = json.loads((folder / "env" / "trace_env.json").read_text())
    jsonschema.validate(environment, SCHEMA)
    assert environment["backends"]["pytorch"].startswith("skipped")
    assert str(tmp_path) not in "".join(p.read_text() for p in folder.rglob("*") if p.is_file())
    assert "skipped" in capsys.readouterr().out


def test_the_schema_refuses_what_it_does_not_know():
    environment = trace_environment("X", "2026-01-31T120000Z", ["save"], {"pytorch": ""})
    jsonschema.validate(environment, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**environment, "host": "here"}, SCHEMA)


@pytest.mark.parametrize("flags", [["sing"], ["save", "--initiative", "../up"]])
def test_bad_arguments_are_refused(flags, capsys):
    assert main(["trace", *flags, "--static"]) == 2
    assert "parity: error:" in capsys.readouterr().err
