"""A saved model, ``wts.h5.zip``: what it holds, and how it is written and read by both backends.

``manifest.dill`` and ``manifest.json`` name the two models, the format version, the backend that
wrote them, and the SHA-256 of every other member. Each model directory holds the backend's own
file (``model.keras`` or ``model.ckpt``), ``model.h5`` with the canonical weights, and
``params.dill``/``params.json``, the configuration snapshot. Reading needs ``model.h5`` and the
snapshot only, so either backend reads what the other wrote, and runs no code from the file.
``autoencoder/training.h5`` holds the state from which the training can go on.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.config.config import (
    KEY_MAPPINGS,
    ModelConfig,
    dataclass_to_legacy_dict,
    validate_model_config,
)
from ptycho.core import safe_pickle
from ptycho.core.archive import (
    ARCHIVE_NAME,
    ArchiveError,
    BadParams,
    BadWeights,
    ChecksumMismatch,
    MissingMember,
    UnknownBackend,
    check_name,
    read_archive,
    read_members,
    read_unpacked,
    write_archive,
)
from ptycho.core.manifest import (
    BACKENDS,
    MANIFESTS,
    MODELS,
    load_plain,
    manifest_members,
    read_manifest,
    to_json,
)
from ptycho.core.native_payload import PAYLOADS, inspect_payload
from ptycho.core.patterns import bad_pixels_of
from ptycho.core.training_state import TrainingState, dump_state, load_state
from ptycho.core.weights import Weights, check_weights
from ptycho.core.weights_file import WeightsFile, dump_weights, load_weights

_STATE = "autoencoder/training.h5"
_REQUIRED = ("model.h5", "params.dill", "params.json")
_SNAPSHOTS = tuple(f"{m}/{name}" for m in MODELS for name in ("params.dill", "params.json"))
#: What a compact bundle leaves out: the other model's weights are the same.
_SPARED = "diffraction_to_obj/model.h5"
_NESTED_PATTERNS = (f"*/{ARCHIVE_NAME}", f"*/*/{ARCHIVE_NAME}")


@dataclass(eq=False)
class Bundle:
    """A trained model without its framework.

    ``weights`` has the canonical names of ``ptycho.core.weights``; ``intensity_scale`` and
    ``normalisation`` are those of the training data; ``params`` is a snapshot of the legacy
    dictionary, in which a bundle that was read also has every model field and the scale.
    :attr:`bad_pixels` (N, N) are those of the scan trained on, or None.
    ``state`` is where the training stood, None for a model that cannot be trained on.
    """

    backend: str
    config: ModelConfig
    weights: Weights
    intensity_scale: float
    normalisation: float
    params: dict[str, Any] = field(default_factory=dict)
    state: TrainingState | None = None

    @property
    def bad_pixels(self) -> NDArray[np.bool_] | None:
        """Pixels (N, N) that were bad in the training, from ``params``."""
        return bad_pixels_of(self.params, self.config.N)

    def model_params(self) -> dict[str, Any]:
        """Return the part of ``params`` that describes the model, not the run that trained it."""
        return {
            **dataclass_to_legacy_dict(self.config),
            "intensity_scale": self.intensity_scale,
        }


# --------------------------------------------------------------------------- writing


def write_bundle(
    path: str | Path,
    bundle: Bundle,
    native: Mapping[str, bytes],
    *,
    custom_objects: Sequence[str] = (),
    compact: bool = False,
) -> Path:
    """Write ``bundle`` and return the file's path; equal input gives equal bytes.

    ``path`` is a directory, made if missing, that gets ``wts.h5.zip``, or a path ending in
    ``.zip``. ``native`` maps member names such as ``autoencoder/model.keras`` to the backend's own
    files, ``custom_objects`` names the Keras classes in them (TensorFlow). ``compact`` writes
    the weights once, and neither these files nor the state.

    Raises ``ValueError`` naming what cannot be saved, ``OSError`` naming the file where it cannot
    be written; an existing archive then stays as it was.
    """
    _check_bundle(bundle)
    params = _snapshot(bundle)
    members: dict[str, bytes] = {}
    for model in MODELS:
        weights = dict(bundle.weights)
        if model == "diffraction_to_obj":
            del weights["probe"]
        if not (compact and f"{model}/model.h5" == _SPARED):
            members[f"{model}/model.h5"] = dump_weights(
                WeightsFile(weights, bundle.backend, bundle.intensity_scale, bundle.normalisation)
            )
        members[f"{model}/params.dill"] = safe_pickle.dumps(params, "params")
        members[f"{model}/params.json"] = to_json(params)
        if bundle.backend == "tensorflow" and not compact:
            members[f"{model}/custom_objects.dill"] = safe_pickle.dumps(
                {"names": sorted(custom_objects)}, "custom_objects"
            )
    if bundle.state is not None and not compact:
        members[_STATE] = dump_state(bundle.state, bundle.config)
    for name, data in () if compact else native.items():
        if name in members or name.partition("/")[0] not in MODELS:
            raise ValueError(f"native file {name!r}: expected a new name below one of {MODELS}")
        members[name] = bytes(data)
    return write_archive(path, {**members, **manifest_members(bundle.backend, members, compact)})


def _check_bundle(bundle: Bundle) -> None:
    if bundle.backend not in BACKENDS:
        raise ValueError(f"Bundle.backend is {bundle.backend!r}; allowed: one of {BACKENDS}")
    validate_model_config(bundle.config)
    check_weights(bundle.weights, bundle.config)


def _snapshot(bundle: Bundle) -> dict[str, Any]:
    """Return the snapshot that is saved: ``bundle.params`` in plain types, sorted by key.

    The model's fields and the intensity scale come from the bundle itself, ``probe`` is left to
    the weights.
    """
    snapshot = {**bundle.params, **bundle.model_params()}
    snapshot.pop("probe", None)
    return {key: _plain(snapshot[key], f"params[{key!r}]") for key in sorted(snapshot)}


def _plain(value: Any, where: str, depth: int = safe_pickle.MAX_DEPTH) -> Any:
    """Return ``value`` with NumPy scalars and paths in it converted; the rest must be plain."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, (list, tuple, dict)) and not depth:
        raise ValueError(f"{where} is nested deeper than {safe_pickle.MAX_DEPTH} levels")
    if isinstance(value, (list, tuple)):
        parts = [_plain(part, f"{where}[{i}]", depth - 1) for i, part in enumerate(value)]
        return parts if isinstance(value, list) else tuple(parts)
    if isinstance(value, dict):
        return {k: _plain(part, f"{where}[{k!r}]", depth - 1) for k, part in value.items()}
    safe_pickle.check_plain(value, where)
    return value


# --------------------------------------------------------------------------- reading


def read_bundle(path: str | Path, reader: str | None = None) -> Bundle:
    """Read a saved model of either backend; no code from the file runs.

    ``reader`` is the backend that asks, named in errors beside the one that wrote the file.

    ``path`` is the directory holding ``wts.h5.zip``, the archive under any name, or a directory
    with an unpacked archive (``manifest.dill`` at its root) or one ``wts.h5.zip`` further down.

    Raises ``FileNotFoundError`` saying what was looked for, or an ``ArchiveError`` subclass
    saying what is wrong, where, and what to do.
    """
    place = find_bundle(path)
    unpacked = place.is_dir()
    members = read_unpacked(place, MANIFESTS) if unpacked else read_archive(place)
    manifest = read_manifest(members, place)
    try:
        if unpacked:
            members.update(read_unpacked(place, manifest["checksums"]))
        return _read_members(members, manifest, place)
    except ArchiveError as error:
        if reader is None:
            raise
        raise type(error)(
            f"{error} (written by backend {manifest['backend']!r}, read by {reader!r})"
        ) from error


def _read_members(members: Mapping[str, bytes], manifest: dict[str, Any], place: Path) -> Bundle:
    _check_members(members, manifest, place)
    for name, data in members.items():
        file = name.rpartition("/")[2]
        if file in PAYLOADS:
            inspect_payload(file, data, f"{place}: {name}")
    snapshot = _read_params(members, place)
    config = _read_config(snapshot, place)
    content = _read_weights(members, config, manifest["backend"], place)
    if snapshot.get("intensity_scale") != content.intensity_scale:
        raise BadParams(
            f"{place}: params and model.h5 disagree on intensity_scale; save the model again"
        )
    try:
        bad_pixels_of(snapshot, config.N)
    except ValueError as error:
        raise BadParams(f"{place}: params: {error}; save the model again") from error
    return Bundle(
        backend=content.backend,
        config=config,
        weights=content.weights,
        intensity_scale=content.intensity_scale,
        normalisation=content.normalisation,
        params=snapshot,
        state=_read_state(members, config, place),
    )


def written_by(path: str | Path) -> str:
    """Return the name of the backend that wrote a bundle; only its manifest is read.

    ``path`` and errors are those of :func:`read_bundle`.
    """
    place = find_bundle(path)
    whole = not place.is_dir()
    members = read_members(place, MANIFESTS) if whole else read_unpacked(place, MANIFESTS)
    backend: str = read_manifest(members, place)["backend"]
    return backend


def read_model_config(path: str | Path) -> ModelConfig:
    """Return a saved model's configuration; only manifest and snapshots are read, not weights.

    ``path`` and errors are those of :func:`read_bundle`.
    """
    place = find_bundle(path)
    names = (*MANIFESTS, *_SNAPSHOTS)
    members = read_unpacked(place, names) if place.is_dir() else read_members(place, names)
    checksums = read_manifest(members, place)["checksums"]
    _check_sums(members, {name: checksums.get(name) for name in _SNAPSHOTS}, place)
    return _read_config(_read_params(members, place), place)


def find_bundle(path: str | Path) -> Path:
    """Return the archive file, or the directory of an unpacked one, that ``path`` stands for."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no saved model: {path} does not exist")
    if not path.is_dir():
        return path
    if (path / ARCHIVE_NAME).is_file():
        return path / ARCHIVE_NAME
    if (path / MANIFESTS[0]).exists():
        return path
    nested = sorted(file for pattern in _NESTED_PATTERNS for file in path.glob(pattern))
    nested = [file for file in nested if file.is_file()]
    if len(nested) > 1:
        found = ", ".join(str(file) for file in nested[:5])
        raise ArchiveError(f"{path} holds several saved models ({found}); give the path of one")
    if not nested:
        raise FileNotFoundError(
            f"no saved model in {path}: looked for {ARCHIVE_NAME} there and up to two directories "
            f"down, and for {MANIFESTS[0]} of an unpacked one"
        )
    return nested[0]


def _check_members(members: Mapping[str, bytes], manifest: Mapping[str, Any], place: Path) -> None:
    checksums = manifest["checksums"]
    for name in checksums:
        check_name(name, place)
    for name in (f"{model}/{required}" for model in MODELS for required in _REQUIRED):
        if name == _SPARED and manifest.get("compact") is True:
            continue
        if name not in checksums or name not in members:
            raise MissingMember(f"{place}: {name!r} is missing; save the model again")
    _check_sums(members, checksums, place)
    extra = sorted(set(members) - set(checksums) - set(MANIFESTS))
    if extra:
        raise ChecksumMismatch(
            f"{place}: members that the manifest does not list: {', '.join(extra[:5])}; remove "
            "them or save the model again"
        )


def _check_sums(members: Mapping[str, bytes], checksums: Mapping[str, Any], place: Path) -> None:
    for name, expected in checksums.items():
        if name not in members:
            raise MissingMember(f"{place}: {name!r} is missing; copy or save the model again")
        if hashlib.sha256(members[name]).hexdigest() != expected:
            raise ChecksumMismatch(
                f"{place}: {name!r} is not what was saved (SHA-256 differs); copy or save the "
                "model again"
            )


def _read_params(members: Mapping[str, bytes], place: Path) -> dict[str, Any]:
    first: dict[str, Any] = {}
    for model in MODELS:
        for name in (f"{model}/params.dill", f"{model}/params.json"):
            params = load_plain(members, name, place)
            first = first or params
            if to_json(params) != to_json(first):
                raise BadParams(
                    f"{place}: {name} disagrees with {MODELS[0]}/params.dill; save it again"
                )
        if f"{model}/custom_objects.dill" in members:
            load_plain(members, f"{model}/custom_objects.dill", place)
    return first


def _read_config(params: Mapping[str, Any], place: Path) -> ModelConfig:
    values: dict[str, Any] = {}
    for f in dataclasses.fields(ModelConfig):
        key = KEY_MAPPINGS.get(f.name, f.name)
        if key not in params:
            raise BadParams(f"{place}: params have no {key!r}; save the model again")
        values[f.name] = params[key]
    config = ModelConfig(**values)
    try:
        validate_model_config(config)
    except ValueError as error:
        raise BadParams(f"{place}: params describe no network: {error}") from error
    return config


def _read_weights(
    members: Mapping[str, bytes], config: ModelConfig, backend: str, place: Path
) -> WeightsFile:
    full = load_weights(members["autoencoder/model.h5"], config, f"{place}: autoencoder/model.h5")
    if "probe" not in full.weights:
        raise BadWeights(f"{place}: autoencoder/model.h5: weight 'probe' is missing")
    if _SPARED in members:
        _check_same(load_weights(members[_SPARED], config, f"{place}: {_SPARED}"), full, place)
    if full.backend != backend:
        raise UnknownBackend(
            f"{place}: the manifest says {backend!r}, model.h5 says {full.backend!r}; save it again"
        )
    return full


def _check_same(part: WeightsFile, full: WeightsFile, place: Path) -> None:
    for name, value in part.weights.items():
        if not np.array_equal(value, full.weights[name]):
            raise BadWeights(f"{place}: the two models disagree on weight {name!r}; save it again")
    for name in ("intensity_scale", "normalisation", "backend"):
        if getattr(part, name) != getattr(full, name):
            raise BadWeights(f"{place}: the two models disagree on {name}; save it again")


def _read_state(
    members: Mapping[str, bytes], config: ModelConfig, place: Path
) -> TrainingState | None:
    if _STATE not in members:
        return None
    return load_state(members[_STATE], config, f"{place}: {_STATE}")
