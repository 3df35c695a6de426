"""PyTorch's own commands: every flag is seen to do something, in the trainer, optimiser or files.

The flags are those of the parser: one that is new and has no entry here fails.
"""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from ptycho.cli import train as common_train
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.workflows import backend_selector
from ptycho_torch import train
from ptycho_torch.config_factory import create_training_payload

SMALL = ["--nepochs=2", "--batch_size=4", "--n_groups=12", "--n_filters_scale=1", "--quiet"]


@dataclasses.dataclass
class Seen:
    """What a training was seen to do."""

    code: int
    trainer: dict[str, Any]
    loaders: list[dict[str, Any]]
    optimisers: list[torch.optim.Optimizer]
    rates: list[float]
    model: ModelConfig | None
    training: TrainingConfig | None
    predictor: Any
    stitching: dict[str, Any]
    files: dict[str, Path]
    history: dict[str, list[float]]
    said: str


@pytest.fixture(scope="module")
def run(scan_file, tmp_path_factory):
    """Return a function that trains with flags, once for equal ones, and tells what was seen."""
    known: dict[tuple, Seen] = {}

    def training(*flags: str, command: Any = train, start: tuple[str, ...] = tuple(SMALL)) -> Seen:
        key = (command.__name__, start, *flags)
        if key not in known:
            known[key] = _watched(
                command, scan_file, tmp_path_factory.mktemp("run"), [*start, *flags]
            )
        return known[key]

    return training


def _watched(command: Any, scan: Path, folder: Path, flags: list[str]) -> Seen:
    seen = Seen(-1, {}, [], [], [], None, None, None, {}, {}, {}, "")
    trainer, loader = pl.Trainer.__init__, torch.utils.data.DataLoader.__init__
    from ptycho_torch import training
    from ptycho_torch.model import PtychoPINN_Lightning

    configure, build = PtychoPINN_Lightning.configure_optimizers, training.build_module
    dispatch = backend_selector.run_cdi_example_with_backend

    def recording_trainer(self, *given, **named):
        seen.trainer = named
        # Nobody has these machines here.
        possible = {"devices": 1, "num_nodes": 1, "strategy": "auto", "accelerator": "cpu"}
        trainer(self, *given, **{**named, **possible})

    def recording_loader(self, *given, **named):
        seen.loaders.append(named)
        loader(self, *given, **{**named, "pin_memory": False})

    def recording_optimisers(self):
        optimiser = configure(self)
        optimiser.register_step_pre_hook(lambda o, *_: seen.rates.append(o.param_groups[0]["lr"]))
        seen.optimisers.append(optimiser)
        return optimiser

    def recording_build(container, config, plan):
        seen.model, seen.training = config.model, config
        return build(container, config, plan)

    def recording_dispatch(*given, **named):
        seen.stitching = named
        amplitude, phase, results = dispatch(*given, **named)
        seen.predictor = results["model_instance"]
        return amplitude, phase, results

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pl.Trainer, "__init__", recording_trainer)
        patch.setattr(torch.utils.data.DataLoader, "__init__", recording_loader)
        patch.setattr(PtychoPINN_Lightning, "configure_optimizers", recording_optimisers)
        patch.setattr(training, "build_module", recording_build)
        patch.setattr(backend_selector, "run_cdi_example_with_backend", recording_dispatch)
        out = folder / "out"
        said = folder / "said"
        with said.open("w") as stream:
            patch.setattr(sys, "stderr", stream)
            seen.code = command.main([f"--train_data_file={scan}", f"--output_dir={out}", *flags])
        seen.said = said.read_text()
    seen.files = {str(p.relative_to(out)): p for p in out.rglob("*") if p.is_file()}
    if "history.json" in seen.files:
        seen.history = json.loads(seen.files["history.json"].read_text())
    return seen


def _trainer(name: str, value: Any):
    return lambda s: s.trainer[name] == value


def _loaders(name: str, value: Any):
    return lambda s: s.loaders and all(each[name] == value for each in s.loaders)


def _group(s: Seen) -> dict[str, Any]:
    return s.optimisers[0].param_groups[0]


def _is_probe(parameter: torch.Tensor) -> bool:
    return tuple(parameter.shape).count(32) == 2 and parameter.numel() <= 2 * 32 * 32


def _epochs(n: int):
    return lambda s: len(s.history["loss"]) == n


PLATEAU = ("--scheduler=ReduceLROnPlateau", "--plateau_patience=0")

#: Flag -> arguments, and what has to be seen.
EFFECTS: dict[str, tuple[tuple[str, ...], Any]] = {
    # execution
    "accelerator": (("--accelerator=cpu",), _trainer("accelerator", "cpu")),
    "devices": (("--devices=2",), _trainer("devices", 2)),
    "num_nodes": (("--num-nodes=3",), _trainer("num_nodes", 3)),
    "strategy": (("--strategy=ddp",), _trainer("strategy", "ddp")),
    "deterministic": (("--no-deterministic",), _trainer("deterministic", False)),
    "precision": (("--precision=bf16-mixed",), _trainer("precision", "bf16-mixed")),
    "accum_steps": (
        ("--accumulate-grad-batches=3",),
        lambda s: s.trainer["accumulate_grad_batches"] == 3 and len(s.rates) == 2,
    ),
    "num_workers": (("--num-workers=1",), _loaders("num_workers", 1)),
    "pin_memory": (("--pin_memory",), _loaders("pin_memory", True)),
    "persistent_workers": (
        ("--num-workers=1", "--no-persistent-workers"),
        lambda s: all(each["num_workers"] and not each["persistent_workers"] for each in s.loaders),
    ),
    "prefetch_factor": (("--num-workers=1", "--prefetch-factor=3"), _loaders("prefetch_factor", 3)),
    "inference_batch_size": (
        ("--inference-batch-size=5",),
        lambda s: s.predictor.batch_size == 5,
    ),
    # the training's optimiser, schedule and endings
    "nepochs": (("--max_epochs=3",), _epochs(3)),
    "batch_size": (("--batch_size=6",), lambda s: len(s.rates) == 4),
    "learning_rate": (("--learning-rate=2e-4",), lambda s: set(s.rates) == {2e-4}),
    "optimizer": (("--optimizer=sgd",), lambda s: isinstance(s.optimisers[0], torch.optim.SGD)),
    "momentum": (("--optimizer=sgd", "--momentum=0.7"), lambda s: _group(s).get("momentum") == 0.7),
    "weight_decay": (("--weight-decay=0.01",), lambda s: _group(s)["weight_decay"] == 0.01),
    "adam_beta1": (("--adam_beta1=0.8",), lambda s: _group(s)["betas"] == (0.8, 0.999)),
    "adam_beta2": (("--adam_beta2=0.99",), lambda s: _group(s)["betas"] == (0.9, 0.99)),
    "gradient_clip_val": (("--gradient-clip-val=0.5",), _trainer("gradient_clip_val", 0.5)),
    "gradient_clip_algorithm": (
        ("--gradient-clip-val=0.5", "--gradient-clip-algorithm=value"),
        _trainer("gradient_clip_algorithm", "value"),
    ),
    "scheduler": (("--scheduler=Exponential",), lambda s: s.rates[-1] == pytest.approx(0.95e-3)),
    "lr_warmup_epochs": (
        ("--scheduler=WarmupCosine", "--lr-warmup-epochs=1"),
        lambda s: s.rates[0] == pytest.approx(4e-4) and s.rates[2] == pytest.approx(1e-3),
    ),
    "lr_min_ratio": (
        ("--scheduler=WarmupCosine", "--lr-min-ratio=0.3"),
        lambda s: s.rates[-1] == pytest.approx(3e-4),
    ),
    "plateau_patience": (
        (*PLATEAU, "--plateau_threshold=1", "--nepochs=3"),
        lambda s: s.rates[-1] == pytest.approx(2.5e-4),
    ),
    "plateau_threshold": (
        (*PLATEAU, "--plateau_threshold=0.99", "--nepochs=3"),
        lambda s: s.rates[-1] == pytest.approx(5e-4),
    ),
    "plateau_factor": (
        (*PLATEAU, "--plateau_threshold=1", "--plateau_factor=0.6"),
        lambda s: s.rates[-1] == pytest.approx(6e-4),
    ),
    "plateau_min_lr": (
        (*PLATEAU, "--plateau_threshold=1", "--plateau_min_lr=9e-4"),
        lambda s: s.rates[-1] == pytest.approx(9e-4),
    ),
    "stage_1_epochs": (
        ("--scheduler=MultiStage", "--stage_1_epochs=1"),
        lambda s: s.rates[0] == 1e-3 and s.rates[-1] == pytest.approx(1e-4),
    ),
    "stage_2_epochs": (
        ("--scheduler=MultiStage", "--stage_2_epochs=2"),
        lambda s: s.rates[3] == pytest.approx(5.5e-4),
    ),
    "stage_3_lr_factor": (
        ("--scheduler=MultiStage", "--stage_1_epochs=1", "--stage_3_lr_factor=0.4"),
        lambda s: s.rates[-1] == pytest.approx(4e-4),
    ),
    "early_stop_patience": (
        ("--early-stop-patience=2", "--checkpoint-mode=max", "--nepochs=4"),
        _epochs(3),
    ),
    "checkpoint_mode": (
        ("--enable-checkpointing", "--checkpoint-mode=max"),
        lambda s: len([n for n in s.files if "epoch=" in n]) == 2,
    ),
    "enable_checkpointing": (
        ("--enable-checkpointing",),
        lambda s: [n for n in s.files if "epoch=0002-val_loss=" in n] != [],
    ),
    "checkpoint_save_top_k": (
        ("--enable-checkpointing", "--checkpoint-save-top-k=-1"),
        lambda s: len([n for n in s.files if "epoch=" in n]) == 2,
    ),
    "checkpoint_monitor_metric": (
        ("--enable-checkpointing", "--checkpoint-monitor=mae"),
        lambda s: [n for n in s.files if "epoch=0002-mae=" in n] != [],
    ),
    "logger_backend": (("--logger=csv",), lambda s: "metrics.csv" in s.files),
    # what is stitched, said and left
    "do_stitching": (("--do_stitching",), lambda s: "reconstruction.npz" in s.files),
    "compact_bundle": (("--compact-bundle",), lambda s: s.files["wts.h5.zip"].stat().st_size < 2e6),
    "M": (("--M=7",), lambda s: s.stitching["M"] == 7),
    "flip_x": (("--flip_x",), lambda s: s.stitching["flip_x"] is True),
    "flip_y": (("--flip_y",), lambda s: s.stitching["flip_y"] is True),
    "transpose": (("--transpose",), lambda s: s.stitching["transpose"] is True),
    "device": (("--device=cpu",), _trainer("accelerator", "cpu")),
    "disable_mlflow": (
        ("--disable_mlflow",),
        lambda s: s.code == 0 and not [n for n in s.files if "mlruns" in n],
    ),
    # data and loss
    "n_groups": (("--n_groups=8",), lambda s: len(s.rates) == 4),
    "n_images": (("--n_images=8",), lambda s: len(s.rates) == 4),
    "validation_fraction": (
        ("--validation_fraction=0",),
        lambda s: "val_loss" not in s.history,
    ),
    "probe_trainable": (
        ("--probe_trainable",),
        lambda s: any(_is_probe(p) for g in s.optimisers[0].param_groups for p in g["params"]),
    ),
    "intensity_scale_trainable": (
        ("--no-intensity_scale_trainable",),
        lambda s: all(p.ndim for g in s.optimisers[0].param_groups for p in g["params"]),
    ),
}  # fmt: skip

#: Flags whose effect is seen elsewhere: what they change is common to both backends.
ELSEWHERE = {
    "config": "parity K-3, K-4",
    "quiet": "test_quiet_says_nothing",
    "verbose": "parity K-2",
    "enable_progress_bar": "test_progress_can_be_hidden_alone",
    "train_data_file": "every test here",
    "test_data_file": "tests/cli/test_train_cli.py",
    "output_dir": "every test here",
    "resume": "test_resume_goes_on",
    **dict.fromkeys((f.name for f in dataclasses.fields(ModelConfig)), "network and physics tests"),
    **dict.fromkeys(
        ("mae_weight", "nll_weight", "realspace_mae_weight", "realspace_weight", "nphotons"),
        "losses: parity L",
    ),
    **dict.fromkeys(
        ("n_subsample", "subsample_seed", "neighbor_count", "enable_oversampling",
         "neighbor_pool_size", "sequential_sampling", "positions_provided", "measurement_domain",
         "seed"),
        "grouping and sampling: parity D, S",
    ),
}  # fmt: skip


def _destinations(module: Any) -> set[str]:
    return {a.dest for a in module.build_parser()._actions} - {"help"}


def test_help_lists_every_name_of_a_flag_once(capsys):
    assert train.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert "--accum_steps, --accumulate_grad_batches ACCUM_STEPS" in said
    assert "--checkpoint_monitor_metric, --checkpoint_monitor {val_loss," in said
    assert "--logger_backend, --logger {none," in said
    assert "--nepochs, --max_epochs NEPOCHS" in said
    assert "accumulate-grad-batches" not in said
    for name in ("--disable_checkpointing", "--no-probe_mask", "--train_data", "--test_data"):
        assert re.search(rf"{name}\b", said), name


def test_every_flag_has_an_effect_that_is_looked_at():
    assert _destinations(train) == EFFECTS.keys() | ELSEWHERE.keys()
    assert not EFFECTS.keys() & ELSEWHERE.keys()


@pytest.mark.parametrize("flag", EFFECTS)
def test_flag(run, flag):
    flags, effect = EFFECTS[flag]
    start = tuple(f for f in SMALL if not (flag == "n_images" and "n_groups" in f))
    plain, seen = run(start=start), run(*flags, start=start)
    assert plain.code == seen.code == 0, seen.said
    assert effect(seen), flags
    if flag not in ("disable_mlflow", "device", "accelerator"):
        assert not effect(plain), f"without {flags} it looks the same"


def _common(flag: str) -> tuple[str, ...]:
    """Return the arguments of a flag as the common command spells them."""
    second = {"accumulate-grad-batches": "accum_steps"}
    found = []
    for argument in EFFECTS[flag][0]:
        off = argument.startswith("--no-")
        name, equals, value = argument.removeprefix("--no-").removeprefix("--").partition("=")
        name = second.get(name, name)
        found.append(f"--{'no-' if off else ''}torch-{name}{equals}{value}")
    return tuple(found)


@pytest.mark.parametrize(
    "flag",
    ["accelerator", "devices", "num_nodes", "strategy", "deterministic", "precision", "accum_steps",
     "num_workers", "pin_memory", "persistent_workers", "prefetch_factor", "inference_batch_size",
     "learning_rate", "scheduler", "gradient_clip_val", "gradient_clip_algorithm",
     "enable_checkpointing", "checkpoint_save_top_k", "early_stop_patience", "checkpoint_mode"],
)  # fmt: skip
def test_flag_of_the_common_command(run, flag):
    flags = tuple(f for f in _common(flag) if "nepochs" not in f)
    more = ("--nepochs=4",) if flag == "early_stop_patience" else ()
    seen = run("--backend=pytorch", *flags, *more, command=common_train)
    assert seen.code == 0, seen.said
    assert EFFECTS[flag][1](seen), flags


def test_the_common_command_has_every_execution_flag():
    from ptycho.config.execution import PyTorchExecutionConfig

    known = {a.dest for a in common_train.build_parser()._actions}
    assert {f"torch_{f.name}" for f in dataclasses.fields(PyTorchExecutionConfig)} <= known


def test_resume_goes_on(run, scan_file, tmp_path):
    whole = run("--learning_rate=1e-4", "--nepochs=3")
    first = run("--learning_rate=1e-4", "--nepochs=2", "--enable-checkpointing")
    folder = first.files["wts.h5.zip"].parent
    for point in (folder, folder / "checkpoints"):
        seen = run("--learning_rate=1e-4", "--nepochs=3", f"--resume={point}")
        assert seen.code == 0, seen.said
        assert len(seen.rates) == len(whole.rates) // 3
        assert seen.history["loss"] == whole.history["loss"]


def test_quiet_says_nothing(run):
    assert run().said == ""


def test_progress_can_be_hidden_alone(run):
    loud = tuple(f for f in SMALL if f != "--quiet")
    shown, hidden = run(start=loud), run("--no-enable_progress_bar", start=loud)
    assert "epoch 2/2" in shown.said
    assert "epoch 2/2" not in hidden.said
    assert "settings: " in hidden.said
    assert hidden.said.count("settings: ") == 1


def test_deprecated_flags_are_said(run):
    loud = tuple(f for f in SMALL if f != "--quiet")
    seen = run("--device=cpu", "--disable_mlflow", start=loud)
    assert "warning: --device is deprecated: use --accelerator cpu" in seen.said
    assert "warning: --disable_mlflow is deprecated: use --logger none" in seen.said


def test_a_missing_log_package_ends_the_command_before_anything(
    scan_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    flags = [f"--train_data_file={scan_file}", f"--output_dir={tmp_path / 'out'}", *SMALL[:-1]]
    assert train.main([*flags, "--logger=mlflow"]) == 1
    assert "pip install mlflow" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("module", ["ptycho_torch.train", "ptycho_torch.inference"])
def test_help_loads_no_framework(module):
    code = (
        f"import sys, {module} as m; code = m.main(['--help']);"
        "assert not {'torch', 'tensorflow', 'lightning', 'keras'} & set(sys.modules);"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"usage: python -m {module}" in done.stdout


def test_the_factory_and_the_command_agree(scan_file, tmp_path):
    payload = create_training_payload(scan_file, tmp_path, {"nepochs": 3, "gridsize": 2})
    flags = [
        f"--train_data_file={scan_file}",
        f"--output_dir={tmp_path}",
        "--nepochs=3",
        "--gridsize=2",
    ]
    job = train.read_job(train.build_parser().parse_args(flags))
    assert (job.config, job.execution) == (payload.training_config, payload.execution_config)
