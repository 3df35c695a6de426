"""P-7 to P-12: who changes ``params.cfg``, when, and what importing a module does."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np

from parity.callchain.recorder import first_entries
from parity.callchain.scenario import BackendName, package_of
from parity.checks import child
from parity.checks.observing import doors, everyone, outcome, params_kept, says, tiny_scan
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.facts.static import source_path, syntax_tree
from ptycho import params
from ptycho.cli import train as train_command
from ptycho.config.config import (
    InferenceConfig,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    dataclass_to_legacy_dict,
    update_legacy_dict,
    validate_training_config,
)
from ptycho.config.execution import TRAINING_FIELDS
from ptycho.core.container import PtychoDataContainer
from ptycho.loader import load
from ptycho.probe import get_default_probe, set_probe_guess
from ptycho.raw_data import RawData
from ptycho.workflows.backend_selector import train_cdi_model_with_backend

#: Functions that may change ``params.cfg``, besides those of ``ptycho.params``.
_WRITERS = {
    "ptycho.core.workflow:publish_scales",
    "ptycho.core.workflow:adopt_bundle",
    "ptycho.probe:set_probe_guess",
}
_CHANGING = {"cfg", "set", "restore_defaults"}


def modules_of(package: str) -> Iterator[str]:
    """Yield the names of a package's modules, found in its source, none of them imported."""
    root = source_path(f"{package}.__init__").parent
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_cfg(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Name("params") | ast.Attribute(attr="params"), attr="cfg"):
            return True
    return False


def _harmless(node: ast.AST) -> ast.AST | None:
    """Return what a node takes without being able to change it."""
    match node:
        case ast.Subscript(value=value, ctx=ast.Load()):
            return value
        case ast.Attribute(value=value, attr="get" | "items" | "keys" | "values" | "copy"):
            return value
        case ast.Call(func=ast.Name("dict"), args=[value]):
            return value
        case ast.Call(func=ast.Name("update_legacy_dict"), args=[value, _]):
            return value
    return None


def _changes(code: ast.AST) -> Iterator[str]:
    """Yield the places in which code reaches for ``params.cfg`` other than to read or update."""
    harmless = {id(value) for node in ast.walk(code) if (value := _harmless(node)) is not None}
    for node in ast.walk(code):
        if _is_cfg(node) and id(node) not in harmless:
            yield "params.cfg"
        match node:
            case ast.Attribute(value=ast.Name("params"), attr="set" | "restore_defaults"):
                yield f"params.{node.attr}"
            case ast.ImportFrom(module="ptycho.params", names=names):
                yield from (f"an import of {a.name}" for a in names if a.name in _CHANGING)


@check("P-7", "Nothing else in the packages changes params.cfg", ("backend",), framework=False)
def writers(run: Recorder) -> None:
    """By the source of every module: reading and update_legacy_dict aside, three functions do."""
    found: set[str] = set()
    for package in ("ptycho", "ptycho_torch"):
        for module in modules_of(package):
            source = source_path(module)
            if module == "ptycho.params" or "params" not in source.read_text(encoding="utf-8"):
                continue
            for node in syntax_tree(source).body:
                name = getattr(node, "name", "<module>")
                for how in _changes(node):
                    found.add(f"{module}:{name}")
                    allowed = f"{module}:{name}" in _WRITERS
                    everyone(run, allowed, f"{module}:{name} reaches for {how}", "source")
    everyone(run, found == _WRITERS, f"found {sorted(found)}; expected {sorted(_WRITERS)}", "all")


@check(
    "P-8", "params.cfg stays one dictionary, left alone by readers", ("backend",), framework=False
)
def one_dictionary(run: Recorder) -> None:
    """Loading, grouping, predicting inputs, copies and refusals change no entry."""
    scan = tiny_scan(run.seed)
    with params_kept() as cfg:
        config = TrainingConfig(model=ModelConfig(N=32, gridsize=2), n_groups=4)
        changed = params.cfg
        update_legacy_dict(params.cfg, config)
        params.set("marker", 1)
        set_probe_guess(probe_guess=np.asarray(scan.probeGuess))
        everyone(run, params.get("gridsize") == 2 and cfg["marker"] == 1, "cfg is stale", "update")
        before = {key: id(value) for key, value in cfg.items()}
        with tempfile.TemporaryDirectory() as folder:
            RawData.from_file(scan.to_file(Path(folder) / "scan.npz"))
        load(lambda: scan.generate_grouped_data(32), scan.probeGuess)
        PtychoDataContainer.from_raw(scan, N=32, gridsize=1, n_groups=3, seed=1)
        get_default_probe(32)
        validate_training_config(config)
        dataclass_to_legacy_dict(config)["N"] = 0
        params.params()["N"] = 0
        params.default_cfg()["N"] = 0
        after = {key: id(value) for key, value in cfg.items()}
        lost = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
        everyone(run, not lost, f"changed: {lost}", "readers")
        params.restore_defaults()
        same = params.cfg is changed is cfg
        everyone(run, same and cfg == params.default_cfg(), "it was rebound", "identity")


@check("P-9", "Unset keys raise KeyError unless a default is given", ("backend",), framework=False)
def unset(run: Recorder) -> None:
    """The intensity scale is the one that everybody meets."""
    with params_kept() as cfg:
        for key in ("intensity_scale", "no such key"):
            error = outcome(params.get, key)
            told = says(error, KeyError, key)
            everyone(run, told and key not in cfg, f"{error!r}", key)
            for default in (None, 0.0, 7):
                found = params.get(key, default)
                everyone(
                    run, found is default and key not in cfg, f"{found!r}", f"default {default}"
                )
        cfg["intensity_scale"] = 0.0
        everyone(run, params.get("intensity_scale", 3) == 0.0, "0.0 counts as unset", "set")


# --------------------------------------------------------------------------- handshake


_STEPS = {
    "ptycho.config.config:update_legacy_dict": "configure",
    "ptycho.core.grouping:draw_groups": "group",
    "ptycho.core.container:PtychoDataContainer.from_raw": "contain",
}


class _Ready(Exception):
    """Raised where a training asks for its framework: its data are grouped by then."""


@dataclasses.dataclass
class _Handshake:
    """What ``params.cfg`` held whenever a scan or a framework was asked for, and the order."""

    scan: RawData
    asked: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    order: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        asked = self.asked

        class Watched(RawData):
            @property
            def positions(self) -> Any:
                asked.append(dict(params.cfg))
                return super().positions

        given = self.scan
        self.scan = Watched(
            given.xcoords, given.ycoords, None, None, given.diff3d, given.probeGuess, None
        )

    def watch(self, door: Any, asks: int, job: Callable[[], object]) -> Exception | None:
        """Run ``job`` until it asks for the framework for the ``asks``-th time."""
        calls = itertools.count(1)

        def ready() -> None:
            self.asked.append(dict(params.cfg))
            if next(calls) == asks:
                raise _Ready

        self.asked.clear()
        ended: list[Exception | None] = []
        with params_kept(), mock.patch.object(door, "require_framework", ready):
            entered = first_entries(lambda: ended.append(outcome(job)), _STEPS)
        self.order = [_STEPS[symbol] for symbol in entered]
        return ended[0]


def _grouping_jobs(
    door: Any, scan: RawData, config: TrainingConfig
) -> dict[str, tuple[int, Callable[[], object]]]:
    """Return how often each door asks for the framework before it trains, and a call of it."""
    return {
        "container": (0, lambda: door.create_ptycho_data_container(scan, config)),
        "train": (1, lambda: door.train_cdi_model(scan, scan, config)),
        "example": (1, lambda: door.run_cdi_example(scan, scan, config)),
        "dispatch": (2, lambda: train_cdi_model_with_backend(scan, scan, config)),
    }


@check("P-10", "Configuring comes before grouping", ("backend",), framework=False)
def configured_first(run: Recorder) -> None:
    """By the order of calls, and by what ``params.cfg`` holds when the scan is first asked.

    At every door that groups, called by a program that has configured nothing itself. Trainings go
    as far as their framework; the dispatcher, which asks for it first, has configured by then.
    """
    seen = _Handshake(tiny_scan(run.seed))
    scan = seen.scan
    for subject in run.backends:
        config = TrainingConfig(model=ModelConfig(N=32, gridsize=2), n_groups=5, seed=0)
        config.backend = cast(BackendName, subject)
        wanted = {k: v for k, v in dataclass_to_legacy_dict(config).items() if v is not None}
        door = doors(subject)
        for name, (asks, job) in _grouping_jobs(door, scan, config).items():
            ended = seen.watch(door, asks, job)
            right = isinstance(ended, _Ready) if asks else ended is None
            run.require(subject, right, f"ended with {ended!r}", f"{name}: end")
            order = seen.order
            what = f"entered in the order {order}"
            run.require(subject, order == ["configure", "contain", "group"], what, f"{name}: order")
            held = bool(seen.asked) and all(
                asked.get(k) == v for asked in seen.asked for k, v in wanted.items()
            )
            what = "params.cfg lacked the configuration"
            run.require(subject, held, what, f"{name}: content")


@check("P-11", "Execution settings stay out of params.cfg", ("backend",), framework=False)
def execution_settings(run: Recorder) -> None:
    """None of their own names is a legacy key, no value of the others; the bridge refuses them."""
    names = {field.name for field in dataclasses.fields(PyTorchExecutionConfig)}
    names -= set(TRAINING_FIELDS)
    paths: dict[str, Any] = {"model_path": Path(), "test_data_file": Path()}
    model = ModelConfig()
    for config in (model, TrainingConfig(model=model), InferenceConfig(model=model, **paths)):
        shared = names & set(dataclass_to_legacy_dict(config))
        everyone(run, not shared, f"{sorted(shared)} are legacy keys", type(config).__name__)
    with params_kept() as cfg:
        everyone(run, not names & set(cfg), "they are among the defaults", "params.cfg")
        before = dict(cfg)
        error = outcome(update_legacy_dict, cfg, PyTorchExecutionConfig())
        told = says(error, TypeError, "PyTorchExecutionConfig", "torch_execution_config")
        everyone(run, told and cfg == before, f"{error!r}", "update_legacy_dict")
        flags = ["--backend", "pytorch", "--torch-num-workers", "3", "--torch-accelerator", "cpu"]
        flags += ["--torch-learning-rate", "0.5", "--torch-logger_backend", "csv"]
        job = train_command.read_job(train_command.build_parser().parse_args(flags))
        update_legacy_dict(cfg, job.config)
        given = job.execution is not None and job.execution.num_workers == 3
        left = sorted(k for k in cfg if k in names or k.startswith("torch"))
        everyone(run, given and not left, f"{left} were written", "ptycho_train")
        kept = (cfg["learning_rate"], cfg["logger_backend"])
        everyone(run, kept == (1e-3, "none"), f"{kept} were written", "ptycho_train")


# --------------------------------------------------------------------------- imports

#: Imported one by one in a fresh interpreter; the first five lines of section 1 and their kin.
_LIGHT = (
    "ptycho", "ptycho.config.config", "ptycho.params", "ptycho.raw_data", "ptycho.loader",
    "ptycho.probe", "ptycho.tf_helper", "ptycho.model_manager", "ptycho.workflows.components",
    "ptycho.workflows.backend_selector", "ptycho_torch", "ptycho_torch.model_manager",
    "ptycho_torch.helper", "ptycho_torch.workflows.components",
)  # fmt: skip

_IMPORTING = """
import importlib, json, logging, random, sys
import numpy
written = []
def watch(event, arguments):
    opened = event == "open" and arguments[0] != "/dev/null" and arguments[2]
    if isinstance(opened, int) and opened & 3:
        written.append(str(arguments[0]))
    if event in ("os.mkdir", "os.rename", "os.remove"):
        written.append(event + " " + str(arguments[0]))
sys.dont_write_bytecode = True
sys.addaudithook(watch)
root = logging.getLogger()
def state():
    handlers = [root.handlers[:], root.level, logging.root.manager.disable]
    return repr(handlers), repr(numpy.random.get_state()), random.getstate(), logging.lastResort
found = {}
for name in sys.argv[1:]:
    before, marks = state(), len(written)
    importlib.import_module(name)
    tops = {module.partition(".")[0] for module in sys.modules}
    found[name] = {
        "frameworks": sorted(tops & {"tensorflow", "keras", "torch", "lightning"}),
        "written": written[marks:],
        "changed": [part for part, a, b in zip(
            ("logging", "NumPy's generator", "random", "lastResort"), before, state()) if a != b],
    }
handled = [n for n, l in logging.root.manager.loggerDict.items()
           if n.startswith("ptycho") and getattr(l, "handlers", None)]
print(json.dumps({"modules": found, "handled": handled}))
"""


def _imported(seed: int) -> subprocess.Popen[str]:
    return child.start("-c", _IMPORTING, *_LIGHT)


@check(
    "P-12",
    "Importing loads no framework and leaves no trace",
    ("backend",),
    framework=False,
    prepare=_imported,
)
def imports(run: Recorder) -> None:
    """One module after the other in a fresh interpreter that watches files and global state."""
    outcomes = run.once("P-12", lambda: child.finish(run.prepared(_imported), 300))
    for name, found in outcomes["modules"].items():
        everyone(run, not found["frameworks"], f"loads {found['frameworks']}", name)
        everyone(run, not found["written"], f"writes {found['written']}", name)
        everyone(run, not found["changed"], f"changes {found['changed']}", name)
    handled = outcomes["handled"]
    everyone(run, not handled, f"handlers were added to {handled}", "logging")


#: Calls that a module's own level has no business with, by the last part of their name.
_FORBIDDEN = {
    "seed", "set_seed", "manual_seed", "set_random_seed", "seed_everything", "default_rng",
    "basicConfig", "dictConfig", "addHandler", "setLevel", "captureWarnings", "set_verbosity",
    "open", "mkdir", "makedirs", "touch", "write_text", "write_bytes", "save", "savez", "print",
}  # fmt: skip


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs when a module is imported: everything but the bodies of functions."""
    yield node
    inner = ast.iter_child_nodes(node)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        defaults: list[ast.AST] = list(node.args.defaults)
        inner = iter(defaults + list(getattr(node, "decorator_list", [])))
    for part in inner:
        yield from _at_import(part)


def _calls_at_import(module: str) -> list[str]:
    bad = []
    for node in _at_import(syntax_tree(source_path(module))):
        match node:
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
                bad += [f"{name}() in line {node.lineno}"] if name in _FORBIDDEN else []
    return bad


@check(
    "P-13", "No module seeds, writes or configures at its own level", ("backend",), framework=False
)
def module_level(run: Recorder) -> None:
    """By the source of every module of both packages, those that need a framework included."""
    for subject in run.backends:
        package = package_of(subject)
        for module in {*modules_of("ptycho"), *modules_of(package)}:
            bad = run.once(("P-13", module), partial(_calls_at_import, module))
            run.require(subject, not bad, f"calls {bad} when it is imported", module)
