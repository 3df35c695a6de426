"""Checks generated from the field, key, constant and layer tables of the specification.

The configuration is one for both backends, so a row's verdict counts for each; refusals are
observed at each backend's own door.
"""

from __future__ import annotations

import importlib
import math
from functools import partial
from pathlib import Path
from typing import Any

from parity.callchain.scenario import package_of
from parity.checks.recorder import Recorder
from parity.facts.bounds import choices_of
from parity.facts.live import REQUIRED, SCALARS, FieldFact, dataclass_fields, resolve
from parity.spec.records import Row
from parity.spec.values import REQUIRED as REQUIRED_CELL
from parity.spec.values import Allowed, parse_allowed, parse_literal
from ptycho.config.config import (
    KEY_MAPPINGS,
    InferenceConfig,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    dataclass_to_legacy_dict,
    update_legacy_dict,
    validate_inference_config,
)


def _everyone(recorder: Recorder, holds: bool, what: str, case: str) -> None:
    for name in recorder.backends:
        recorder.require(name, holds, what, case)


def _instance(config_type: type, **values: Any) -> Any:
    """Return a configuration whose other fields are valid."""
    if config_type is ModelConfig or config_type is PyTorchExecutionConfig:
        return config_type(**values)
    given: dict[str, Any] = {"model": ModelConfig()}
    if config_type is InferenceConfig:
        # Any path that exists will do: the paths themselves are not what is judged.
        given |= {"model_path": Path(__file__), "test_data_file": Path(__file__)}
    return config_type(**{**given, **values})


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


# --------------------------------------------------------------------------- fields


def check_field(row: Row, recorder: Recorder) -> None:
    """Judge one row of a field table: default, type, legacy entry, boundary values."""
    config_type = resolve(row.target)
    name = row.cells["Field"]
    facts = dataclass_fields(config_type)
    where = f"{row.target}.{name}"
    if name not in facts:
        _everyone(recorder, False, f"{where} does not exist", "field")
        return
    _default(row, facts[name], where, recorder)
    _types(row, facts[name], where, recorder)
    if config_type is not PyTorchExecutionConfig and row.cells["Type"] != "ModelConfig":
        _legacy(row, config_type, name, recorder)
    check_boundaries(row, recorder)


def _default(row: Row, fact: FieldFact, where: str, recorder: Recorder) -> None:
    cell = row.cells["Default"]
    wanted = REQUIRED if cell == REQUIRED_CELL else parse_literal(cell)
    # TrainingConfig settles some defaults when it is made, so an instance decides.
    found = fact.default
    if found is not REQUIRED:
        found = getattr(_instance(resolve(row.target)), row.cells["Field"])
    shown = REQUIRED_CELL if found is REQUIRED else repr(found)
    _everyone(recorder, _same(found, wanted), f"{where}: {shown}; the text says {cell}", "default")


def _types(row: Row, fact: FieldFact, where: str, recorder: Recorder) -> None:
    word = row.cells["Type"]
    wanted = SCALARS.get(word, ModelConfig)
    holds = wanted in fact.types
    names = sorted(t.__name__ for t in fact.types)
    _everyone(recorder, holds, f"{where} is typed {names}; the text says {word}", "type")
    optional = parse_allowed(row.cells["Allowed"]).optional
    what = f"{where}: None is {'' if fact.optional else 'not '}in its type; the text differs"
    _everyone(recorder, optional == fact.optional, what, "optional")


def _legacy(row: Row, config_type: type, name: str, recorder: Recorder) -> None:
    config = _instance(config_type)
    cfg: dict[str, Any] = {}
    update_legacy_dict(cfg, config)
    value, key = getattr(config, name), KEY_MAPPINGS.get(name, name)
    wanted = str(value) if isinstance(value, Path) else value
    holds = key not in cfg if value is None else _same(cfg.get(key), wanted)
    what = f"params.cfg[{key!r}] is {cfg.get(key)!r} for {name}={value!r}"
    _everyone(recorder, holds, what, "legacy dictionary")


def _steps(allowed: Allowed, integer: bool) -> tuple[list[Any], list[Any]]:
    """Return values on the boundaries: those allowed and those just outside."""
    inside: list[Any] = []
    outside: list[Any] = []
    bounds = ((allowed.low, allowed.low_open, -1), (allowed.high, allowed.high_open, 1))
    for bound, is_open, outward in bounds:
        if math.isinf(bound):
            continue
        edge = int(bound) if integer else float(bound)
        beyond = edge + outward if integer else math.nextafter(edge, math.inf * outward)
        within = edge - outward if integer else math.nextafter(edge, -math.inf * outward)
        inside.append(within if is_open else edge)
        outside.append(edge if is_open else beyond)
    return inside, outside


def _unlisted(row: Row, allowed: Allowed) -> list[Any]:
    """Return values that a list of choices leaves out: near those listed, or in the code's list."""
    numbers = [value for value in allowed.choices if type(value) is int]
    near = {n for v in numbers for n in (v - 1, v + 1, v // 2, v * 2)}
    found = choices_of(row.target.partition(":")[0]).get(row.cells["Field"])
    known = found[0] if found else ()
    return [value for value in [*sorted(near), *known] if value not in allowed.choices]


def _probes(row: Row) -> tuple[list[Any], list[Any]]:
    """Return values that the Allowed cell accepts and values that it refuses."""
    allowed, word = parse_allowed(row.cells["Allowed"]), row.cells["Type"]
    inside: list[Any] = list(allowed.choices)
    outside: list[Any] = ["no such value"] if allowed.choices or word != "str" else []
    if allowed.choices:
        outside += _unlisted(row, allowed)
    if allowed.interval:
        inside, stepped = _steps(allowed, word == "int")
        outside = [*stepped, "no such value", math.nan]
        if word == "int":
            outside += [1.5, True]
    if word == "bool" and not allowed.choices:
        inside, outside = [True, False], [1, "False"]
    (inside if allowed.optional else outside).append(None)
    return inside, outside if word != "str" or allowed.choices else []


def _refusal(config_type: type, name: str, value: Any, door: str) -> str | None:
    """Return why a backend's door refuses the value, or ``None``; other errors pass through."""
    try:
        config = _instance(config_type, **{name: value})
        if config_type is InferenceConfig:
            validate_inference_config(config)
            return None
        if config_type is PyTorchExecutionConfig:
            return None
        training = TrainingConfig(model=config) if config_type is ModelConfig else config
        importlib.import_module(door).create_ptycho_data_container(None, training)
    except ValueError as error:
        return str(error)
    except TypeError as error:
        # The configuration was accepted: the door went on to the data, which is None.
        if "NoneType" in str(error):
            return None
        return f"TypeError: {error}"
    return None


def _tried(row: Row, backend: str) -> list[tuple[bool, str, str]]:
    """Return (holds, what, case) of every value at the edges of the Allowed cell."""
    from ptycho import params

    config_type, name = resolve(row.target), row.cells["Field"]
    inside, outside = _probes(row)
    door = f"{package_of(backend)}.workflows.components"
    saved = dict(params.cfg)
    found = []
    try:
        for value in inside:
            why = _refusal(config_type, name, value, door)
            # A weight of 0 can be refused together with its partner, not by itself.
            alone = why is None or f".{name} is" not in why
            found.append((alone, f"{name}={value!r} is refused: {why}", "allowed"))
        for value in outside:
            why = _refusal(config_type, name, value, door)
            named = why is not None and name in why and repr(value) in why
            what = f"{name}={value!r} gives {why or 'no error'}; expected a ValueError naming both"
            found.append((named, what, "outside"))
    finally:
        params.cfg.clear()
        params.cfg.update(saved)
    return found


def check_boundaries(row: Row, recorder: Recorder) -> None:
    """Judge what a field's row allows: values at its edges pass each door, those beyond do not."""
    if row.cells["Type"] in ("ModelConfig", "path"):
        return
    for backend in recorder.backends:
        tried = recorder.once(("boundaries", row.id, backend), partial(_tried, row, backend))
        for holds, what, case in tried:
            recorder.require(backend, holds, what, case)


def check_unspecified_fields(tables: dict[str, set[str]], recorder: Recorder) -> None:
    """Judge the reverse: fields of the dataclasses that no row describes."""
    for target, described in tables.items():
        for name in dataclass_fields(resolve(target)):
            what = f"{target}.{name} has no row in the specification"
            _everyone(recorder, name in described, what, "reverse")


# --------------------------------------------------------------------------- keys and constants


def check_key(row: Row, recorder: Recorder) -> None:
    """Judge one row of the key mappings."""
    name, key = row.cells["Field"], row.cells["Legacy key"]
    what = f"{name} is written to {KEY_MAPPINGS.get(name, name)!r}; the text says {key!r}"
    _everyone(recorder, KEY_MAPPINGS.get(name) == key, what, "mapping")
    holder = next(
        (t for t in (TrainingConfig, ModelConfig, InferenceConfig) if name in dataclass_fields(t)),
        None,
    )
    if holder is None:
        _everyone(recorder, False, f"no configuration has a field {name}", "field")
        return
    flat = dataclass_to_legacy_dict(_instance(holder))
    _everyone(
        recorder, key in flat and name not in flat, f"{key!r} is not in the dictionary", "use"
    )


def check_unspecified_keys(described: set[str], recorder: Recorder) -> None:
    """Judge the reverse: mappings that no row describes."""
    for name in KEY_MAPPINGS:
        what = f"KEY_MAPPINGS[{name!r}] has no row in the specification"
        _everyone(recorder, name in described, what, "reverse")


def check_constant(row: Row, recorder: Recorder) -> None:
    """Judge one row of the constants."""
    found, wanted = resolve(row.cells["Where"]), parse_literal(row.cells["Value"])
    what = f"{row.cells['Where']} is {found!r}; the text says {wanted!r}"
    _everyone(recorder, _same(found, wanted), what, "value")


def check_layer(row: Row, recorder: Recorder) -> None:
    """Judge one row of the weight shapes at N=64, gridsize 1, n=1."""
    from ptycho.core.weights import weight_shapes

    shapes = weight_shapes(ModelConfig(N=64, gridsize=1, n_filters_scale=1))
    name, shape = (row.cells[column] for column in list(row.cells)[:2])
    found = shapes.get(name)
    _everyone(
        recorder, found == parse_literal(shape), f"{name}: {found}; the text says {shape}", ""
    )
