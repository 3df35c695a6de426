"""Q-11 to Q-18: what training returns, trains, shows, writes and refuses."""

from __future__ import annotations

import math
import pickle
import re
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from parity.backends import oracle
from parity.checks.clauses_archive import Trap
from parity.checks.clauses_inference import refusal
from parity.checks.door_trainings import scan, with_validation, without_validation
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.samples import scan_container, small_model, training
from parity.checks.scenes import doors, params_restored
from parity.checks.training import TWENTY_STEPS, twenty_steps
from parity.compare import compare
from ptycho.core.container import PtychoDataContainer
from ptycho.core.sampling import split_indices
from ptycho.core.training_plan import plan_training
from ptycho.core.weights import initial_weights

_RESULTS = ("history", "model_instance", "train_container", "test_container")


@check("Q-11", "Trainings return their results, and images only where asked for", ("backend",))
def returned(run: Recorder) -> None:
    """One value per epoch; no validation loss without validation; nothing saved of no images."""
    for subject in run.backends:
        first, second = with_validation(run, subject), without_validation(run, subject)
        for watched, epochs in ((first, 2), (second, 1)):
            case = f"{epochs} epochs"
            missing = [name for name in _RESULTS if name not in watched.results]
            run.require(subject, not missing, f"results lack {missing}", case)
            history = watched.results["history"]
            names = ["loss", "nll", "mae", "train_loss", *(["val_loss"] if epochs == 2 else [])]
            for name in names:
                values = history.get(name, [])
                holds = len(values) == epochs and bool(np.isfinite(values).all())
                run.require(subject, holds, f"history has {name}={values}", case)
            same = history.get("train_loss") == history.get("loss")
            run.require(subject, same, "train_loss and loss differ", case)
        plain = second.results["history"].get("val_loss")
        run.require(subject, not plain, f"val_loss={plain} without validation groups")
        sizes = (len(first.results["train_container"]), len(first.results["test_container"]))
        run.require(subject, sizes == (12, 9), f"containers of {sizes} groups, not (12, 9)")
        none = second.results["test_container"]
        run.require(subject, none is None, "a test container without test data")
        _judge_images(run, subject, first.amplitude, first.phase)
        empty = second.amplitude is None and second.phase is None
        run.require(subject, empty, "images without test data")
        _judge_not_asked(run, subject)


def _judge_images(run: Recorder, subject: str, amplitude: Any, phase: Any) -> None:
    for name, image in (("amplitude", amplitude), ("phase", phase)):
        holds = isinstance(image, np.ndarray) and image.ndim == 2 and image.dtype.kind == "f"
        run.require(subject, holds, f"{name} is no image although stitching was asked for")


def _judge_not_asked(run: Recorder, subject: str) -> None:
    """Neither images without stitching, nor files of images that are None."""
    watched, door = with_validation(run, subject), doors(subject)
    trained = mock.patch.object(door, "train_cdi_model", return_value=watched.results)
    with trained, params_restored():
        images = door.run_cdi_example(watched.scan, watched.scan, watched.config)[:2]
    run.require(subject, images == (None, None), "images although stitching was not asked for")
    with tempfile.TemporaryDirectory() as folder:
        kind, text = refusal(door.save_outputs, None, None, watched.results, Path(folder) / "out")
        files = [path.name for path in (Path(folder) / "out").glob("*")]
    run.require(subject, kind == "", f"save_outputs without images: {kind}: {text}")
    pictures = [name for name in files if not name.endswith(".json")]
    run.require(subject, not pictures, f"files of images that do not exist: {pictures}")


@check("Q-12", "Probe and scale change in training just where they are trainable", ("backend",))
def trainable(run: Recorder) -> None:
    """The flags are set crosswise in the two trainings."""
    for subject in run.backends:
        for watched in (with_validation(run, subject), without_validation(run, subject)):
            config, scale = watched.config, math.sqrt(watched.config.nphotons) / 16
            probe = np.asarray(watched.scan.probeGuess)
            start = initial_weights(config.model, config.seed, probe, scale)
            found = watched.results["model_instance"].weights
            flags = {
                "probe": config.probe_trainable,
                "log_scale": config.intensity_scale_trainable,
                "encoder/block1/conv1/kernel": True,
            }
            for name, moves in flags.items():
                moved = not np.array_equal(found[name], start[name])
                what = f"{name} {'changed' if moved else 'did not change'}"
                run.require(subject, moved == moves, what, f"trainable={moves}")


@check("Q-13", "Validation groups are drawn with the seed over the whole scan", ("backend",))
def validation(run: Recorder) -> None:
    """Count, spread and seed of the draw; and the loss that a backend reports is theirs."""
    _judge_draw(run)
    container = scan_container(2, run.seed, groups=20)
    held_out = split_indices(20, TWENTY_STEPS.validation_fraction, TWENTY_STEPS.seed)[1]
    for subject, backend in run.backends.items():
        trained = twenty_steps(run, backend)
        losses = []
        for groups in (held_out, np.arange(16, 20)):
            scale = trained.trained.intensity_scale
            x = container.batch_X(groups) * np.float32(scale)
            offsets = container.batch_offsets(groups)
            losses.append(oracle.loss(TWENTY_STEPS, trained.weights, x, offsets, scale, None))
        reported = trained.history["val_loss"][-1]
        run.judge(subject, [compare(reported, losses[0], "val_loss")], "training.losses")
        apart = abs(losses[1] / losses[0] - 1)
        run.require(subject, apart > 1e-3, "the last groups would give the same loss")


def _judge_draw(run: Recorder) -> None:
    counts = np.zeros(20, int)
    for seed in range(400):
        counts[split_indices(20, 0.2, seed)[1]] += 1
    first, again = (split_indices(50, 0.3, 7)[1].tolist() for _ in range(2))
    for subject in run.backends:
        for n, fraction in ((1, 0.5), (2, 0.5), (20, 0.2), (101, 0.05), (77, 0.33), (9, 0.0)):
            training_part, part = split_indices(n, fraction, 5)
            wanted = min(round(n * fraction), n - 1)
            case = f"n={n}, validation_fraction={fraction}"
            run.require(subject, len(part) == wanted, f"{len(part)} groups, not {wanted}", case)
            whole = sorted([*training_part.tolist(), *part.tolist()]) == list(range(n))
            run.require(subject, whole, "groups are lost or in both parts", case)
        # 80 times each on average, with a deviation of 8.
        even = bool(counts.min() > 45 and counts.max() < 115)
        run.require(subject, even, f"groups are held out {counts.tolist()} times in 400 seeds")
        run.require(subject, first == again, "one seed gives two splits")


@check("Q-14", "A supervised model trains on labels and says what to do without", ("backend",))
def supervised(run: Recorder) -> None:
    """The first step's loss is the reference's against the labels."""
    config = training(small_model(model_type="supervised"), batch_size=4, validation_fraction=0.0)
    full = scan_container(1, run.seed, groups=8)
    bare = PtychoDataContainer(full.amplitude, full.groups, full.positions, full.probe, 1.0)
    plan = plan_training(full, config)
    batch = plan.epoch(0)[0]
    x = full.batch_X(batch) * np.float32(plan.intensity_scale)
    offsets, labels = full.batch_offsets(batch), full.batch_labels(batch)
    expected = oracle.loss(config, plan.weights, x, offsets, plan.intensity_scale, labels)
    for subject, result in run.collect(lambda b: b.train_steps(config, full, 1)).items():
        found = compare(result.step_losses[0], expected, "supervised loss")
        run.judge(subject, [found], "training.losses")
        name = "phase_head/inner/bias"
        moved = not np.array_equal(result.weights[name], plan.weights[name])
        run.require(subject, moved, f"{name} did not move")
    for subject, backend in run.backends.items():
        kind, text = refusal(backend.train_steps, config, bare, 1)
        run.require(subject, kind == "ValueError", f"without labels: {kind or 'trained'}: {text}")
        advice = "objectGuess" in text or "Y" in text.split()
        run.require(subject, advice, f"{text!r} does not say where labels come from")


@check("Q-15", "A loss that is not finite ends training, naming epoch and step", ("backend",))
def not_finite(run: Recorder) -> None:
    """One NaN in the pattern that the second batch of the first epoch is the first to see."""
    config = training(small_model(), batch_size=4, nepochs=2, validation_fraction=0.0)
    container = scan_container(1, run.seed, groups=8)
    second = plan_training(container, config).epoch(0)[1]
    spoilt = container.amplitude.copy()
    spoilt[container.groups[second[0], 0], 5, 6] = np.nan
    given = PtychoDataContainer(spoilt, container.groups, container.positions, container.probe, 1.0)
    for subject, backend in run.backends.items():
        kind, text = refusal(backend.train_steps, config, given, 4)
        run.require(subject, kind == "RuntimeError", f"{kind or 'nothing'} was raised: {text}")
        named = re.search(r"epoch 1\b", text) and re.search(r"step 2\b", text)
        run.require(subject, bool(named), f"{text!r} does not name epoch 1, step 2")


@check("Q-16", "Training writes nothing outside output_dir", ("backend",))
def writes(run: Recorder) -> None:
    """Working directory, home and temporary directory are empty after it."""
    for subject in run.backends:
        for watched in (with_validation(run, subject), without_validation(run, subject)):
            run.require(subject, not watched.strays, f"files were left: {watched.strays[:5]}")


@check("Q-17", "Training shows epoch and loss, and is silent when asked to be", ("backend",))
def progress(run: Recorder) -> None:
    """One line for each epoch where the output is no terminal."""
    for subject in run.backends:
        shown = with_validation(run, subject).printed
        for epoch in (1, 2):
            line = re.search(rf"epoch {epoch}\b.*\bloss\s+[0-9.e+-]+", shown, re.IGNORECASE)
            run.require(subject, line is not None, f"{shown!r} lacks the loss of epoch {epoch}")
        silent = without_validation(run, subject).printed
        run.require(subject, not silent.strip(), f"{silent!r} was printed by a silent training")


@check("Q-18", "Reading a scan file unpickles nothing", ("backend",), framework=False)
def scan_files(run: Recorder) -> None:
    """Pickles under needed, optional and unknown keys; and a scan read with pickle disabled."""
    for subject in run.backends:
        load = doors(subject).load_data
        with tempfile.TemporaryDirectory() as name:
            path, marker = Path(name) / "scan.npz", Path(name) / "executed"
            scan().to_file(path)
            with np.load(path) as stored:
                arrays = dict(stored)
            barred = mock.Mock(side_effect=AssertionError("unpickled"))
            with mock.patch.multiple(pickle, load=barred, loads=barred, Unpickler=barred):
                kind, text = refusal(load, path)
            run.require(subject, kind == "", f"a plain scan: {kind}: {text}")
            trap = np.array([Trap(marker)], dtype=object)
            for key in ("diff3d", "xcoords", "probeGuess", "objectGuess", "_metadata", "notes"):
                np.savez(path, **{**arrays, key: trap})
                kind, text = refusal(load, path)
                run.require(subject, not marker.exists(), "code of the file was executed", key)
                refused = kind == "ValueError" and key in text
                what = f"{kind or 'the file was read'}: {text}"
                run.require(subject, refused or key == "notes", what, key)
