"""K-10 to K-14: what commands say of flags, and PyTorch's own commands beside the common ones."""

from __future__ import annotations

import argparse
import dataclasses
import io
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from parity.checks.observing import everyone, messages, params_kept, tiny_scan
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.scenes import written_bundle
from parity.spec.parse import load_specification
from ptycho.cli import inference, simulate, train
from ptycho.config.config import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.raw_data import RawData
from ptycho_torch import inference as torch_inference
from ptycho_torch import train as torch_train

#: Where both training commands come to; raising there ends the command before any work.
_PLACE = "ptycho.workflows.backend_selector.run_cdi_example_with_backend"


def _said(main: Callable[[Sequence[str]], int], *flags: object) -> tuple[str, Any]:
    """Return what a training command says, and the arguments it hands to the dispatcher."""
    shown = io.StringIO()
    seen = mock.Mock(side_effect=ValueError("seen"))
    with params_kept(), mock.patch(_PLACE, seen), redirect_stderr(shown), redirect_stdout(shown):
        main([str(flag) for flag in flags])
    return shown.getvalue(), seen.call_args


def _scan(run: Recorder, folder: str) -> Path:
    return tiny_scan(run.seed, 3, 2, 32).to_file(Path(folder) / "scan.npz")


@check("K-10", "Commands say what is deprecated, and obey it", ("backend",), framework=False)
def deprecated(run: Recorder) -> None:
    """n_images as flag and in YAML; device and disable_mlflow, alone and outdone; --quiet."""
    with tempfile.TemporaryDirectory() as folder:
        scan = _scan(run, folder)
        files: list[Any] = ["--train_data_file", scan, "--output_dir", Path(folder) / "out"]
        yaml = Path(folder) / "run.yaml"
        yaml.write_text("n_images: 5\n", encoding="utf-8")
        for main in (train.main, torch_train.main):
            given: tuple[list[Any], ...] = (["--n_images", 5], ["--config", yaml])
            for flags in given:
                said, call = _said(main, *files, *flags)
                case = f"{main.__module__} {flags[0]}"
                everyone(run, "n_groups" in said and "deprecated" in said, f"said {said!r}", case)
                groups = call and call.args[2].n_groups
                everyone(run, groups == 5, f"n_groups is {groups}", case)
            said, _ = _said(main, *files, "--n_images", 5, "--quiet")
            everyone(run, "deprecated" not in said, f"said {said!r}", "--quiet")
        translated: tuple[tuple[list[Any], str, dict[str, Any]], ...] = (
            (["--device", "cpu"], "--accelerator cpu", {"accelerator": "cpu"}),
            (["--device", "cuda"], "--accelerator gpu", {"accelerator": "gpu"}),
            (["--device", "cuda", "--accelerator=cpu"], "running on cpu", {"accelerator": "cpu"}),
            (["--disable_mlflow"], "--logger none", {"logger_backend": "none"}),
            (["--disable-mlflow", "--logger=csv"], "--logger none", {"logger_backend": None}),
        )
        for flags, words, wanted in translated:
            said, call = _said(torch_train.main, *files, *flags)
            case = " ".join(str(flag) for flag in flags)
            everyone(run, words in said and "deprecated" in said, f"said {said!r}", case)
            handed = call and dataclasses.asdict(call.kwargs["torch_execution_config"])
            for name, value in wanted.items():
                found = handed and handed[name]
                everyone(run, found == value, f"{name} is {found!r}, not {value!r}", case)
            if "--logger=csv" in flags:
                found = call and call.args[2].logger_backend
                everyone(run, found == "csv", f"the explicit logger became {found!r}", case)
        said, _ = _said(torch_train.main, *files)
        everyone(run, "deprecated" not in said, f"said {said!r}", "nothing deprecated")


@check(
    "K-11", "--torch- flags with another backend are warned about", ("backend",), framework=False
)
def without_effect(run: Recorder) -> None:
    """Both commands; with PyTorch they are handed over and nobody is warned."""
    with tempfile.TemporaryDirectory() as folder:
        files = ["--train_data_file", _scan(run, folder), "--output_dir", Path(folder) / "out"]
        flags = ["--torch-accelerator", "cpu", "--torch-num-workers", 3]
        for backend in ("tensorflow", "pytorch"):
            said, call = _said(train.main, *files, *flags, "--backend", backend)
            execution = call and call.kwargs["torch_execution_config"]
            named = all(f"--torch-{name}" in said for name in ("accelerator", "num_workers"))
            told = named and "no effect" in said
            everyone(run, told == (backend == "tensorflow"), f"said {said!r}", backend)
            handed = execution is not None and (execution.accelerator, execution.num_workers)
            wanted = ("cpu", 3) if backend == "pytorch" else False
            everyone(run, handed == wanted, f"handed over {handed}", backend)
    given = ["--model_path=m", "--test_data=t", "--torch-inference-batch-size=7"]
    for backend in ("tensorflow", "pytorch"):
        parsed = inference.build_parser().parse_args([*given, "--backend", backend])
        with messages("ptycho.cli") as warned:
            job = inference.read_job(parsed)
        told = any("--torch-inference_batch_size" in text for text in warned)
        everyone(run, told == (backend == "tensorflow"), f"warned {warned}", backend)
        size = job.execution and job.execution.inference_batch_size
        everyone(run, size == (7 if backend == "pytorch" else None), f"size {size}", backend)


@check("K-13", "Refused positions are those of a file that is named", ("backend",))
def places(run: Recorder) -> None:
    """Positions in metres, and groups of strays, in training and inference."""
    for subject, backend in run.backends.items():
        with tempfile.TemporaryDirectory() as name, params_kept():
            folder = Path(name)
            written_bundle(run, backend, folder)
            plain = tiny_scan(run.seed, 6, 5, 32)
            for case, positions in (
                ("metres", plain.positions * 1e-9),
                ("strays", plain.positions * [[1e3 if i % 2 else 1] for i in range(30)]),
            ):
                x, y = positions.T
                moved = RawData(x, y, None, None, plain.diff3d, plain.probeGuess, None)
                scan = moved.to_file(folder / f"{case}.npz")
                flags = [f"--output_dir={folder / 'out'}", f"--backend={subject}"]
                given = [f"--train_data_file={scan}", *flags, "--gridsize=2", "--n_groups=8"]
                said = _refused(train.main, given)
                told = f"{case}.npz" in said and "positions" in said
                run.require(subject, told, f"said {said!r}", f"training, {case}")
                given = [f"--model_path={folder}", f"--test_data_file={scan}", *flags]
                said = _refused(inference.main, given)
                told = f"{case}.npz" in said and "positions" in said
                run.require(subject, told, f"said {said!r}", f"inference, {case}")


def _refused(main: Callable[[Sequence[str]], int], flags: list[str]) -> str:
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        code = main(flags)
    return said.getvalue() if code == 2 else f"exit code {code}: {said.getvalue()}"


@check(
    "K-14",
    "A scan that no network takes is simulated with a warning",
    ("backend",),
    framework=False,
)
def simulated(run: Recorder) -> None:
    """N=48 is warned about, N=32 is not; both are written."""
    with tempfile.TemporaryDirectory() as folder:
        for N in (32, 48):
            path, said = Path(folder) / f"{N}.npz", io.StringIO()
            with redirect_stderr(said), redirect_stdout(io.StringIO()):
                code = simulate.main([f"--output={path}", f"--N={N}", "--n_positions=4"])
            everyone(run, code == 0 and path.exists(), f"exit code {code}", f"N={N}")
            warned = "N=48" in said.getvalue() and "128" in said.getvalue()
            everyone(run, warned == (N == 48), f"said {said.getvalue()!r}", f"N={N}")


#: Fields that say where and with whom a command works.
_PLACES = {"model", "backend", "train_data_file", "test_data_file", "output_dir", "model_path"}


def _other(row: Any, default: Any) -> Any:
    """Return a value that a field may have and, if there is another, has not by default."""
    from parity.spec.values import parse_allowed

    allowed = parse_allowed(row.cells["Allowed"])
    for value in (*allowed.choices, True, False, 3, 2, 64, 0.25, "ddp"):
        kinds: dict[str, Any] = {"int": int, "float": (int, float), "bool": bool, "str": str}
        kind = kinds[row.cells["Type"]]
        fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
        if fits and value != default and allowed.accepts(value):
            return value
    return default


def _flags(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{'' if value else 'no-'}{name}"]
    return [f"--{name}={value}"]


@check("K-12", "PyTorch's own commands are the common ones", ("backend",), framework=False)
def twins(run: Recorder) -> None:
    """Every field's flag alone gives both the same configuration; second names mean the same."""
    spec = load_specification()
    with tempfile.TemporaryDirectory() as folder, params_kept():
        scan = _scan(run, folder)
        files = [f"--train_data_file={scan}", f"--output_dir={folder}/out", "--N=32"]
        tables = (("model-config", ""), ("training-config", ""), ("execution-config", "torch-"))
        for table, prefix in tables:
            for row in spec.of_table(table):
                name = row.cells["Field"]
                if name in {*_PLACES, "N", "resume", "n_images"}:
                    continue
                holder = {
                    "model-config": ModelConfig(),
                    "training-config": TrainingConfig(ModelConfig()),
                }
                default = getattr(holder.get(table), name, None)
                value = _other(row, default)
                more = ["--stage_1_epochs=1"] if value == "MultiStage" else []
                common = [*files, *more, "--backend=pytorch", *_flags(f"{prefix}{name}", value)]
                own = [*files, *more, *_flags(name, value)]
                _judge_jobs(run, common, own, f"{table}: {name}={value}")
        for first, second in (
            (["--nepochs=3"], ["--max_epochs=3"]),
            (["--checkpoint_monitor_metric=mae"], ["--checkpoint-monitor=mae"]),
            (["--logger_backend=csv"], ["--logger=csv"]),
            (["--torch-accum_steps=3"], ["--accumulate-grad-batches=3"]),
            (["--no-enable_checkpointing"], ["--disable-checkpointing"]),
        ):
            _judge_jobs(run, [*files, "--backend=pytorch", *first], [*files, *second], second[0])
    own_dests = {a.dest for a in torch_inference.build_parser()._actions}
    common_dests = {a.dest for a in inference.build_parser()._actions}
    wanted = {d.removeprefix("torch_") for d in common_dests - {"backend"}}
    everyone(
        run,
        own_dests - wanted == {"device", "num_workers"},
        f"{sorted(own_dests - wanted)}",
        "inference",
    )
    everyone(run, wanted <= own_dests, f"{sorted(wanted - own_dests)} are missing", "inference")
    fields = {f.name for f in dataclasses.fields(InferenceConfig)} - {"model", "backend"}
    everyone(run, fields <= own_dests, f"{sorted(fields - own_dests)} are missing", "inference")


def _merged(job: train.Job) -> Any:
    """Return what a job trains with: the execution settings over the training's."""
    from ptycho.config.execution import TRAINING_FIELDS, with_execution

    assert job.execution is not None
    nothing: dict[str, Any] = dict.fromkeys(TRAINING_FIELDS)
    rest = dataclasses.replace(job.execution, **nothing)
    return with_execution(job.config, job.execution), job.options, rest


def _judge_jobs(run: Recorder, common: list[str], own: list[str], case: str) -> None:
    jobs = []
    for module, flags in ((train, common), (torch_train, own)):
        with redirect_stderr(io.StringIO()) as said:
            try:
                parsed: argparse.Namespace = module.build_parser().parse_args(flags)
                jobs.append(_merged(module.read_job(parsed)))
            except (SystemExit, ValueError) as error:
                everyone(run, False, f"{module.__name__}: {error}: {said.getvalue()}", case)
                return
    everyone(run, jobs[0] == jobs[1], f"{jobs[0]} and {jobs[1]}"[:600], case)
