"""Q-28, B-8: each backend's own file loads in its framework's safe mode; the HDF5 members."""

from __future__ import annotations

import io
import re
import tempfile
import zipfile
from collections.abc import Mapping
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from parity.backends import Backend
from parity.callchain.scenario import package_of
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.scenes import bundle_bytes
from parity.checks.training import twenty_steps

_ROLES = ("autoencoder", "diffraction_to_obj")


@check(
    "Q-28", "The native payload loads without executing code and holds the weights", ("backend",)
)
def payload(run: Recorder) -> None:
    """Keras with ``safe_mode=True``, torch with ``weights_only=True``; versions as required."""
    readers = {"tensorflow": _keras_payload, "pytorch": _torch_payload}
    for subject, backend in run.backends.items():
        package_of(subject)
        trained = twenty_steps(run, backend)
        for role, weights in readers[subject](run, _natives(run, backend)).items():
            expected = dict(trained.weights)
            if role == "diffraction_to_obj":
                del expected["probe"]
            odd = sorted(set(weights) ^ set(expected))
            run.require(subject, not odd, f"weights on one side only: {odd}", role)
            for name in weights.keys() & expected.keys():
                same = np.array_equal(weights[name], expected[name])
                run.require(subject, same, f"{name} is not the trained one", role)


def _natives(run: Recorder, backend: Backend) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(bundle_bytes(run, backend))) as archive:
        names = [n for n in archive.namelist() if n.endswith((".keras", ".ckpt"))]
        return {name: archive.read(name) for name in names}


def _oldest(distribution: str) -> tuple[int, int]:
    """Return the version from which on the package requires ``distribution``."""
    lines = [line for line in requires("ptychopinn") or () if line.startswith(distribution)]
    numbers = re.findall(r">=\s*(\d+)\.(\d+)", " ".join(lines))
    return min(((int(a), int(b)) for a, b in numbers), default=(0, 0))


def _judge_version(
    run: Recorder, subject: str, name: str, version: str, oldest: tuple[int, int]
) -> None:
    declared = _oldest(name)
    run.require(subject, declared == oldest, f"{name}>={declared} is declared, not {oldest}")
    found = tuple(int(part) for part in version.split(".")[:2])
    run.require(subject, found >= oldest, f"{name} {version} is older than {oldest}")


def _keras_payload(run: Recorder, members: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    import keras
    import tensorflow as tf

    import ptycho.layers  # noqa: F401  # registers the layers
    from ptycho.model import get_canonical_weights

    _judge_version(run, "tensorflow", "tensorflow", tf.__version__, (2, 19))
    third = keras.__version__.startswith("3.") and keras.backend.backend() == "tensorflow"
    what = f"keras {keras.__version__} on {keras.backend.backend()}"
    run.require("tensorflow", third, what)
    found = {}
    for role in _ROLES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            path.write_bytes(members[f"{role}/model.keras"])
            model = keras.saving.load_model(path, safe_mode=True)
        found[role] = get_canonical_weights(model)
    return found


def _torch_payload(run: Recorder, members: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    import torch

    from ptycho_torch.model import canonical_array, canonical_name

    _judge_version(run, "pytorch", "torch", torch.__version__, (2, 2))
    found = {}
    for role in _ROLES:
        data = members[f"{role}/model.ckpt"]
        state = torch.load(io.BytesIO(data), weights_only=True)["state_dict"]
        short = {name.removeprefix("model."): value for name, value in state.items()}
        found[role] = {canonical_name(n): canonical_array(n, v) for n, v in short.items()}
    return found


# --------------------------------------------------------------------------- HDF5 members

_MODEL_ATTRIBUTES = {"backend", "format_version", "intensity_scale", "normalisation"}
_TRAINING_ATTRIBUTES = {
    *("batch", "epoch", "format_version", "groups", "step"),
    *("plateau_bad_epochs", "plateau_best", "plateau_rate"),
}


def _contents(data: bytes) -> tuple[dict[str, tuple[str, tuple[int, ...], bool]], set[str]]:
    """Return name -> (dtype, shape, contiguous) of every dataset, and the root attributes."""
    found: dict[str, tuple[str, tuple[int, ...], bool]] = {}

    def visit(name: str, each: Any) -> None:
        if isinstance(each, h5py.Dataset):
            found[name] = (each.dtype.str, each.shape, each.chunks is None)

    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(visit)
        return found, set(file.attrs)


@check("B-8", "The HDF5 members hold what the text lists, read by h5py alone", ("backend",))
def hdf5_members(run: Recorder) -> None:
    """Names, types and shapes of ``model.h5`` and ``training.h5``, and their attributes."""
    for subject, backend in run.backends.items():
        trained = twenty_steps(run, backend)
        weights = {name: value.shape for name, value in trained.weights.items()}
        with zipfile.ZipFile(io.BytesIO(bundle_bytes(run, backend))) as archive:
            members = {n: archive.read(n) for n in archive.namelist() if n.endswith(".h5")}
        for role in _ROLES:
            datasets, attributes = _contents(members[f"{role}/model.h5"])
            names = set(weights) - ({"probe"} if role == "diffraction_to_obj" else set())
            expected = {name: ("<f4", weights[name], True) for name in names}
            run.require(subject, datasets == expected, f"datasets {sorted(datasets)}", role)
            run.require(subject, attributes == _MODEL_ATTRIBUTES, f"{sorted(attributes)}", role)
        datasets, attributes = _contents(members["autoencoder/training.h5"])
        expected = {
            f"{part}/{name}": ("<f4", shape, True)
            for part in ("first", "second")
            for name, shape in weights.items()
            if name != "probe"  # which does not train here
        }
        shown = [name for name in trained.history if name != "train_loss"]
        for number, name in enumerate(shown):
            epochs = len(trained.history[name])
            expected[f"history/{number:02d}_{name}"] = ("<f8", (epochs,), True)
        odd = sorted(set(datasets.items()) ^ set(expected.items()))
        run.require(subject, not odd, f"expected and found differ in {odd[:4]}", "training.h5")
        same = attributes == _TRAINING_ATTRIBUTES
        run.require(subject, same, f"attributes {sorted(attributes)}", "training.h5")
