"""P-1 to P-6: configuration dataclasses, their validation, the bridge to the legacy names."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parity.checks.observing import doors, everyone, outcome, params_kept, says
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.spec.parse import load_specification
from ptycho.config.config import (
    InferenceConfig,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    dataclass_to_legacy_dict,
    update_legacy_dict,
    validate_inference_config,
    validate_model_config,
    validate_training_config,
)
from ptycho.workflows import backend_selector

_HERE = Path(__file__)


def _inference(**fields: Any) -> InferenceConfig:
    given: dict[str, Any] = {"model": ModelConfig(), "model_path": _HERE, "test_data_file": _HERE}
    return InferenceConfig(**{**given, **fields})


# --------------------------------------------------------------------------- dataclasses


@check("P-1", "Constructors accept every value", ("backend",), framework=False)
def unvalidated(run: Recorder) -> None:
    """Each field by itself with values of every kind, kept as they are."""
    strange: tuple[Any, ...] = (
        None,
        -1,
        0,
        1e300,
        float("nan"),
        "no such",
        Path("/nowhere"),
        [],
        object(),
        True,
    )
    types: tuple[type[Any], ...] = (ModelConfig, TrainingConfig, InferenceConfig)
    for config_type in types:
        start: dict[str, Any] = {} if config_type is ModelConfig else {"model": None}
        if config_type is InferenceConfig:
            start |= {"model_path": Path("/dummy"), "test_data_file": Path("/dummy")}
        for field in dataclasses.fields(config_type):
            # None for the number of groups asks for the default of 512.
            values = strange[1:] if field.name == "n_groups" else strange
            if field.name == "n_images":
                start["n_groups"] = 5  # else the deprecated name is adopted, with a warning
            for value in values:
                case = f"{config_type.__name__}({field.name}={value!r})"
                try:
                    made = config_type(**{**start, field.name: value})
                except Exception as error:
                    everyone(run, False, f"raised {error!r}", case)
                    continue
                kept = getattr(made, field.name) is value
                everyone(run, kept, f"holds {getattr(made, field.name)!r}", case)


def _unusual() -> list[Any]:
    """Return one instance of each dataclass in which many fields differ from their defaults."""
    model = ModelConfig(N=128, gridsize=2, probe_mask=True, probe_scale=2.5)
    return [
        model,
        TrainingConfig(model=model, train_data_file=Path("a.npz"), n_groups=7, seed=0),
        _inference(model=model, n_subsample=3, debug=True),
        PyTorchExecutionConfig(accelerator="cpu", devices="auto", deterministic="warn"),
    ]


@check("P-2", "Instances are mutable and survive pickling", ("backend",), framework=False)
def instances(run: Recorder) -> None:
    """Every field is assigned; every pickle protocol gives the same object back."""
    for config in _unusual():
        name = type(config).__name__
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(config, protocol))
            same = type(again) is type(config) and again is not config and again == config
            what = f"{config} became {again}"
            everyone(run, same, what[:300], f"{name}, protocol {protocol}")
    for config in _unusual():
        name = type(config).__name__
        for field in dataclasses.fields(config):
            marker = object()
            error = outcome(setattr, config, field.name, marker)
            kept = error is None and getattr(config, field.name) is marker
            everyone(run, kept, f"assigning gives {error!r}", f"{name}.{field.name}")


#: Configuration, field, value that is refused, words that say what is allowed.
_REFUSED: tuple[tuple[str, str, Any, tuple[str, ...]], ...] = (
    ("model", "N", 48, ("32", "64", "128", "256")),
    ("model", "gridsize", 6, ("1", "5")),
    ("model", "architecture", "hybrid", ("cnn",)),
    ("model", "model_type", "PINN", ("pinn", "supervised")),
    ("model", "amp_activation", "silu", ("sigmoid", "swish", "softplus", "relu")),
    ("model", "object_big", 1, ("True", "False")),
    ("model", "probe_scale", 0.0, ("(0",)),
    ("training", "batch_size", 0, ("integer >= 1",)),
    ("training", "nphotons", float("inf"), ("finite", "(0")),
    ("training", "validation_fraction", 0.6, ("0.5",)),
    ("training", "adam_beta1", 1.0, ("[0, 1)",)),
    ("training", "scheduler", "Cosine", ("Default", "WarmupCosine", "ReduceLROnPlateau")),
    ("training", "optimizer", "lbfgs", ("adam", "adamw", "sgd")),
    ("training", "seed", -1, ("integer >= 0",)),
    ("inference", "n_groups", 0, ("integer >= 1", "None")),
    ("inference", "backend", "jax", ("tensorflow", "pytorch")),
    ("inference", "neighbor_count", 2.0, ("integer >= 1",)),
    ("inference", "measurement_domain", "photons", ("counts", "amplitude")),
)


@check("P-3", "Refusals name field, value and what is allowed", ("backend",), framework=False)
def refusals(run: Recorder) -> None:
    """A sample of every kind of field; the rows of the field tables try the boundaries of all."""
    for kind, name, value, allowed in _REFUSED:
        validators: list[Callable[[Any], None]]
        if kind == "model":
            config: Any = ModelConfig(**{name: value})
            validators = [validate_model_config, _validate_with_training]
        elif kind == "training":
            config = TrainingConfig(model=ModelConfig(), **{name: value})
            validators = [validate_training_config]
        else:
            config, validators = _inference(**{name: value}), [validate_inference_config]
        for validate in validators:
            error = outcome(validate, config)
            told = says(error, ValueError, name, repr(value), *allowed)
            everyone(run, told, f"{error!r}; expected {allowed}", f"{name}={value!r}")
    accepted = (
        outcome(validate_model_config, ModelConfig()),
        outcome(validate_training_config, _run_of(ModelConfig())),
        outcome(validate_inference_config, _inference()),
    )
    everyone(run, accepted == (None, None, None), f"valid ones give {accepted}", "valid")


def _run_of(model: ModelConfig) -> TrainingConfig:
    return TrainingConfig(model=model)


def _validate_with_training(model: ModelConfig) -> None:
    validate_training_config(_run_of(model))


class _Untouchable:
    """Data or model that must not be looked at yet."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"{name} was looked at before the configuration was checked")

    def __len__(self) -> int:
        raise AssertionError("the length was asked for before the configuration was checked")


@check("P-4", "The configuration is checked before data is touched", ("backend",), framework=False)
def validated_first(run: Recorder) -> None:
    """Every door of training and inference, given data that nobody may look at."""
    thing = _Untouchable()
    for subject in run.backends:
        door = doors(subject)
        training = TrainingConfig(model=ModelConfig(N=32), neighbor_count=0)
        inference = _inference(neighbor_count=0)
        for config in (training, inference):
            config.backend = subject  # type: ignore[assignment]  # the name of a backend
        selector = backend_selector
        calls: list[tuple[Callable[..., object], tuple[Any, ...]]] = [
            (door.create_ptycho_data_container, (thing, training)),
            (door.train_cdi_model, (thing, thing, training)),
            (door.run_cdi_example, (thing, thing, training)),
            (selector.train_cdi_model_with_backend, (thing, thing, training)),
            (selector.run_cdi_example_with_backend, (thing, thing, training)),
            (door.reassemble_cdi_image, (thing, inference, thing)),
            (door.reassemble_cdi_image, (thing, training, thing)),
            (selector.load_inference_bundle_with_backend, ("/no such bundle", inference)),
        ]
        for call, given in calls:
            with params_kept():
                error = outcome(call, *given)
            told = says(error, ValueError, "neighbor_count", "0", "integer >= 1")
            run.require(subject, told, f"{error!r}", call.__name__)


# --------------------------------------------------------------------------- bridge


def _legacy_names() -> dict[str, str]:
    """Return field -> legacy key as the specification's table has it."""
    rows = load_specification().of_table("key-mappings")
    return {row.cells["Field"]: row.cells["Legacy key"] for row in rows}


def _told_apart(config_type: type[Any], model: ModelConfig | None) -> tuple[Any, dict[str, Any]]:
    """Return an instance whose every field has a value of its own, and these values."""
    values: dict[str, Any] = {}
    for number, field in enumerate(dataclasses.fields(config_type)):
        if field.name != "model":
            values[field.name] = f"{config_type.__name__} {number}"
    for name in ("output_dir", "train_data_file", "model_path"):
        if name in values:
            values[name] = Path("some") / name
    given = {} if model is None else {"model": model}
    return config_type(**given, **values), values


@check("P-5", "The legacy dictionary of a configuration", ("backend",), framework=False)
def legacy_dictionary(run: Recorder) -> None:
    """Model merged in, names as in the table, others kept, paths as text, None as None."""
    renamed = _legacy_names()
    model, model_values = _told_apart(ModelConfig, None)
    for config_type in (TrainingConfig, InferenceConfig):
        config, values = _told_apart(config_type, model)
        expected = {renamed.get(k, k): v for k, v in {**model_values, **values}.items()}
        expected = {k: str(v) if isinstance(v, Path) else v for k, v in expected.items()}
        found = dataclass_to_legacy_dict(config)
        case = config_type.__name__
        wrong = {k for k in expected.keys() | found.keys() if found.get(k) != expected.get(k)}
        everyone(run, not wrong, f"entries differ: {sorted(wrong)}", case)
        strange = sorted(found.keys() ^ expected.keys())
        everyone(run, not strange, f"keys differ: {strange}", case)
        config.n_subsample = None
        empty = dataclass_to_legacy_dict(config)
        kept = "n_subsample" in empty and empty["n_subsample"] is None
        everyone(run, kept, "None is not kept", case)


@check("P-6", "Updating the legacy dictionary", ("backend",), framework=False)
def update(run: Recorder) -> None:
    """What is not None overwrites; what is None or foreign stays; nothing else appears."""
    renamed = _legacy_names()
    for config in (TrainingConfig(model=ModelConfig(N=128)), _inference(seed=0, debug=True)):
        fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
        fields |= {f.name: getattr(config.model, f.name) for f in dataclasses.fields(ModelConfig)}
        del fields["model"]
        before = {renamed.get(name, name): object() for name in fields}
        before |= {"probe": object(), "intensity_scale": object(), "foreign": object()}
        cfg: dict[str, Any] = dict(before)
        update_legacy_dict(cfg, config)
        everyone(run, cfg.keys() == before.keys(), "keys appeared or vanished", "keys")
        for name, value in fields.items():
            key = renamed.get(name, name)
            wanted = str(value) if isinstance(value, Path) else value
            holds = cfg[key] is before[key] if value is None else cfg[key] == wanted
            case = type(config).__name__
            everyone(run, holds, f"{key} is {cfg[key]!r} for {name}={value!r}", case)
        for key in ("probe", "intensity_scale", "foreign"):
            everyone(run, cfg[key] is before[key], f"{key} was changed", "others")
