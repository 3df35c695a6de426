"""Q-21 to Q-28: what is written, what survives a failure, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from parity.backends import Backend
from parity.checks.clauses_inference import refusal
from parity.checks.observing import load_with_backend
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.scenes import (
    NORMALISATION,
    bundle_bytes,
    params_restored,
    room,
    written_bundle,
)
from parity.checks.training import twenty_steps
from ptycho.core import archive as archives
from ptycho.core.archive import ArchiveError

_MANIFESTS = ("manifest.dill", "manifest.json")

#: Words of advice, one of which a refusal has to hold.
_ADVICE = ("save", "copy", "do not use", "remove", "use the release")


def members_of(run: Recorder, backend: Backend) -> dict[str, bytes]:
    """Return the members of a backend's archive."""
    with zipfile.ZipFile(io.BytesIO(bundle_bytes(run, backend))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(path: Path, members: Mapping[str, bytes], **changes: Any) -> None:
    """Write members as an archive, under a manifest that fits them but for ``changes``."""
    listed = {name: data for name, data in members.items() if name not in _MANIFESTS}
    manifest = json.loads(members["manifest.json"])
    manifest["checksums"] = {n: hashlib.sha256(d).hexdigest() for n, d in sorted(listed.items())}
    manifest |= changes
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        archive.writestr("manifest.dill", pickle.dumps(manifest, protocol=4))
        for name, data in listed.items():
            archive.writestr(name, data)


def load_with(subject: str, path: str | Path) -> Any:
    """Load a bundle through a backend's door; ``params.cfg`` is left as it was."""
    with params_restored():
        return load_with_backend(subject, path)


@check(
    "Q-21", "The manifest names models, version, backend and every member's SHA-256", ("backend",)
)
def manifest(run: Recorder) -> None:
    """In both of its forms, read by the standard library alone."""
    for subject, backend in run.backends.items():
        members = members_of(run, backend)
        expected = {
            name: hashlib.sha256(data).hexdigest()
            for name, data in members.items()
            if name not in _MANIFESTS
        }
        run.require(subject, len(expected) > 5, f"only {len(expected)} members are listed")
        forms = {
            "manifest.json": json.loads(members["manifest.json"]),
            "manifest.dill": pickle.loads(members["manifest.dill"]),
        }
        for name, found in forms.items():
            fixed = {
                "models": ["autoencoder", "diffraction_to_obj"],
                "version": "2.0",
                "backend": subject,
                "checksums": expected,
            }
            for key, value in fixed.items():
                what = f"{key} is {found.get(key)!r}; expected {value!r}"
                run.require(subject, found.get(key) == value, what, name)


@check("Q-22", "A process of its own trains and saves the same bytes", ("backend",))
def processes(run: Recorder) -> None:
    """The isolated process of I-1 against the same step taken here."""
    from parity.checks.isolation import isolated
    from parity.isolated import train_and_write

    for subject, backend in run.backends.items():
        outcome = isolated(run, backend)
        with tempfile.TemporaryDirectory() as folder:
            _, here = train_and_write(backend, Path(folder))
        what = f"SHA-256 {outcome['archive']} there, {here} here"
        run.require(subject, outcome["archive"] == here, what)


class _Stopped(OSError):
    """The failure that is provoked."""


def _failing(*arguments: Any, **keywords: Any) -> Any:
    raise _Stopped(28, "no space left, for a try")


@check("Q-23", "A save that fails leaves the earlier archive and no other file", ("backend",))
def atomic(run: Recorder) -> None:
    """When renaming, when writing a member, and when the disk is full while writing it out."""
    failures = {
        "os.replace": mock.patch.object(os, "replace", _failing),
        "os.fsync": mock.patch.object(os, "fsync", _failing),
        "ZipFile.writestr": mock.patch.object(zipfile.ZipFile, "writestr", _failing),
    }
    for subject, backend in run.backends.items():
        trained = twenty_steps(run, backend)
        for case, failure in failures.items():
            with tempfile.TemporaryDirectory() as folder:
                earlier = Path(folder) / "wts.h5.zip"
                earlier.write_bytes(b"the earlier archive")
                with failure:
                    kind, text = refusal(backend.write_bundle, trained, Path(folder))
                run.require(subject, kind != "", "the save succeeded", case)
                kept = earlier.read_bytes() == b"the earlier archive"
                run.require(subject, kept, "the earlier archive was changed", case)
                left = sorted(path.name for path in Path(folder).iterdir())
                run.require(subject, left == ["wts.h5.zip"], f"files left: {left}", case)


class Trap:
    """Unpickles to a file at ``marker``."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self._marker,))


@check(
    "Q-24",
    "No pickle of an archive is executed; it is refused with member, place and advice",
    ("backend",),
)
def hostile(run: Recorder) -> None:
    """Every pickle in turn, checksums made to fit, and the native payload replaced by one."""
    for subject, backend in run.backends.items():
        members = members_of(run, backend)
        natives = [n for n in members if n.endswith((".keras", ".ckpt"))]
        targets = [n for n in members if n.endswith(".dill")] + natives
        run.require(subject, len(targets) >= 5, f"pickles and payloads: {targets}")
        for name in targets:
            with tempfile.TemporaryDirectory() as folder:
                marker, path = Path(folder) / "executed", Path(folder) / "hostile.zip"
                trap = pickle.dumps({"value": Trap(marker)})
                write_members(path, {**members, name: trap})
                if name == "manifest.dill":
                    _swap(path, name, trap)
                kind, text = refusal(load_with, subject, path)
                run.require(subject, not marker.exists(), "code of the archive was executed", name)
                error = getattr(archives, kind, None)
                known = isinstance(error, type) and issubclass(error, ArchiveError)
                run.require(subject, known, f"{kind or 'nothing'} was raised: {text}", name)
                _judge_text(run, subject, text, path, name)


def _swap(path: Path, name: str, data: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in {**members, name: data}.items():
            archive.writestr(member, content)


def _judge_text(run: Recorder, subject: str, text: str, path: Path, name: str) -> None:
    run.require(subject, str(path) in text, f"{text!r} does not say where", name)
    advised = any(word in text for word in _ADVICE)
    run.require(subject, advised, f"{text!r} does not say what to do", name)
    run.require(subject, name in text, f"{text!r} does not name {name}", name)


@check("Q-25", "Bundles are found and saved by every form of path", ("backend",))
def paths(run: Recorder) -> None:
    """Directory, file under any name, unpacked members; text and Path; made if missing."""
    for subject, backend in run.backends.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            archive = written_bundle(run, backend, folder / "saved")
            other = folder / "my model.bin"
            other.write_bytes(archive.read_bytes())
            with zipfile.ZipFile(archive) as unpacked:
                unpacked.extractall(folder / "unpacked")
            for place in (folder / "saved", archive, other, folder / "unpacked"):
                for form in (str(place), place):
                    case = f"{type(form).__name__} {place.name}"
                    kind, text = refusal(load_with, subject, form)
                    run.require(subject, kind == "", f"{kind}: {text}", case)
            (folder / "empty").mkdir()
            for place in (folder / "empty", folder / "none", folder / "none.zip"):
                kind, text = refusal(load_with, subject, place)
                run.require(subject, kind == "FileNotFoundError", f"{kind}: {text}", place.name)
            _judge_saving(run, subject, backend, folder)


def _judge_saving(run: Recorder, subject: str, backend: Backend, folder: Path) -> None:
    trained = twenty_steps(run, backend).trained
    save = room(subject, "model_manager").save
    (folder / "made").mkdir()
    wanted = {
        folder / "made": folder / "made" / "wts.h5.zip",
        folder / "to" / "make": folder / "to" / "make" / "wts.h5.zip",
        folder / "named.zip": folder / "named.zip",
        folder / "far" / "off.zip": folder / "far" / "off.zip",
    }
    for place, expected in wanted.items():
        existing = place.name == "made"
        for form in (str(place), place) if existing else (place,):
            save(form, trained)
            case = f"save({form!r})".replace(str(folder), "")
            written = expected.is_file() and zipfile.is_zipfile(expected)
            run.require(subject, written, f"{expected.name} was not written", case)
    text = str(folder / "text.zip")
    run.require(subject, save(text, trained) == Path(text), "another path was returned", "text")
    run.require(subject, zipfile.is_zipfile(text), "text.zip was not written", "text")


@check("Q-26", "Weights, probe and scales are bit-equal after saving and loading", ("backend",))
def round_trip(run: Recorder) -> None:
    """Written by each backend and loaded by each, as predictor and in params.cfg."""
    for writer, backend in run.backends.items():
        trained = twenty_steps(run, backend).trained
        with tempfile.TemporaryDirectory() as folder:
            written_bundle(run, backend, Path(folder))
            for reader in run.backends:
                model, cfg = load_with(reader, Path(folder))
                case = f"written by {writer}"
                odd = sorted(set(model.weights) ^ set(trained.weights))
                run.require(reader, not odd, f"weights on one side only: {odd}", case)
                for name, value in trained.weights.items():
                    found = np.asarray(model.weights[name])
                    same = found.tobytes() == value.tobytes() and found.dtype == value.dtype
                    run.require(
                        reader, same and found.shape == value.shape, f"{name} differs", case
                    )
                scales = {
                    "intensity_scale": trained.intensity_scale,
                    "normalisation": NORMALISATION,
                }
                for name, scale in scales.items():
                    both = (getattr(model, name), cfg[name])
                    run.require(reader, both == (scale, scale), f"{name} {both}; {scale!r}", case)
                planes = trained.weights["probe"]
                probe = np.asarray(cfg["probe"]).reshape(planes.shape[:-1])
                same = np.array_equal(probe.real, planes[..., 0])
                same = same and np.array_equal(probe.imag, planes[..., 1])
                run.require(reader, same, "params.cfg has another probe", case)


@check("Q-27", "Changed, missing and foreign archives are refused", ("backend",))
def refused(run: Recorder) -> None:
    """A member or its checksum changed, a member missing, another backend, another version."""
    for subject, backend in run.backends.items():
        members = members_of(run, backend)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.zip"
            write_members(path, members)
            kind, text = refusal(load_with, subject, path)
            run.require(subject, kind == "", f"unchanged, yet {kind}: {text}", "unchanged")
            for name in sorted(set(members) - set(_MANIFESTS)):
                write_members(path, members)
                data = members[name]
                _swap(path, name, data[:-1] + bytes([data[-1] ^ 1]))
                _attempt(run, subject, path, "ChecksumMismatch", f"{name} changed", name)
                write_members(path, members)
                _drop(path, name)
                _attempt(run, subject, path, "MissingMember", f"{name} missing", name)
            for name in _MANIFESTS:
                write_members(path, members)
                _drop(path, name)
                _attempt(run, subject, path, "MissingMember", f"{name} missing", name)
            for version in ("1.0", "3.0", 2.0, None):
                write_members(path, members, version=version)
                _attempt(
                    run, subject, path, "UnsupportedVersion", f"version {version!r}", repr(version)
                )
            for tag in ("jax", "", None):
                write_members(path, members, backend=tag)
                _attempt(run, subject, path, "UnknownBackend", f"backend {tag!r}", repr(tag))
            checksums = json.loads(members["manifest.json"])["checksums"]
            wrong = {**checksums, "autoencoder/model.h5": "0" * 64}
            write_members(path, members, checksums=wrong)
            _attempt(
                run, subject, path, "ChecksumMismatch", "checksum changed", "autoencoder/model.h5"
            )


def _attempt(
    run: Recorder, subject: str, path: Path, error: str, case: str, name: str = ""
) -> None:
    kind, text = refusal(load_with, subject, path)
    run.require(subject, kind == error, f"{kind or 'nothing'} ({text}); not {error}", case)
    run.require(subject, str(path) in text, f"{text!r} does not say where", case)
    run.require(subject, name in text, f"{text!r} does not name {name}", case)


def _drop(path: Path, name: str) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist() if n != name}
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
