"""The manifest of a saved model: models, format version, backend, checksums of all members."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptycho.core import safe_pickle
from ptycho.core.archive import (
    BadManifest,
    BadParams,
    MissingMember,
    UnknownBackend,
    UnsupportedVersion,
)
from ptycho.core.weights_file import FORMAT_VERSION

__all__ = [
    "BACKENDS", "MANIFESTS", "MODELS", "load_plain", "manifest_members", "read_manifest", "to_json",
]  # fmt: skip

MODELS = ("autoencoder", "diffraction_to_obj")
BACKENDS = ("tensorflow", "pytorch")
MANIFESTS = ("manifest.dill", "manifest.json")


def manifest_members(
    backend: str, members: Mapping[str, bytes], compact: bool = False
) -> dict[str, bytes]:
    """Return the two manifests of the ``members`` that ``backend`` has written."""
    manifest: dict[str, Any] = {"compact": True} if compact else {}
    manifest |= {
        "backend": backend,
        "checksums": {name: hashlib.sha256(members[name]).hexdigest() for name in sorted(members)},
        "created_by": f"ptychopinn {_version()}",
        "models": list(MODELS),
        "version": FORMAT_VERSION,
    }
    return {
        "manifest.dill": safe_pickle.dumps(manifest, "manifest"),
        "manifest.json": to_json(manifest),
    }


def _version() -> str:
    try:
        return importlib.metadata.version("ptychopinn")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "unknown"


def read_manifest(members: Mapping[str, bytes], place: Path) -> dict[str, Any]:
    """Return the manifest of the archive ``place``; an ``ArchiveError`` where it is not sound."""
    manifest = load_plain(members, "manifest.dill", place)
    version = manifest.get("version")
    if version != FORMAT_VERSION:
        raise UnsupportedVersion(
            f"{place}: format version {version!r}; this release reads {FORMAT_VERSION!r}, save the "
            "model with it or use the release that wrote the archive"
        )
    backend = manifest.get("backend")
    if backend not in BACKENDS:
        raise UnknownBackend(f"{place}: backend {backend!r} is not known; known: {BACKENDS}")
    if load_plain(members, "manifest.json", place) != _load_json(to_json(manifest)):
        raise BadManifest(f"{place}: manifest.dill and manifest.json disagree; save it again")
    models, checksums = manifest.get("models"), manifest.get("checksums")
    if not isinstance(models, list) or not set(MODELS) <= {m for m in models if type(m) is str}:
        raise BadManifest(f"{place}: manifest lists the models {models!r}; expected {MODELS}")
    if not isinstance(checksums, dict):
        raise BadManifest(f"{place}: manifest has no checksums; save the model again")
    return manifest


def load_plain(members: Mapping[str, bytes], name: str, place: Path) -> dict[str, Any]:
    """Return the dictionary in a ``.dill`` or ``.json`` member; an ``ArchiveError`` for others."""
    if name not in members:
        raise MissingMember(
            f"{place}: {name!r} is missing: not a saved model, or an incomplete copy of one"
        )
    where = f"{place}: {name}"
    bad = BadManifest if name in MANIFESTS else BadParams
    if name.endswith(".dill"):
        value = safe_pickle.loads(members[name], where)
    elif len(members[name]) > 2 * safe_pickle.MAX_BYTES:
        raise bad(
            f"{where} has {len(members[name])} bytes; the limit is {2 * safe_pickle.MAX_BYTES}"
        )
    else:
        try:
            value = _load_json(members[name])
        except (ValueError, RecursionError) as error:
            raise bad(f"{where} is not readable as JSON ({error}); save it again") from error
    if not isinstance(value, dict):
        raise bad(f"{where} holds a {type(value).__name__}; expected a dictionary")
    return value


def _load_json(data: bytes) -> Any:
    return json.loads(data.decode("utf-8"))


def to_json(value: Any) -> bytes:
    """Return a plain value as JSON; equal values give equal bytes."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
