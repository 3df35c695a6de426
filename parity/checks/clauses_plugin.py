"""Q-61 to Q-63: the doors of the client's second plugin, which are PyTorch's alone."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from parity.checks import child
from parity.checks.clauses_inference import refusal
from parity.checks.door_trainings import scan
from parity.checks.observing import everyone, messages
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.scenes import params_restored
from ptycho.raw_data import RawData

_TIMEOUT_SECONDS = 120
_ROOMS = ("config_params", "config_bridge", "checkpoint", "lightning_utils", "api.base_api")
_LOADED = (
    "import json, sys, {}; names = [m.partition('.')[0] for m in sys.modules]; "
    "print(json.dumps(dict.fromkeys(names)))"
)

#: Field -> another value than the client's default, for fields that are neither switch nor number.
OTHER_VALUES: dict[str, Any] = {
    "neighbor_function": "4_quadrant", "normalize": "Group", "data_scaling": "Max",
    "scan_pattern": "Rectangular", "mode": "Supervised", "loss_function": "MAE",
    "amp_activation": "relu", "amp_loss": "Total_Variation", "phase_loss": "Mean_Deviation",
    "probe_mask": True, "framework": "Mlflow", "orchestrator": "Mlflow", "scheduler": "Cosine",
    "gradient_clip_algorithm": "value", "gradient_clip_val": 1.0, "device": "cpu",
    "grid_size": (1, 2), "strategy": "ddp", "notes": "a", "model_name": "b",
    "x_bounds": (0.2, 0.8), "y_bounds": (0.2, 0.8), "patch_weighting": "uniform",
}  # fmt: skip
#: Fields of which the clause says that they may pass in silence, and those that the doors use.
LABELS = {"notes", "model_name", "strategy", "num_workers"}
AT_THE_DOORS = {"x_bounds", "y_bounds", "middle_trim"}
HAPPENS_ANYWAY = {"cbam_encoder": False, "patch_weighting": "uniform", "phase_subtraction": False}


def other_value(config: Any, name: str) -> Any:
    """Return another value for a field of one of the plugin's configurations."""
    if name in OTHER_VALUES:
        return OTHER_VALUES[name]
    value = getattr(config, name)
    return not value if isinstance(value, bool) else value + 1


def bridged(configs: dict[str, Any]) -> list[Any]:
    """Return all that the bridge makes of configurations of data, model, training, inference."""
    from ptycho_torch import config_bridge as bridge

    data, model, training, inference = configs.values()
    network = bridge.to_model_config(data, model)
    return [
        network,
        bridge.to_training_config(network, data, model, training, n_positions=10),
        bridge.to_inference_config(network, data, inference),
        bridge.to_execution_config(training, inference, cuda=True),
    ]


@check(
    "Q-61",
    "The second plugin's configurations load no framework, and no field is silently ignored",
    ("backend",),
    framework=False,
)
def configurations(run: Recorder) -> None:
    """Every field changed by itself; the doors' own fields are looked at in Q-62."""
    loaded = child.finish(child.start("-c", _loaded_by_rooms()), _TIMEOUT_SECONDS)
    for name in ("tensorflow", "torch", "lightning"):
        everyone(run, name not in loaded, f"importing the plugin's rooms loads {name}")
    from ptycho_torch import config_bridge
    from ptycho_torch.checkpoint import CheckpointRecord

    kinds = CheckpointRecord.CONFIGS
    plain = bridged({name: kind() for name, kind in kinds.items()})
    for name, kind in kinds.items():
        for field in dataclasses.fields(kind):
            if field.name in LABELS | AT_THE_DOORS | set(HAPPENS_ANYWAY):
                continue
            config_bridge._warn_once.cache_clear()
            configs = {other: each() for other, each in kinds.items()}
            setattr(configs[name], field.name, other_value(configs[name], field.name))
            found: list[Any] = []
            with messages("ptycho_torch.config_bridge") as warned:
                _, refused = refusal(lambda given=configs, into=found: into.extend(bridged(given)))
            said = any(f"{kind.__name__}.{field.name}" in text for text in (*warned, refused))
            holds = said if refused else said != (found != plain)
            what = f"{refused or warned or 'nothing is said'}; changed: {found != plain}"
            everyone(run, holds, what, f"{kind.__name__}.{field.name}")


def _loaded_by_rooms() -> str:
    return _LOADED.format(", ".join(f"ptycho_torch.{room}" for room in _ROOMS))


def _plugin(**changes: Any) -> Any:
    from ptycho_torch.api.base_api import ConfigManager
    from ptycho_torch.config_params import (
        DataConfig,
        InferenceConfig,
        ModelConfig,
        TrainingConfig,
    )

    grid: dict[str, Any] = {"N": 32, "C": 1, "grid_size": (1, 1)}
    model: dict[str, Any] = {"n_filters_scale": 1, "C_model": 1, "C_forward": 1, **changes}
    return ConfigManager(
        DataConfig(**grid, x_bounds=(0.0, 0.8), y_bounds=(0.0, 1.0)),
        ModelConfig(**model),
        TrainingConfig(epochs=1, batch_size=4, device="cpu"),
        InferenceConfig(middle_trim=16),
    )


def _train(folder: Path, raw: RawData, configs: Any) -> tuple[Any, Any]:
    """Train as the client does; return (loader, model)."""
    from ptycho_torch.api import base_api
    from ptycho_torch.model import PtychoPINN_Lightning

    raw.to_file(folder / "exported.npz")
    loader = base_api.PtychoDataLoader(folder, configs, output_dir=folder / "out")
    model = base_api.PtychoModel._new_model(PtychoPINN_Lightning, configs)
    trainer = base_api.Trainer._from_lightning(model, loader, "lightning", configs)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        trainer.train()
    return loader, model


def _reopen(path: Path) -> tuple[Any, Any]:
    """Load as the client does; return (model, configurations)."""
    from ptycho_torch.api.base_api import ConfigManager, PtychoModel
    from ptycho_torch.checkpoint import CheckpointRecord
    from ptycho_torch.model import PtychoPINN_Lightning

    configs: dict[str, Any] = dict(
        zip(
            CheckpointRecord.CONFIGS,
            PtychoModel._extract_configs_from_checkpoint(path),
            strict=True,
        )
    )
    model = PtychoModel(**configs)
    model.model = PtychoPINN_Lightning.load_from_checkpoint(path, **configs)
    return model, ConfigManager.from_loaded_model(model)


def _picture(raw: Any, model: Any, configs: Any) -> Any:
    from ptycho_torch.api.base_api import InferenceEngine, PtychoDataLoader

    where = np.column_stack([raw.ycoords, raw.xcoords])
    loader = PtychoDataLoader.from_np(raw.diff3d, raw.probeGuess, where, configs)
    return InferenceEngine(configs, model).predict_and_stitch(loader)


def _only_pytorch(run: Recorder) -> bool:
    """Tell whether PyTorch is looked at; the other wing has no such doors."""
    if "tensorflow" in run.backends:
        run.require("tensorflow", find_spec("ptycho.config_params") is None, "a second plugin")
    return "pytorch" in run.backends


@check(
    "Q-62", "The second plugin trains, reopens and reconstructs in the client's frame", ("backend",)
)
def plugin(run: Recorder) -> None:
    """One epoch; the canvas is that of positions moved so that their middle is at the origin."""
    if not _only_pytorch(run):
        return
    from ptycho_torch.lightning_utils import find_best_checkpoint

    raw, subject = scan(), "pytorch"
    configs = _plugin()
    with tempfile.TemporaryDirectory() as name, params_restored():
        loader, model = _train(Path(name), raw, configs)
        inside = raw.xcoords <= raw.xcoords.min() + 0.8 * np.ptp(raw.xcoords)
        kept = len(loader.raw) == int(inside.sum()) < len(raw)
        run.require(subject, kept, f"trained on {len(loader.raw)} positions, not {inside.sum()}")
        path = find_best_checkpoint(loader.output_dir)
        run.require(subject, path is not None, "the run left no checkpoint")
        if path is None:
            return
        first = _picture(raw, model, configs)
        again, loaded = _reopen(path)
        run.require(subject, loaded == configs, "other configurations were read", "reopened")
        same = np.array_equal(first, _picture(raw, again, loaded))
        run.require(subject, same and first.any(), "gives another object", "reopened")
        with messages("ptycho_torch.checkpoint") as warned:
            _load_with(path, _plugin(amp_activation="sigmoid"))
        named = any("amp_activation" in text for text in warned)
        run.require(subject, named, f"said {warned}", "settings that disagree")
    middle = [(c.min() + c.max()) / 2 for c in (raw.xcoords, raw.ycoords)]
    far = [max(abs(c - m).max() for c, m in zip(raw.positions.T, middle, strict=True))]
    # An even canvas around the middle of the scan: M + 2 * the next even number.
    side = 16 + 4 * int(np.ceil(far[0] / 2))
    run.require(subject, first.shape == (side, side), f"{first.shape}, not {side}", "canvas")
    columns, rows = (np.flatnonzero((first != 0).any(axis=axis)) for axis in (0, 1))
    for lines in (columns, rows):
        offset = (lines[0] + lines[-1]) / 2 - (side - 1) / 2
        run.require(subject, abs(offset) <= 0.5, f"covered {offset:g} pixels off", "canvas")


def _load_with(path: Path, configs: Any) -> None:
    from ptycho_torch.model import PtychoPINN_Lightning

    module = PtychoPINN_Lightning.load_from_checkpoint(path, model_config=configs.model_config)
    if module.model.config.amp_activation != "swish":
        raise AssertionError("the settings won over the checkpoint")


class _Mark:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self._path), "w"))


@check(
    "Q-63",
    "A checkpoint that is none of the plugin's is refused and executes nothing",
    ("backend",),
)
def checkpoints(run: Recorder) -> None:
    """Rubbish, code, no record, and a network larger than its weights."""
    if not _only_pytorch(run):
        return
    import torch

    from ptycho_torch.checkpoint import RECORD
    from ptycho_torch.lightning_utils import find_best_checkpoint
    from ptycho_torch.model import PtychoPINN_Lightning

    with tempfile.TemporaryDirectory() as name, params_restored():
        folder = Path(name)
        loader, _ = _train(folder, scan(), _plugin())
        sound = find_best_checkpoint(loader.output_dir)
        mark, path = folder / "executed", folder / "strange.ckpt"
        changes: dict[str, Any] = {
            "rubbish": None,
            "code": lambda c: c.update(callbacks=_Mark(mark)),
            "no record": lambda c: c.pop(RECORD),
            "network": lambda c: c["hyper_parameters"]["model"].update(n_filters_scale=10**8),
        }
        for case, change in changes.items():
            content = torch.load(sound, weights_only=True)
            buffer = io.BytesIO(b"rubbish")
            if change is not None:
                change(content)
                torch.save(content, buffer := io.BytesIO())
            path.write_bytes(buffer.getvalue())
            readers: list[Any] = [_reopen]
            if case in ("rubbish", "code"):
                readers.append(PtychoPINN_Lightning.load_from_checkpoint)
            for read in readers:
                kind, text = refusal(read, path)
                refused = bool(kind) and "strange.ckpt" in text
                run.require("pytorch", refused, f"{kind or 'loaded'}: {text}", case)
            run.require("pytorch", not mark.exists(), "its code was executed", case)
        kind, text = refusal(_reopen, folder / "nowhere.ckpt")
        run.require("pytorch", kind == "FileNotFoundError", f"{kind}: {text}", "missing")
