"""C: one set of defaults, whichever way a configuration is made."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from ptycho import params
from ptycho.cli import inference as inference_cli
from ptycho.cli import train as train_cli
from ptycho.config.config import KEY_MAPPINGS, InferenceConfig, ModelConfig, TrainingConfig

Defaults = dict[str, Any]


def _declared(config_type: type[Any], hidden: tuple[str, ...] = ()) -> Defaults:
    """Return the defaults of a dataclass; fields that must be given are left out."""
    found: Defaults = {}
    for field in dataclasses.fields(config_type):
        if field.name in hidden:
            continue
        if field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    return found


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


def _judge(run: Recorder, left: Defaults, right: Defaults, sides: str) -> None:
    for name in sorted(set(left) | set(right)):
        if name not in left or name not in right:
            missing = "first" if name not in left else "second"
            run.fail(PAIR, f"{name} has no default on the {missing} side", sides)
            continue
        what = f"{name}: {left[name]!r} ({type(left[name]).__name__}) vs {right[name]!r}"
        run.require(PAIR, _same(left[name], right[name]), what, sides)


def _parsed(parser: argparse.ArgumentParser, *required: str) -> argparse.Namespace:
    return parser.parse_args(list(required))


@check(
    "C-1",
    "Defaults: dataclasses, legacy dictionary and command lines agree",
    judges=("pair",),
    framework=False,
)
def defaults(run: Recorder) -> None:
    """In value and in type; an empty command line is the default configuration."""
    model = _declared(ModelConfig)
    training = {**_declared(TrainingConfig), "n_groups": TrainingConfig(ModelConfig()).n_groups}
    legacy = params.default_cfg()
    expected = {
        KEY_MAPPINGS.get(name, name): value
        for name, value in {**model, **training}.items()
        if value is not None
    }
    # The two entries that a dictionary of defaults has for itself.
    expected["output_prefix"] = "outputs"
    expected["h5_path"] = "wts.h5"
    _judge(run, expected, legacy, "dataclasses, params.default_cfg()")
    job = train_cli.read_job(_parsed(train_cli.build_parser()))
    found = dataclasses.asdict(job.config)
    _judge(run, model, found.pop("model"), "ModelConfig, ptycho_train without flags")
    _judge(run, training, found, "TrainingConfig, ptycho_train without flags")
    required = {"model_path": "here", "test_data_file": "there"}
    flags = [f"--{name}={value}" for name, value in required.items()]
    config = inference_cli.read_job(_parsed(inference_cli.build_parser(), *flags)).config
    given = {name: Path(value) for name, value in required.items()}
    inference = {**_declared(InferenceConfig, hidden=("model",)), **given}
    fields = {k: v for k, v in dataclasses.asdict(config).items() if k != "model"}
    _judge(run, inference, fields, "InferenceConfig, ptycho_inference with its two files")
