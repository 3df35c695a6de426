"""The logical tree of an archive: what is in it, without bytes that may differ between runs.

Nothing in the archive is executed: pickles of plain values, JSON and HDF5 are read by the
readers of ``ptycho.core``; a backend's own payload is listed by name only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.config.config import ModelConfig
from ptycho.core import safe_pickle
from ptycho.core.archive import read_archive, read_unpacked
from ptycho.core.bundle import find_bundle, read_bundle
from ptycho.core.training_state import load_state
from ptycho.core.weights_file import load_weights

#: Member file names whose content belongs to one backend.
NATIVE = {"model.keras": "keras", "custom_objects.dill": "keras", "model.ckpt": "checkpoint"}

#: Entries whose value, and not only whose type, is part of the layout.
_FIXED = frozenset({"models", "version", "N", "gridsize", "model_type", "architecture"})

Tree = dict[str, Any]


def _type(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _type(part) for key, part in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *(_type(part) for part in value)]
    return type(value).__name__


def _mapping(value: Mapping[str, Any]) -> Tree:
    tree: Tree = {}
    for key, part in sorted(value.items()):
        if key == "checksums":
            tree[key] = sorted(part)
        elif key == "backend":
            tree[key] = f"{type(part).__name__}, the writer's"
        else:
            tree[key] = part if key in _FIXED else _type(part)
    return tree


def _tensors(arrays: Mapping[str, NDArray[Any]], hashes: bool) -> Tree:
    return {name: _tensor(value, hashes) for name, value in sorted(arrays.items())}


def _tensor(value: NDArray[Any], hashes: bool) -> str:
    text = f"{value.dtype} {list(value.shape)}"
    if hashes:
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        text += f" sha256:{digest[:16]}"
    return text


def _weights(data: bytes, config: ModelConfig, name: str, hashes: bool) -> Tree:
    content = load_weights(data, config, name)
    tensors = _tensors(content.weights, hashes)
    return {"kind": "hdf5", "tensors": tensors, "scales": ["intensity_scale", "normalisation"]}


def _training(data: bytes, config: ModelConfig, name: str, hashes: bool) -> Tree:
    state = load_state(data, config, name)
    tensors = {
        f"{part}/{key}": text
        for part, moments in (("first", state.first), ("second", state.second))
        for key, text in _tensors(moments, hashes).items()
    }
    counts = {"epoch": state.epoch, "batch": state.batch, "step": state.step}
    return {"kind": "hdf5", "tensors": tensors, "history": sorted(state.history), **counts}


def describe_member(name: str, data: bytes, config: ModelConfig, hashes: bool = False) -> Tree:
    """Return the logical description of one member of an archive of this model."""
    file = name.rpartition("/")[2]
    if file in NATIVE:
        return {"kind": NATIVE[file]}
    if file.endswith(".dill"):
        return {"kind": "pickle", "content": _mapping(safe_pickle.loads(data, name))}
    if file.endswith(".json"):
        return {"kind": "json", "content": _mapping(json.loads(data))}
    if file == "training.h5":
        return _training(data, config, name, hashes)
    if file.endswith(".h5"):
        return _weights(data, config, name, hashes)
    return {"kind": "unknown"}


def archive_tree(path: str | Path, hashes: bool = False) -> Tree:
    """Return member name -> description, sorted by name; with ``hashes`` those of the tensors.

    Raises ``ptycho.core.archive.ArchiveError`` for what cannot be read safely.
    """
    place = find_bundle(path)
    config = read_bundle(place).config
    if place.is_dir():
        manifest = json.loads(read_unpacked(place, ["manifest.json"])["manifest.json"])
        names = ["manifest.dill", "manifest.json", *manifest["checksums"]]
        members = read_unpacked(place, names)
    else:
        members = read_archive(place)
    return {name: describe_member(name, members[name], config, hashes) for name in sorted(members)}


def shared_tree(tree: Mapping[str, Any]) -> Tree:
    """Return the part of a tree that does not depend on the backend that wrote it."""
    shared: Tree = {}
    for name, member in tree.items():
        if name.rpartition("/")[2] in NATIVE:
            continue
        content = dict(member.get("content", {}))
        if "checksums" in content:
            names = [n for n in content["checksums"] if n.rpartition("/")[2] not in NATIVE]
            content["checksums"] = names
        shared[name] = {**member, **({"content": content} if content else {})}
    return shared


def differences(left: Any, right: Any, path: str = "") -> list[str]:
    """Return one line per leaf at which two trees differ."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        lines: list[str] = []
        for key in sorted(set(left) | set(right)):
            place = f"{path} > {key}" if path else str(key)
            if key not in left or key not in right:
                lines.append(f"{place}: only in the {'second' if key not in left else 'first'}")
            else:
                lines += differences(left[key], right[key], place)
        return lines
    return [] if left == right else [f"{path}: {left!r} vs {right!r}"]


def render(tree: Mapping[str, Any], indent: str = "") -> str:
    """Return a tree as indented text."""
    lines: list[str] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}", render(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {value}")
    return "\n".join(line for line in lines if line)
