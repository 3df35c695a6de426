"""A: what is saved, and that either backend reads what the other wrote."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from parity.backends import Backend, oracle
from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from parity.checks.samples import describe, sample
from parity.checks.training import TWENTY_STEPS, twenty_steps
from parity.compare import compare
from parity.layout import archive_tree, differences, shared_tree
from ptycho.core.weights import Weights


@check("A-1", "Archives of both backends have one logical layout besides the native payload")
def layout(run: Recorder) -> None:
    """Members, keys, types, tensor names, shapes and dtypes; equal bytes when saved twice."""
    with tempfile.TemporaryDirectory() as folder:

        def written(backend: Backend) -> dict[str, Any]:
            trained = twenty_steps(run, backend)
            first = backend.write_bundle(trained, Path(folder) / backend.name)
            second = backend.write_bundle(trained, Path(folder) / f"{backend.name} again")
            same = first.read_bytes() == second.read_bytes()
            run.require(backend.name, same, f"{first.name} saved twice differs in bytes")
            return archive_tree(first)

        trees = run.collect(written)
    for subject, tree in trees.items():
        unknown = [name for name, member in tree.items() if member["kind"] == "unknown"]
        run.require(subject, not unknown, f"members of an unknown kind: {unknown}")
        native = sorted({name.rpartition("/")[2] for name in tree} & {"model.keras", "model.ckpt"})
        run.require(subject, len(native) == 1, f"native payloads found: {native}; expected one")
    for left, right in run.pairs(trees):
        lines = differences(shared_tree(left), shared_tree(right))
        run.require(PAIR, not lines, "; ".join(lines[:5]))


@check("A-2", "Each backend predicts from the archive of each backend")
def cross_load(run: Recorder) -> None:
    """The writer's weights as the reference evaluates them decide; four combinations."""
    with tempfile.TemporaryDirectory() as folder:
        runs = run.collect(lambda b: twenty_steps(run, b))
        for writer, trained in runs.items():
            directory = Path(folder) / writer
            run.backends[writer].write_bundle(trained, directory)
            _judge_readers(run, writer, trained.weights, directory)


def _judge_readers(run: Recorder, writer: str, weights: Weights, directory: Path) -> None:
    config = TWENTY_STEPS.model
    given = sample(config, run.seed, batch=3)
    exact = np.asarray(oracle.evaluate(config, weights, given.x, given.offsets)["object"])
    case = f"archive of {writer}, {describe(config)}"
    predicted = run.collect(lambda b: b.load_and_predict(directory, given.x, given.offsets), case)
    for reader, obj in predicted.items():
        found = compare(obj, exact, "object", same_dtype=False)
        run.judge(reader, [found], "archive.prediction", case)
    for left, right in run.pairs(predicted):
        run.judge(PAIR, [compare(left, right, "object")], "archive.prediction", case)
