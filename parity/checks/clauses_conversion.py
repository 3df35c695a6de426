"""B-4 to B-7: bundles rewritten for the other backend, hostile payloads, unreadable bundles."""

from __future__ import annotations

import dataclasses
import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from parity.backends import Backend
from parity.checks.clauses_archive import load_with, members_of, write_members
from parity.checks.clauses_inference import refusal
from parity.checks.recorder import NotRun, Recorder
from parity.checks.registry import check
from parity.checks.scenes import bundle_bytes
from parity.convert import convert
from ptycho.core.bundle import Bundle, read_bundle
from ptycho.core.manifest import BACKENDS

_NATIVE = {"tensorflow": "model.keras", "pytorch": "model.ckpt"}


def _source(run: Recorder, backend: Backend, folder: Path) -> Path:
    path = folder / f"{backend.name}.zip"
    path.write_bytes(bundle_bytes(run, backend))
    return path


def _both(run: Recorder) -> None:
    missing = sorted(set(BACKENDS) - set(run.backends))
    if missing:
        raise NotRun(f"conversion needs both backends; {', '.join(missing)} is not here")


@check("B-4", "Conversion keeps all but the native payload, and there and back gives equal bytes")
def conversion(run: Recorder) -> None:
    """Weights, scales, configuration, the state of the training, and what is predicted."""
    _both(run)
    for writer, backend in run.backends.items():
        if writer not in BACKENDS:
            continue
        (other,) = set(BACKENDS) - {writer}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            source = _source(run, backend, folder)
            target = convert(source, folder / "there", other)
            back = convert(target, folder / "back.zip", writer)
            case = f"{writer} to {other}"
            equal = back.read_bytes() == source.read_bytes()
            for subject in (writer, "pair"):
                run.require(subject, equal, "there and back gives other bytes", case)
            with zipfile.ZipFile(target) as archive:
                files = {each.rpartition("/")[2] for each in archive.namelist()}
            native = files & set(_NATIVE.values())
            run.require(writer, native == {_NATIVE[other]}, f"native payload {native}", case)
            before, after = read_bundle(source), read_bundle(target)
            run.require(writer, after.backend == other, f"backend {after.backend!r}", case)
            _judge_content(run, writer, before, after, case)


def _judge_content(run: Recorder, subject: str, before: Bundle, after: Bundle, case: str) -> None:
    for name in ("config", "params", "intensity_scale", "normalisation"):
        same = getattr(before, name) == getattr(after, name)
        run.require(subject, same, f"{name} differs", case)
    if before.state is None or after.state is None:
        run.fail(subject, "the state of the training was lost", case)
        return
    arrays = {
        "weights": (before.weights, after.weights),
        "first": (before.state.first, after.state.first),
        "second": (before.state.second, after.state.second),
    }
    for part, (ours, theirs) in arrays.items():
        run.require(subject, set(ours) == set(theirs), f"{part}: other names", case)
        for name in ours.keys() & theirs.keys():
            same = np.array_equal(ours[name], theirs[name])
            run.require(subject, same, f"{part} {name} differs", case)
    plain = [
        {f.name: getattr(state, f.name) for f in dataclasses.fields(state)}
        for state in (before.state, after.state)
    ]
    for name in ("epoch", "batch", "step", "plateau", "history", "groups"):
        run.require(subject, plain[0][name] == plain[1][name], f"state: {name} differs", case)


@check("B-5", "Conversion replaces no file unless told to, and leaves none when it fails")
def overwriting(run: Recorder) -> None:
    """An existing target, with and without force, and sources that cannot be read."""
    for subject, backend in run.backends.items():
        if subject not in BACKENDS:
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            source, target = _source(run, backend, folder), folder / "out.zip"
            target.write_bytes(b"precious")
            kind, text = refusal(convert, source, target, subject)
            for who in (subject, "pair"):
                run.require(who, kind == "FileExistsError", f"{kind}: {text}", "existing")
                run.require(who, target.read_bytes() == b"precious", "it was replaced", "existing")
            run.require(subject, "--force" in text and str(target) in text, text, "existing")
            damaged = folder / "damaged.zip"
            damaged.write_bytes(source.read_bytes()[:1000])
            for bad, error in ((damaged, "NotAnArchive"), (folder / "none", "FileNotFoundError")):
                kind, text = refusal(convert, bad, folder / "new", subject)
                run.require(subject, kind == error, f"{kind}: {text}", bad.name)
                run.require(subject, not (folder / "new").exists(), "a file was left", bad.name)
            convert(source, target, subject, force=True)
            same = target.read_bytes() == source.read_bytes()
            run.require(subject, same, "converting to its own backend changes bytes", "force")


def _with_lambda(data: bytes) -> bytes:
    """Return a Keras payload whose configuration got a Lambda layer."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    code = {"class_name": "__lambda__", "config": {"value": "4wAAAAA="}}
    extra = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": code}}
    config["config"]["layers"].append({**extra, "registered_name": None, "name": "extra"})
    members["config.json"] = json.dumps(config).encode()
    return _zipped(members)


def _with_global(data: bytes) -> bytes:
    """Return a torch payload whose pickle begins with a call of ``eval``."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (name,) = [name for name in members if name.endswith("data.pkl")]
    call = b"\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R0"
    members[name] = call + members[name].removeprefix(b"\x80\x02")
    return _zipped(members)


def _zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@check("B-6", "A native payload with code in it is refused by both; none is opened to predict")
def payloads(run: Recorder) -> None:
    """A Lambda layer in Keras' file, a call in torch's; read by every backend."""
    spoil: dict[str, Any] = {"tensorflow": _with_lambda, "pytorch": _with_global}
    for writer, backend in run.backends.items():
        if writer not in spoil:
            continue
        members = members_of(run, backend)
        names = [name for name in members if name.endswith(_NATIVE[writer])]
        run.require(writer, len(names) == 2, f"native payloads: {names}")
        for reader in run.backends:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.zip"
                for name in names:
                    write_members(path, {**members, name: spoil[writer](members[name])})
                    case = f"{name} of {writer}"
                    kind, text = refusal(load_with, reader, path)
                    for who in (reader, "pair"):
                        run.require(who, kind == "UnsafePayload", f"{kind}: {text}", case)
                    run.require(reader, name in text and str(path) in text, text, case)
                bare = {n: data for n, data in members.items() if n not in names}
                write_members(path, bare)
                kind, text = refusal(load_with, reader, path)
                run.require(reader, kind == "", f"{kind}: {text}", f"without {names}")


@check("B-7", "A bundle that cannot be read: the error names writer and reader", ("backend",))
def readers(run: Recorder) -> None:
    """Without canonical weights, from every writer to every reader."""
    for writer, backend in run.backends.items():
        members = members_of(run, backend)
        kept = {n: data for n, data in members.items() if n != "autoencoder/model.h5"}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.zip"
            write_members(path, kept)
            for reader in run.backends:
                kind, text = refusal(load_with, reader, path)
                case = f"written by {writer}"
                run.require(reader, kind == "MissingMember", f"{kind}: {text}", case)
                named = f"written by backend {writer!r}, read by {reader!r}" in text
                run.require(reader, named, f"{text!r} does not name both", case)
