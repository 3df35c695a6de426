"""Seeded defects: each must turn its check red, for the backend it is in, and leave others green.

A gate that has never been seen red proves nothing. Every defect is put into the running code of
one backend (or of what both share), never into the check.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity import process
from parity.backends import CONTRACTED, load_backends
from parity.checks.recorder import PAIR
from parity.checks.registry import registered_checks
from parity.gate import run_check
from parity.ledger import load_tolerances

process.pin()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parity,
    pytest.mark.timeout(1800),
    pytest.mark.xdist_group("parity"),
]

Defect = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Case:
    """A defect, the verdicts that it turns red, and a check that it must not touch."""

    name: str
    plant: Defect
    red: dict[str, set[str]]
    green: tuple[str, ...] = ()
    says: str = ""


def _wrap(
    module: str, name: str, change: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Defect:
    def plant(patch: pytest.MonkeyPatch) -> None:
        owner: Any = importlib.import_module(module.partition(":")[0])
        for part in filter(None, module.partition(":")[2].split(".")):
            owner = getattr(owner, part)
        patch.setattr(owner, name, change(getattr(owner, name)))

    return plant


def _after(change: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that changes what a function returns."""
    return lambda original: lambda *given, **named: change(original(*given, **named))


def _before(change: Callable[..., tuple[Any, ...]]) -> Any:
    """Return a decorator that changes the positional arguments of a function."""
    return lambda original: lambda *given, **named: original(*change(*given), **named)


def _nan_at_one_pixel(outputs):
    outputs["amplitude"][0, 3, 4, 0] = np.nan
    return outputs


def _transposed(weights):
    return {k: np.swapaxes(v, 0, 1) if k.endswith("/kernel") else v for k, v in weights.items()}


def _swapped(weights):
    a, b = "amplitude_decoder/block1/conv1/kernel", "phase_decoder/block1/conv1/kernel"
    return {**weights, a: weights[b], b: weights[a]}


def _halved_gradient(gradients):
    return {
        **gradients,
        "encoder/block1/conv1/kernel": gradients["encoder/block1/conv1/kernel"] / 2,
    }


def _without(name):
    return lambda mapping: {k: v for k, v in mapping.items() if k != name}


def _scaled(name, factor):
    return lambda mapping: {**mapping, name: mapping[name] * factor}


def _keras_adam(patch):
    import keras

    from ptycho import optimisers

    patch.setattr(optimisers, "Adam", keras.optimizers.Adam)


def _torch_epsilon(original):
    def configured(self):
        optimiser = original(self)
        for group in optimiser.param_groups:
            group["eps"] = 1e-7
        return optimiser

    return configured


def _other_seed(original):
    def planned(container, config, weights=None):
        return original(container, dataclasses.replace(config, seed=config.seed + 1), weights)

    return planned


def _reversed_epochs(original):
    def planned(*given, **named):
        plan = original(*given, **named)
        return dataclasses.replace(plan, training=plan.training[::-1].copy())

    return planned


def _drop_member(original):
    def written(path, members):
        kept = {k: v for k, v in members.items() if k != "autoencoder/params.json"}
        return original(path, kept)

    return written


def _another_key(original):
    def snapshot(config):
        return {**original(config), "surplus": 1}

    return snapshot


def _changed_default(original):
    def read(namespace):
        job = original(namespace)
        job.config.learning_rate = 2e-3
        return job

    return read


def _wider_disc(original):
    return lambda N: original(N * 2)[N // 2 : N // 2 + N, N // 2 : N // 2 + N]


def _mode_average(original):
    return lambda waves: original(waves) / waves.shape[2]


def _beside_the_centre(original):
    def placed(patches, relative):
        import tensorflow as tf

        return tf.roll(original(patches, relative), 1, axis=-1)

    return placed


def _gradient_of(applies, change):
    """Change the gradients of the configurations to which ``applies`` applies."""

    def decorate(original):
        def gradients(config, weights, *given):
            found = original(config, weights, *given)
            if not applies(config.model, weights):
                return found
            return {name: value * np.float32(change) for name, value in found.items()}

        return gradients

    return decorate


def _forgotten_history(trained):
    del trained.history["val_loss"]
    return trained


_TF, _TORCH = {"tensorflow", PAIR}, {"pytorch", PAIR}

_CASES = [
    Case(
        "patches move the wrong way",
        _wrap("ptycho_torch.physics", "shift_matrices", _before(lambda t, n, m: (-t, n, m))),
        {"F-2": _TORCH, "S-2": _TORCH},
        ("F-1",),
    ),
    Case(
        "x and y of the offsets change places",
        _wrap("ptycho.physics", "shift_matrices", _after(lambda pair: pair[::-1])),
        {"F-2": _TF, "S-2": _TF},
        ("F-1",),
    ),
    Case(
        "channels enter in another order",
        _wrap(
            "ptycho_torch.model",
            "to_batch",
            _after(lambda batch: batch._replace(x=batch.x.flip(1).contiguous())),
        ),
        {"F-2": _TORCH},
        ("F-1",),
    ),
    Case(
        "one pixel is NaN on one side",
        _wrap("ptycho.model", "evaluate", _after(_nan_at_one_pixel)),
        {"F-1": _TF},
        ("L-1",),
        "NaN or infinity on one side only, at 1 of",
    ),
    Case(
        "an output is off by twenty parts in a million",
        _wrap("ptycho_torch.model", "evaluate", _after(_scaled("intensity", np.float32(1.00002)))),
        {"F-1": _TORCH},
    ),
    Case(
        "an output has another dtype",
        _wrap("ptycho.model", "evaluate", _after(_scaled("amplitude", np.float64(1)))),
        {"F-1": _TF},
        says="float64",
    ),
    Case(
        "kernels are stored with rows and columns exchanged",
        _wrap("ptycho_torch.model", "get_canonical_weights", _after(_transposed)),
        {"W-1": _TORCH},
        ("F-1",),
    ),
    Case(
        "two weights of one shape change places",
        _wrap("ptycho.model", "get_canonical_weights", _after(_swapped)),
        {"W-1": _TF},
        ("F-1",),
        "amplitude_decoder/block1/conv1/kernel",
    ),
    Case(
        "training starts from another seed",
        _wrap("ptycho_torch.training", "plan_training", _other_seed),
        {"W-2": {"pytorch"}, "T-1": {PAIR}},
    ),
    Case(
        "softplus is ReLU",
        lambda patch: patch.setitem(
            importlib.import_module("ptycho_torch.layers").ACTIVATIONS,
            "softplus",
            importlib.import_module("torch").relu,
        ),
        {"F-4": _TORCH},
        ("F-1", "F-5"),
    ),
    Case(
        "the probe mask is twice as wide",
        _wrap("ptycho.physics", "probe_disc", _wider_disc),
        {"F-6": _TF},
        ("F-5",),
    ),
    Case(
        "the likelihood is summed over two pixels",
        _wrap("ptycho_torch.losses", "nll", _after(lambda value: 2 * value)),
        {"L-1": _TORCH},
    ),
    Case(
        "absolute errors are divided by the square of the scale",
        _wrap(
            "ptycho.losses",
            "mae",
            lambda original: (
                lambda x, amplitude, scale, *more: original(x, amplitude, scale, *more) / scale
            ),
        ),
        {"L-2": _TF, "L-4": {"tensorflow"}},
        ("L-1", "L-3"),
    ),
    Case(
        "real-space errors count for a thousandth more",
        _wrap("ptycho_torch.losses", "realspace", _after(lambda value: 1.001 * value)),
        {"L-2": _TORCH, "L-3": _TORCH, "G-2": _TORCH},
        ("L-1",),
    ),
    Case(
        "modes are averaged",
        _wrap("ptycho_torch.physics", "diffract", _mode_average),
        {"F-5": _TORCH},
        ("F-1", "F-4"),
    ),
    Case(
        "a single patch stands beside the centre",
        _wrap("ptycho.physics", "place_single", _beside_the_centre),
        {"F-3": _TF},
        ("F-2",),
    ),
    Case(
        "gradients through a single patch per group are off by a thousandth",
        _wrap(
            "ptycho_torch.training",
            "loss_gradients",
            _gradient_of(lambda model, _: not model.object_big, 1.001),
        ),
        {"G-3": _TORCH},
        ("G-1",),
    ),
    Case(
        "gradients under one probe mode are off by two in ten thousand",
        _wrap(
            "ptycho.training",
            "loss_gradients",
            _gradient_of(lambda _, weights: len(weights["probe"]) == 1, 1.0002),
        ),
        {"G-4": _TF},
        ("G-1",),
    ),
    Case(
        "validation is left out of the history",
        _wrap("ptycho_torch.training", "train", _after(_forgotten_history)),
        {"T-1": {PAIR}},
        says="val_loss",
    ),
    Case(
        "a loaded model predicts the conjugate",
        _wrap("ptycho_torch.model_manager:ObjectPredictor", "predict", _after(np.conj)),
        {"A-2": _TORCH},
        ("A-1",),
    ),
    Case(
        "a legacy key is renamed everywhere but in the specification",
        lambda patch: patch.setitem(
            importlib.import_module("ptycho.config.config").KEY_MAPPINGS, "seed", "seed"
        ),
        {"key-mappings/seed": {"tensorflow", "pytorch"}},
        ("C-1", "key-mappings/object_big"),
        "npseed",
    ),
    Case(
        "missing labels are no error",
        _wrap(
            "ptycho.losses",
            "total_loss",
            lambda original: (
                lambda config, terms: (
                    original(config, terms) if "realspace" in terms else terms["nll"]
                )
            ),
        ),
        {"L-3": {"tensorflow"}},
        ("L-1",),
        "no labels, yet the loss is",
    ),
    Case(
        "half a gradient",
        _wrap("ptycho.training", "loss_gradients", _after(_halved_gradient)),
        {"G-1": _TF},
        says="encoder/block1/conv1/kernel",
    ),
    Case(
        "a gradient is missing",
        _wrap("ptycho_torch.training", "loss_gradients", _after(_without("probe"))),
        {"G-1": _TORCH},
        says="probe",
    ),
    Case("Adam as in Keras", _keras_adam, {"U-1": _TF}),
    Case(
        "Adam with the epsilon of Keras",
        _wrap("ptycho_torch.model:PtychoPINN_Lightning", "configure_optimizers", _torch_epsilon),
        {"U-1": _TORCH},
    ),
    Case(
        "an epoch is visited in another order",
        _wrap("ptycho.training", "plan_training", _reversed_epochs),
        {"U-2": {"tensorflow"}, "T-1": {PAIR}},
    ),
    Case(
        "stitching mirrors the positions",
        _wrap("ptycho_torch.helper", "reassemble", _before(lambda p, d, M: (p, -d, M))),
        {"S-1": _TORCH, "S-3": _TORCH},
    ),
    Case(
        "an archive lacks a member",
        _wrap("ptycho.core.bundle", "write_archive", _drop_member),
        {"A-1": {"tensorflow", "pytorch", PAIR}},
        says="autoencoder/params.json",
    ),
    Case(
        "one backend saves another key",
        _wrap("ptycho_torch.training", "training_params", _another_key),
        {"A-1": {PAIR}},
        says="surplus",
    ),
    Case(
        "a default of the command line is changed",
        _wrap("ptycho.cli.train", "read_job", _changed_default),
        {"C-1": {PAIR}},
        ("key-mappings/seed",),
        "learning_rate: 0.001 (float) vs 0.002",
    ),
    Case(
        "a default of the legacy dictionary has another type",
        _wrap("ptycho.params", "default_cfg", _after(_scaled("nphotons", np.float64(1)))),
        {"C-1": {PAIR}},
        ("key-mappings/seed",),
        "nphotons",
    ),
]


@pytest.fixture(scope="module")
def backends():
    found = {name: b for name, b in load_backends().items() if name in CONTRACTED}
    for backend in found.values():
        reason = backend.available()
        if reason is not None:
            pytest.skip(reason)
    return found


def _verdicts(check_id, backends):
    result, _ = run_check(registered_checks()[check_id], backends, {}, load_tolerances())
    assert not result.error, result.error
    red = {name for name, verdict in result.verdicts.items() if verdict.status != "pass"}
    return red, [f.what for f in result.findings]


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_seeded_defect(case, backends, monkeypatch):
    case.plant(monkeypatch)
    for check_id, expected in case.red.items():
        red, findings = _verdicts(check_id, backends)
        assert red == expected, (check_id, findings[:3])
        assert any(case.says in what for what in findings)
    for check_id in case.green:
        red, findings = _verdicts(check_id, backends)
        assert not red, (check_id, findings[:3])


_SEEN_RED = {id for case in _CASES for id in case.red if "/" not in id} | {"I-1"}


def test_every_check_of_the_backends_has_a_defect():
    letters = tuple(f"{letter}-" for letter in "WFLGUTSACI")
    assert {name for name in registered_checks() if name.startswith(letters)} == _SEEN_RED


@pytest.mark.parametrize("check_id", sorted(_SEEN_RED))
def test_without_a_defect_the_same_checks_are_green(check_id, backends):
    red, findings = _verdicts(check_id, backends)
    assert not red, findings[:3]


def test_an_import_of_the_other_framework_is_seen(monkeypatch, tmp_path, backends):
    """I-1 works in another process, so its defect is a module that shadows one of ours."""
    import ptycho_torch

    source = Path(ptycho_torch.__file__).with_name("losses.py").read_text(encoding="utf-8")
    attempt = "try:\n    import tensorflow\nexcept ImportError:\n    pass\n"
    (tmp_path / "sitecustomize.py").write_text(_SHADOW, encoding="utf-8")
    future = "from __future__ import annotations\n"
    (tmp_path / "shadow.txt").write_text(
        source.replace(future, future + attempt, 1), encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PARITY_SHADOW", str(tmp_path / "shadow.txt"))
    red, findings = _verdicts("I-1", backends)
    assert red == {"pytorch"}
    assert any("tensorflow (from ptycho_torch.losses)" in what for what in findings)


_SHADOW = """
import importlib.machinery, os, pathlib, sys

class Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname):
        if fullname == "ptycho_torch.losses":
            return compile(pathlib.Path(os.environ["PARITY_SHADOW"]).read_text(), "shadow", "exec")
        return super().get_code(fullname)

hook = importlib.machinery.FileFinder.path_hook((Loader, [".py"]))
find_spec = importlib.machinery.PathFinder.find_spec

class Shadow:
    @staticmethod
    def find_spec(fullname, path=None, target=None):
        if fullname != "ptycho_torch.losses":
            return None
        spec = find_spec(fullname, path, target)
        spec.loader = Loader(fullname, spec.origin)
        return spec

sys.meta_path.insert(0, Shadow)
"""
