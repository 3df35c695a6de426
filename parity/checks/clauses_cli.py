"""K: the commands, run in this process or one other, without a framework."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from parity.callchain.scenario import package_of
from parity.checks.observing import everyone, outcome, params_kept, result, says, tiny_scan
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.spec.parse import load_specification
from parity.spec.values import parse_allowed
from ptycho.cli import evaluate, inference, simulate, train
from ptycho.config.config import InferenceConfig, TrainingConfig

#: Commands and where their ``main`` is.
_COMMANDS = {
    "ptycho_train": "ptycho.cli.train",
    "ptycho_inference": "ptycho.cli.inference",
    "python -m ptycho_torch.train": "ptycho_torch.train",
    "python -m ptycho_torch.inference": "ptycho_torch.inference",
    "ptycho_simulate": "ptycho.cli.simulate",
    "ptycho_evaluate": "ptycho.cli.evaluate",
    "ptycho_overlap": "ptycho.cli.overlap",
    "ptycho_demo": "parity.demo.run",
    "parity": "parity.cli",
}

# --------------------------------------------------------------------------- help and errors

_HELPING = """
import contextlib, importlib, io, json, sys
found = {}
for module in sys.argv[1:]:
    row = {}
    for flag in ("--help", "--no_such-flag"):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = importlib.import_module(module).main([flag])
            except SystemExit as stop:
                code = stop.code or 0
        row[flag] = [code, out.getvalue(), err.getvalue()]
    tops = {name.partition(".")[0] for name in sys.modules}
    row["frameworks"] = sorted(tops & {"tensorflow", "keras", "torch", "lightning"})
    found[module] = row
print(json.dumps(found))
"""


def _helped() -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", _HELPING, *_COMMANDS.values()],
        capture_output=True, text=True, env=environment, timeout=300, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@check("K-1", "--help of every command, and a flag that none has", ("backend",), framework=False)
def help_texts(run: Recorder) -> None:
    """All in one fresh interpreter: exit codes, one line of error, no framework."""
    found = run.once("help", _helped)
    for command, module in _COMMANDS.items():
        row = found[module]
        code, out, err = row["--help"]
        shown = code == 0 and command in out and "--" in out and not err
        everyone(run, shown, f"exit code {code}, {out[:60]!r}, {err[:200]!r}", f"{command} --help")
        everyone(run, not row["frameworks"], f"loads {row['frameworks']}", command)
        code, out, err = row["--no_such-flag"]
        told = code == 2 and len(err.splitlines()) == 1 and f"{command}: error: " in err
        everyone(run, told, f"exit code {code}, {err!r}", f"{command} with an unknown flag")


def _called(main: Callable[[Sequence[str]], int], *flags: object) -> tuple[int, str]:
    """Run a command here; return its exit code and what it wrote to standard error."""
    said = io.StringIO()
    with params_kept(), redirect_stderr(said), redirect_stdout(io.StringIO()):
        code = main([str(flag) for flag in flags])
    return code, said.getvalue()


@dataclass
class _Files:
    """Files that commands are given; most are wrong in one way."""

    folder: Path

    def __post_init__(self) -> None:
        tiny_scan(0, 3, 2).to_file(self.folder / "scan.npz")
        (self.folder / "text.npz").write_text("no archive")
        (self.folder / "broken.yaml").write_text("a: [1")
        (self.folder / "unknown.yaml").write_text("batchsize: 3\n")
        (self.folder / "word.yaml").write_text("batch_size: many\n")
        np.savez(self.folder / "partial.npz", xcoords=np.ones(3))

    def __getitem__(self, name: str) -> Path:
        return self.folder / name


def _mistakes(at: _Files) -> list[tuple[Any, list[object], tuple[str, ...]]]:
    """Return (main, flags, words that the error is to say)."""
    out = ["--output_dir", at["out"]]
    data = ["--train_data_file", at["scan.npz"], *out]
    return [
        (train.main, [], ("--train_data_file", "required")),
        (train.main, ["--train_data_file", at["none.npz"]], ("none.npz", "--train_data_file")),
        (train.main, ["--train_data_file", at["text.npz"], *out], ("text.npz", "NPZ")),
        (train.main, ["--train_data_file", at["partial.npz"], *out], ("ycoords", "partial.npz")),
        (train.main, ["--train_data_file", at.folder], (str(at.folder), "directory")),
        (train.main, [*data, "--batch_size", "none"], ("batch", "integer")),
        (train.main, [*data, "--batch_size", "0"], ("batch_size", "0", ">= 1")),
        (train.main, [*data, "--N", "64"], ("N is 64", "32 x 32")),
        (train.main, [*data, "--M", "33"], ("M is 33", "32")),
        (train.main, [*data, "--backend", "jax"], ("backend", "tensorflow")),
        (train.main, [*data, "--bach_size", "3"], ("bach_size", "--batch_size")),
        (train.main, [*data, "--config", at["unknown.yaml"]], ("batchsize", "batch_size")),
        (train.main, [*data, "--config", at["word.yaml"]], ("word.yaml", "many", "integer")),
        (train.main, [*data, "--config", at["broken.yaml"]], ("broken.yaml", "YAML")),
        (train.main, [*data, "--config", at["none.yaml"]], ("none.yaml", "not found")),
        (inference.main, ["--test_data", at["scan.npz"]], ("--model_path", "required")),
        (inference.main, ["--test_data", at["scan.npz"], "--model_path", at["x"]], ("model_path",)),
        (simulate.main, ["--N", "32"], ("--output", "required")),
        (simulate.main, ["--output", at["scan.npz"]], ("scan.npz", "--overwrite")),
        (simulate.main, ["--output", at["new.npz"], "--N", "31"], ("N is 31", "even")),
        (evaluate.main, [at["scan.npz"]], ("--truth", "required")),
        (evaluate.main, ["x", "--truth=y", "--output", at["text.npz"]], ("--output", "directory")),
    ]  # fmt: skip


@check(
    "K-2", "Bad input: exit code 2, one line that says what to do", ("backend",), framework=False
)
def bad_input(run: Recorder) -> None:
    """Wrong flags, files, keys and values; nothing is written; --verbose adds the traceback."""
    with tempfile.TemporaryDirectory() as name:
        files = _Files(Path(name))
        before = sorted(path.name for path in files.folder.iterdir())
        for main, flags, words in _mistakes(files):
            code, said = _called(main, *flags)
            shown = [str(flag).replace(name, "") for flag in flags]
            case = f"{main.__module__} {' '.join(shown)}"
            everyone(run, code == 2, f"exit code {code}: {said[-200:]!r}", case)
            lines = [line for line in said.splitlines() if "error:" in line or "Traceback" in line]
            one = len(lines) == 1 and said.rstrip().endswith(lines[0])
            everyone(run, one and "Traceback" not in said, f"said {said!r}", case)
            everyone(run, all(word in said for word in words), f"{said!r} lacks {words}", case)
        after = sorted(path.name for path in files.folder.iterdir())
        everyone(run, before == after, f"{before} became {after}", "files")
        flags = ["--train_data_file", files["text.npz"], "--verbose"]
        code, said = _called(train.main, *flags)
        holds = code == 2 and "Traceback" in said and said.splitlines()[-1].count("text.npz") == 1
        everyone(run, holds, f"exit code {code}, {said[-300:]!r}", "--verbose")


# --------------------------------------------------------------------------- YAML and flags


@contextmanager
def _yaml(text: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(text, encoding="utf-8")
        yield str(path)


_train_parser = cache(train.build_parser)
_inference_parser = cache(inference.build_parser)


def _parsed(parser: argparse.ArgumentParser, flags: Sequence[str]) -> argparse.Namespace:
    """Return the namespace of ``flags``; where the parser stops, ``ValueError`` with its words."""
    with redirect_stderr(io.StringIO()) as said:
        try:
            return parser.parse_args(flags)
        except SystemExit as stop:
            raise ValueError(f"exit code {stop.code}: {said.getvalue()}") from None


def _training(*flags: str) -> train.Job:
    return train.read_job(_parsed(_train_parser(), flags))


def _inference(*flags: str) -> InferenceConfig:
    given = ("--model_path=m", "--test_data=t", *flags)
    return inference.read_job(_parsed(_inference_parser(), given)).config


def _same(found: Any, wanted: Any) -> bool:
    return type(found) is type(wanted) and bool(found == wanted)


@check(
    "K-3", "Flags win over the YAML file, the file over the default", ("backend",), framework=False
)
def precedence(run: Recorder) -> None:
    """In every section, flat and nested; keys that nobody knows are refused by name."""
    text = "batch_size: 5\nmodel: {gridsize: 2, N: 128}\nprobe_trainable: true\nM: 12\nseed: 0\n"
    with _yaml(text + "torch: {num_workers: 2}\n") as path:
        alone = _training("--config", path)
        flags = ["--batch-size=7", "--gridsize=1", "--M=9", "--no-probe_trainable", "--seed=3"]
        both = _training("--config", path, *flags, "--torch-num-workers", "1")
    neither = _training()
    readings: tuple[tuple[str, Callable[[train.Job], Any], tuple[Any, ...]], ...] = (
        ("batch_size", lambda job: job.config.batch_size, (16, 5, 7)),
        ("gridsize", lambda job: job.config.model.gridsize, (1, 2, 1)),
        ("N", lambda job: job.config.model.N, (64, 128, 128)),
        ("probe_trainable", lambda job: job.config.probe_trainable, (False, True, False)),
        ("M", lambda job: job.options.M, (20, 12, 9)),
        ("seed", lambda job: job.config.seed, (42, 0, 3)),
        ("num_workers", lambda job: job.execution and job.execution.num_workers, (None, 2, 1)),
    )
    for name, read, wanted in readings:
        values = tuple(read(job) for job in (neither, alone, both))
        everyone(run, values == wanted, f"default, file, both: {values}; expected {wanted}", name)
    with _yaml("neighbor_count: 9\nseed: 5\n") as path:
        config = _inference("--config", path, "--seed", "0")
    values = (config.neighbor_count, config.seed)
    everyone(run, values == (9, 0), f"{values}; expected (9, 0)", "ptycho_inference")
    for text in (
        "batchsize: 3\n",
        "model: {gridsiez: 2}\n",
        "frobnicate: 1\n",
        "seed: 1\nSEED: 2\n",
    ):
        with _yaml(text) as path:
            error = outcome(_training, "--config", path)
        word = text.replace("model: {", "").rpartition("\n")[0].split("\n")[-1].partition(":")[0]
        everyone(run, says(error, ValueError, word, "unknown key"), f"{error!r}", text)


@check("K-4", "YAML values are read by the field's type", ("backend",), framework=False)
def typed_values(run: Recorder) -> None:
    """Numbers that YAML takes for text, whole numbers for floats, real booleans, none."""
    for text, name, wanted in (
        ("nphotons: 1e6", "nphotons", 1e6), ("nphotons: 1000000", "nphotons", 1e6),
        ("learning_rate: '5e-4'", "learning_rate", 5e-4),
        ("batch_size: 1e2", "batch_size", 100), ("batch_size: '32'", "batch_size", 32),
        ("n_groups: 64.0", "n_groups", 64),
        ("probe_trainable: true", "probe_trainable", True),
        ("probe_trainable: yes", "probe_trainable", True),
        ("probe_trainable: 'false'", "probe_trainable", False),
        ("intensity_scale_trainable: off", "intensity_scale_trainable", False),
        ("subsample_seed: null", "subsample_seed", None),
        ("gradient_clip_val: none", "gradient_clip_val", None),
        ("gradient_clip_val: 1", "gradient_clip_val", 1.0),
        ("train_data_file: a/b.npz", "train_data_file", Path("a/b.npz")),
    ):  # fmt: skip
        with _yaml(text) as path:
            job = result(run, text, _training, "--config", path)
        found = job and getattr(job.config, name)
        everyone(run, _same(found, wanted), f"{found!r}; expected {wanted!r}", text)
    for text, word in (
        ("batch_size: true", "integer"),
        ("batch_size: 2.5", "integer"),
        ("nphotons: bright", "number"),
        ("nphotons: false", "number"),
        ("probe_trainable: 2", "true or false"),
        ("probe_trainable: maybe", "true or false"),
    ):
        with _yaml(text) as path:
            error = outcome(_training, "--config", path)
        key = text.partition(":")[0]
        everyone(run, says(error, ValueError, key, word, path), f"{error!r}", text)


@check("K-5", "Dashes and underscores of flags are the same", ("backend",), framework=False)
def spellings(run: Recorder) -> None:
    """Every flag of every command in all dashes, all underscores, and mixed."""
    for command, module in _COMMANDS.items():
        parser: argparse.ArgumentParser = importlib.import_module(module).build_parser()
        tried = 0
        for action in parser._actions:  # argparse has no public way to list them
            for flag in action.option_strings:
                if not flag.startswith("--") or flag == "--help":
                    continue
                parts = flag[2:].replace("_", "-").split("-")
                mixed = "".join(p + "-_"[i % 2] for i, p in enumerate(parts))[:-1]
                forms = ["--" + mixed, "--" + "-".join(parts), "--" + "_".join(parts)]
                for form in forms:
                    tried += 1
                    known = _understood(parser, action, form)
                    everyone(run, known, f"{form} is not understood as {flag}", command)
        everyone(run, tried > 0 or command == "parity", "no flags were found", command)


def _understood(parser: argparse.ArgumentParser, action: argparse.Action, form: str) -> bool:
    """Tell whether a parser takes ``form`` for ``action``."""
    taken: list[argparse.Action] = []

    def take(self: Any, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        taken.append(self)

    value = [] if action.nargs == 0 else ["none"]
    free = mock.patch.multiple(action, type=None, choices=None)
    # Arguments that are required stop the parser, but only after this one is taken.
    stopping = suppress(SystemExit)
    quiet = redirect_stderr(io.StringIO())
    with free, mock.patch.object(type(action), "__call__", take), stopping, quiet:
        parser.parse_args([form, *value])
    return taken == [action]


#: A value that no field has by default, by the type of the field in the specification.
_SAMPLES: dict[str, tuple[str, Any]] = {
    "int": ("3", 3),
    "float": ("0.25", 0.25),
    "path": ("some/where", Path("some/where")),
}


def _field_flags(run: Recorder, table: str, prefix: str, read: Callable[..., Any]) -> None:
    """Judge the flag of every field of a table: its value, its type, and what is refused."""
    for row in load_specification().of_table(table):
        name, word = row.cells["Field"], row.cells["Type"]
        if name == "model":
            continue
        flag = f"--{prefix}{name}"
        if word == "bool" and "warn" not in row.cells["Allowed"]:
            for form, switched in ((flag, True), (f"--no-{flag[2:]}", False)):
                found = getattr(result(run, form, read, form), name, None)
                everyone(run, found is switched, f"{form} gives {found!r}", table)
            continue
        choices = parse_allowed(row.cells["Allowed"]).choices or ("text",)
        text, wanted = _SAMPLES.get(word, (choices[-1], choices[-1]))
        if name == "strategy":
            text = wanted = "ddp"
        found = getattr(result(run, flag, read, f"{flag}={text}"), name, None)
        everyone(run, _same(found, wanted), f"{flag}={text} gives {found!r}", table)
        if word in ("int", "float"):
            error = outcome(read, f"{flag}=word")
            told = says(error, ValueError, "exit code 2", "'word'")
            everyone(run, told, f"{flag}=word: {error!r}", table)


@check("K-6", "ptycho_train has a flag for every field", ("backend",), framework=False)
def training_flags(run: Recorder) -> None:
    """Of the model, the training and the PyTorch execution; without flags, the defaults."""
    _field_flags(run, "model-config", "", lambda *flags: _training(*flags).config.model)
    _field_flags(run, "training-config", "", lambda *flags: _training(*flags).config)
    _field_flags(run, "execution-config", "torch-", lambda *flags: _training(*flags).execution)
    config = _training().config
    default = TrainingConfig(model=type(config.model)())
    everyone(run, config == default, f"without flags: {config}", "defaults")
    pytorch = _training("--backend", "pytorch").execution
    fields = {} if pytorch is None else dataclasses.asdict(pytorch)
    rows = load_specification().of_table("execution-config")
    everyone(run, set(fields) == {r.cells["Field"] for r in rows}, f"{sorted(fields)}", "execution")


@check("K-7", "ptycho_inference has a flag for every field", ("backend",), framework=False)
def inference_flags(run: Recorder) -> None:
    """Two of them required; --test_data is short for one."""
    _field_flags(run, "inference-config", "", _inference)
    expected = InferenceConfig(
        model=_inference().model, model_path=Path("m"), test_data_file=Path("t")
    )
    everyone(run, _inference() == expected, f"without more flags: {_inference()}", "defaults")
    for flags, missing in (
        (["--model_path=m"], "test_data_file"),
        (["--test-data=t"], "model_path"),
    ):
        parsed = _inference_parser().parse_args(flags)
        error = outcome(inference.read_job, parsed)
        everyone(run, says(error, ValueError, missing, "required"), f"{error!r}", missing)


@check("K-8", "ptycho_train takes N from the scan", ("backend",), framework=False)
def inferred_side(run: Recorder) -> None:
    """Seen where the configuration is handed to the dispatcher, without training."""
    for subject in run.backends:
        package_of(subject)
        for N in (32, 64):
            with tempfile.TemporaryDirectory() as folder:
                scan = tiny_scan(run.seed, 3, 2, N).to_file(Path(folder) / "scan.npz")
                flags = ["--train_data_file", scan, "--output_dir", Path(folder) / "out"]
                place = "ptycho.workflows.backend_selector.run_cdi_example_with_backend"
                with mock.patch(place, side_effect=ValueError("seen")) as seen:
                    _called(train.main, *flags, "--backend", subject, "--quiet")
            found = [call.args[2].model.N for call in seen.call_args_list]
            run.require(subject, found == [N], f"N was {found}", f"patterns of {N} pixels")
