"""Checks generated from the tables of tensors, archive members and stages: they run backends."""

from __future__ import annotations

import importlib
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backends import Backend
from parity.callchain.scenario import INFERENCE, TRAINING, package_of, trace_stages
from parity.checks.recorder import Recorder
from parity.checks.samples import sample, scan_container, small_model
from parity.checks.training import twenty_steps
from parity.spec.parse import load_specification
from parity.spec.records import Row
from ptycho.core import safe_pickle
from ptycho.core.archive import read_archive

_GRIDSIZE, _B = 2, 3


# --------------------------------------------------------------------------- shapes


def _tensors(run: Recorder, backend: Backend) -> dict[str, NDArray[Any]]:
    """Return one array of each name in the table, as the backend makes it."""
    model = small_model(gridsize=_GRIDSIZE)
    given = sample(model, run.seed, batch=_B)
    container = scan_container(_GRIDSIZE, run.seed, groups=_B)
    names = ("X", "local_offsets", "global_offsets", "nn_indices", "Y")
    arrays: dict[str, Any] = {name: getattr(container, name) for name in names}
    arrays |= backend.evaluate(model, given.weights, given.x, given.offsets)
    door = importlib.import_module(
        {"ptycho": "ptycho.tf_helper"}.get(package_of(backend.name), "ptycho_torch.helper")
    )
    arrays["stitched"] = door.reassemble_position(
        arrays["object"], container.global_offsets, M=model.N // 2
    )
    return arrays


def check_shape(row: Row, recorder: Recorder) -> None:
    """Judge one row of the tensor table with B, N, C bound and S read off the canvas."""
    name = row.cells["Name"]
    for subject, backend in recorder.backends.items():
        arrays = recorder.once(("tensors", subject), partial(_tensors, recorder, backend))
        array = np.asarray(arrays[name]) if arrays.get(name) is not None else None
        if array is None:
            recorder.fail(subject, f"{name} was not produced")
            continue
        symbols = {"B": _B, "N": 32, "C": _GRIDSIZE**2, "S": array.shape[0]}
        parts = row.cells["Shape"].strip("()").replace(" ", "").split(",")
        wanted = tuple(int(p) if p.isdigit() else symbols[p] for p in parts)
        recorder.require(
            subject, array.shape == wanted, f"{name} is {array.shape}; the text says {wanted}", name
        )
        dtype = row.cells["Dtype"]
        recorder.require(
            subject, array.dtype == dtype, f"{name} is {array.dtype}; the text says {dtype}", name
        )


# --------------------------------------------------------------------------- archive members


def _members(run: Recorder, backend: Backend) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return read_archive(backend.write_bundle(twenty_steps(run, backend), Path(folder)))


def _zip_holds(data: bytes, part: str) -> bool:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return any(name.endswith(part) for name in archive.namelist())


#: Whether bytes are of a kind; a reader that raises says no.
_KINDS: dict[str, Callable[[bytes], bool]] = {
    "pickle": lambda data: isinstance(safe_pickle.loads(data), dict),
    "json": lambda data: isinstance(json.loads(data), dict),
    "hdf5": lambda data: data.startswith(b"\x89HDF\r\n"),
    "keras": lambda data: _zip_holds(data, "config.json"),
    "checkpoint": lambda data: _zip_holds(data, "data.pkl"),
}


def check_member(row: Row, recorder: Recorder) -> None:
    """Judge one row of the archive table: present where required, of its kind, absent elsewhere."""
    name, kind, required = (row.cells[c] for c in ("Member", "Kind", "Required"))
    for subject, backend in recorder.backends.items():
        members = recorder.once(("members", subject), partial(_members, recorder, backend))
        wanted = required in ("both", subject)
        what = f"{name} is {'not ' if wanted else ''}in the archive"
        recorder.require(subject, (name in members) == wanted, what)
        if wanted and name in members:
            try:
                holds = _KINDS[kind](members[name])
            except (ValueError, zipfile.BadZipFile):
                holds = False
            recorder.require(subject, holds, f"{name} is not of the kind {kind}")


def check_unspecified_members(rows: tuple[Row, ...], recorder: Recorder) -> None:
    """Judge the reverse: members that no row lists."""
    described = {row.cells["Member"] for row in rows}
    for subject, backend in recorder.backends.items():
        members = recorder.once(("members", subject), partial(_members, recorder, backend))
        for name in members:
            recorder.require(subject, name in described, f"{name} has no row in the specification")


# --------------------------------------------------------------------------- stages


def stages_of(recorder: Recorder, subject: str) -> dict[str, list[str]]:
    """Return the stages that a tiny training and inference entered, traced once per run."""
    rows = load_specification().of_table("stages")
    return recorder.once(("stages", subject), lambda: trace_stages(subject, rows))


def check_stage(row: Row, recorder: Recorder) -> None:
    """Judge one stage: entered in the jobs that have it."""
    stage = row.cells["Stage"]
    for subject in recorder.backends:
        entered = stages_of(recorder, subject)
        for job, stages in (("train", TRAINING), ("infer", INFERENCE)):
            if stage in stages:
                what = f"{row.cells['Where']} is not entered by {job}: {entered[job]}"
                recorder.require(subject, stage in entered[job], what, job)
        known = stage in TRAINING + INFERENCE
        recorder.require(subject, known, f"no job has the stage {stage}")
