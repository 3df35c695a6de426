"""M: bad pixels have no part in input, normalisation, loss or prediction."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backends import oracle
from parity.checks.observing import (
    doors,
    everyone,
    load_with_backend,
    outcome,
    params_kept,
    says,
    tiny_scan,
)
from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from parity.checks.samples import generator, sample, small_model, training
from parity.compare import compare_named
from ptycho.config.config import TrainingConfig
from ptycho.core.bundle import read_bundle, write_bundle
from ptycho.core.container import PtychoDataContainer
from ptycho.core.scaling import intensity_scale, normalisation_factor
from ptycho.core.training_plan import plan_training
from ptycho.loader import load
from ptycho.raw_data import RawData


def _mask(seed: int) -> NDArray[np.bool_]:
    """Return a mask (32, 32) with a dead column, a beam stop off the centre, and single pixels."""
    bad = generator(seed, "bad pixels").random((32, 32)) < 0.03
    bad[:, 21] = True
    bad[14:18, 15:20] = True
    return bad


def _scans(seed: int) -> dict[str, RawData]:
    """Return scans of counts that differ in what is stored at the bad pixels, and nowhere else."""
    bad = _mask(seed)
    counts = generator(seed, "counts").poisson(40.0, (30, 32, 32))
    scans = {}
    for name, dtype, junk in (("clean", "u2", 0), ("hot", "u2", 65535), ("flagged", "i4", -1)):
        patterns = counts.astype(dtype)
        patterns[:, bad] = junk
        scans[name] = tiny_scan(seed, patterns=patterns, bad_pixels=bad)
    return scans


# --------------------------------------------------------------------------- without a framework


@check("M-1", "The network's input is 0 at bad pixels", ("backend",), framework=False)
def masked_input(run: Recorder) -> None:
    """In training, in stitching and in the client's door, whatever is stored there."""
    bad, scans = _mask(run.seed), _scans(run.seed)
    truth = np.sqrt(np.asarray(scans["clean"].diff3d, np.float64))
    for subject in run.backends:
        door, config = doors(subject), TrainingConfig(model=small_model(), n_groups=30)
        for case, scan in scans.items():
            container: PtychoDataContainer = door.create_ptycho_data_container(scan, config)
            order = container.groups[:, 0]
            with params_kept():
                loaded = load(lambda: scan.generate_grouped_data(32, gridsize=1), None)  # noqa: B023
            parts = {"training": container.X, "client": loaded.X[np.argsort(loaded.groups[:, 0])]}
            for place, x in parts.items():
                run.require(subject, not x[:, bad].any(), f"{place} sees bad pixels", case)
            wanted = truth[order] * container.normalisation
            same = np.allclose(container.X[..., 0], wanted, rtol=1e-6, atol=0)
            run.require(subject, same, "good pixels are not amplitude times factor", case)
            heard: list[NDArray[Any]] = []
            door.reassemble_cdi_image(scan, config, _Listener(heard), M=10)
            seen = np.concatenate(heard)
            run.require(subject, not seen[:, bad].any(), "inference sees bad pixels", case)
            same = np.allclose(seen[..., 0], truth * 0.37 * 3.0, rtol=1e-6, atol=0)
            run.require(subject, same, "inference changes good pixels", case)


class _Listener:
    """Stands for a trained model and keeps what it is asked to predict from."""

    intensity_scale, normalisation = 3.0, 0.37

    def __init__(self, heard: list[NDArray[Any]]) -> None:
        self.config = small_model()
        self.bad_pixels: NDArray[np.bool_] | None = None
        self._heard = heard

    def predict(self, inputs: Any, batch_size: int = 32) -> NDArray[np.complex64]:
        self._heard.append(np.asarray(inputs[0]))
        return np.ones((len(inputs[0]), 32, 32, 1), np.complex64)


@check("M-2", "Normalisation is over the good pixels", ("backend",), framework=False)
def masked_normalisation(run: Recorder) -> None:
    """The mean energy outside the mask, times the factor squared, is (N/2)^2."""
    bad = _mask(run.seed)
    for case, scan in _scans(run.seed).items():
        counts = np.asarray(scan.diff3d, np.float64)[:, ~bad]
        energy = float(counts.sum()) / len(counts) * normalisation_factor(scan.patterns) ** 2
        everyone(run, abs(energy / 256 - 1) < 1e-6, f"mean energy {energy}; expected 256", case)


@check("M-3", "A mask that is none is refused", ("backend",), framework=False)
def refused_masks(run: Recorder) -> None:
    """All bad, another shape, a mask per pattern, values other than 0 and 1; NaN beside it."""
    good = np.zeros((32, 32), bool)
    cases: dict[str, tuple[Any, tuple[str, ...]]] = {
        "all bad": (~good, ("bad_pixels", "every pixel", "invert")),
        "another side": (good[:31, :31], ("bad_pixels", "(31, 31)", "32 x 32")),
        "one per pattern": (np.stack([good] * 30), ("bad_pixels", "(30, 32, 32)", "(N, N)")),
        "labels": (np.full((32, 32), 3), ("bad_pixels", "True marks")),
    }
    for case, (mask, words) in cases.items():
        error = outcome(tiny_scan, run.seed, bad_pixels=mask)
        everyone(run, says(error, ValueError, *words), f"{error!r}", case)
    patterns = np.ones((30, 32, 32), np.float32)
    patterns[3, 5, 6] = np.nan
    marked = good.copy()
    marked[5, 6] = True
    error = outcome(tiny_scan, run.seed, patterns=patterns, bad_pixels=marked)
    everyone(run, error is None, f"{error!r}", "NaN at a bad pixel")
    error = outcome(tiny_scan, run.seed, patterns=patterns, bad_pixels=marked.T)
    everyone(run, says(error, ValueError, "nan", "index 3"), f"{error!r}", "NaN beside the mask")


# --------------------------------------------------------------------------- losses


@check("M-4", "Losses are means over the good pixels")
def masked_losses(run: Recorder) -> None:
    """Against the reference, which leaves the bad pixels out; what stands there is no matter."""
    bad = _mask(run.seed)
    rng = generator(run.seed, "masked losses")
    fields = {"mae_weight": 0.4, "realspace_weight": 0.5, "realspace_mae_weight": 0.3}
    config = training(small_model(gridsize=2), **fields)
    scale = intensity_scale(config.nphotons, 32)
    shape = (3, 32, 32, 4)
    x = (scale * rng.gamma(1.0, 0.8, shape)).astype(np.float32)
    amplitude = (np.maximum(x, 0.1 * scale) * np.exp(rng.normal(0, 0.5, shape))).astype(np.float32)
    patches, labels = (rng.normal(size=(2, *shape)) + 1j * rng.normal(size=(2, *shape))).astype(
        np.complex64
    )
    given = (amplitude, amplitude**2, patches, labels)
    exact = oracle.evaluate_losses(config, scale, x, *given, bad)
    names = ("nll", "mae", "realspace", "loss")
    results = run.collect(lambda b: b.evaluate_losses(config, scale, x, *given, bad))
    run.judge_against(results, {name: exact[name] for name in names}, "loss.value", "masked")
    hot = x.copy()
    hot[:, bad] = 50 * scale
    for name, terms in run.collect(
        lambda b: b.evaluate_losses(config, scale, hot, *given, bad), "hot"
    ).items():
        run.judge_equal(name, compare_named(terms, results[name], names), "hot pixels")


@check("M-5", "Gradients with bad pixels")
def masked_gradients(run: Recorder) -> None:
    """The two backends agree, and along the gradient itself both agree with the reference."""
    bad = _mask(run.seed)
    config = training(small_model(gridsize=2), mae_weight=0.3, probe_trainable=True)
    given = sample(config.model, run.seed, modes=2)
    x = np.where(bad[..., None], np.float32(0), given.x)
    arguments = (given.weights, x, given.offsets, given.intensity_scale, None, bad)
    results = run.collect(lambda b: b.loss_gradients(config, *arguments))
    for left, right in run.pairs(results):
        run.judge(PAIR, compare_named(left, right), "gradient.pair", "masked")
    for name, gradients in results.items():
        if "probe" not in gradients:
            run.fail(name, "there is no gradient of the probe", "masked")
            continue
        probe = np.asarray(gradients["probe"], np.float64)
        along = probe / np.linalg.norm(probe)
        sides = [
            oracle.loss(
                config,
                {**given.weights, "probe": given.weights["probe"] + step * along},
                *arguments[1:],
            )
            for step in (1e-5, -1e-5)
        ]
        found = compare_named(
            {"probe": float(np.linalg.norm(probe))}, {"probe": (sides[0] - sides[1]) / 2e-5}
        )
        run.judge(name, found, "gradient.differences", "along the probe's gradient")


def _first_loss(
    config: TrainingConfig, container: PtychoDataContainer, bad_pixels: NDArray[np.bool_]
) -> float:
    """Return the reference's loss of the first batch."""
    plan = plan_training(container, config)
    batch = plan.epoch(0)[0]
    x = container.batch_X(batch) * np.float32(plan.intensity_scale)
    offsets = container.batch_offsets(batch)
    given = (plan.weights, x, offsets, plan.intensity_scale, None, bad_pixels)
    return oracle.loss(config, *given)


@check("M-6", "What is stored at bad pixels changes neither training nor prediction", ("backend",))
def invisible(run: Recorder) -> None:
    """Losses, weights and predictions are equal bit by bit; without the mask they are not."""
    scans = _scans(run.seed)
    config = training(small_model(), n_groups=20, batch_size=8, validation_fraction=0.2)
    factors = {name: normalisation_factor(scan.patterns) for name, scan in scans.items()}
    unmasked = RawData(
        scans["hot"].xcoords, scans["hot"].ycoords, None, None, scans["hot"].diff3d,
        scans["hot"].probeGuess, None,
    )  # fmt: skip
    for subject, backend in run.backends.items():
        door = doors(subject)
        containers = {n: door.create_ptycho_data_container(s, config) for n, s in scans.items()}
        runs = {n: backend.train_steps(config, c, 3) for n, c in containers.items()}
        clean = runs.pop("clean")
        bare = backend.train_steps(config, door.create_ptycho_data_container(unmasked, config), 3)
        seen = bare.step_losses != clean.step_losses
        run.require(subject, seen, "hot pixels are not seen without a mask either", "no mask")
        for case, other in runs.items():
            what = f"losses {other.step_losses}; with zeros there {clean.step_losses}"
            run.require(subject, other.step_losses == clean.step_losses, what, case)
            run.require(subject, other.history == clean.history, "the history differs", case)
            found = compare_named(other.weights, clean.weights)
            run.judge_equal(subject, found, case)
            run.require(subject, factors[case] == factors["clean"], "the factors differ", case)
        first = _first_loss(config, containers["clean"], _mask(run.seed))
        found = compare_named({"loss": clean.step_losses[0]}, {"loss": first})
        run.judge(subject, found, "loss.value", "first step, clean")
        with tempfile.TemporaryDirectory() as folder:
            backend.write_bundle(clean, Path(folder))
            pictures = {}
            for case, container in containers.items():
                x = container.X * np.float32(clean.trained.intensity_scale)
                offsets = container.local_offsets.astype(np.float32)
                pictures[case] = {"object": backend.load_and_predict(Path(folder), x, offsets)}
        for case in runs:
            found = compare_named(pictures[case], pictures["clean"])
            run.judge_equal(subject, found, f"prediction, {case}")


@check("M-7", "Pixels that were bad in training are bad for a scan without a mask", ("backend",))
def remembered(run: Recorder) -> None:
    """Kept in the bundle; taken by the client's door and in stitching; a mask of its own wins."""
    bad, scans = _mask(run.seed), _scans(run.seed)
    config = training(small_model(), n_groups=20, batch_size=8, validation_fraction=0.0)
    hot = np.asarray(scans["hot"].diff3d)
    own = np.zeros_like(bad)
    own[2, 3] = True
    bare = tiny_scan(run.seed, patterns=hot)
    cases = {
        "no mask": (bare, bad),
        "own mask": (tiny_scan(run.seed, patterns=hot, bad_pixels=own), own),
    }
    for subject, backend in run.backends.items():
        door = doors(subject)
        trained = backend.train_steps(
            config, door.create_ptycho_data_container(scans["clean"], config), 1
        )
        with tempfile.TemporaryDirectory() as name, params_kept():
            folder = Path(name)
            backend.write_bundle(trained, folder)
            bundle = read_bundle(folder)
            kept = bundle.bad_pixels is not None and np.array_equal(bundle.bad_pixels, bad)
            run.require(subject, bool(kept), "the bundle has not the training's bad pixels")
            model, _ = load_with_backend(subject, folder)
            for case, (scan, dark) in cases.items():
                seen = load(lambda: scan.generate_grouped_data(32, gridsize=1), None).X  # noqa: B023
                heard: list[NDArray[Any]] = []
                listener = _Listener(heard)
                listener.bad_pixels = model.bad_pixels
                door.reassemble_cdi_image(scan, config, listener, M=10)
                for place, x in (("client", seen), ("stitching", np.concatenate(heard))):
                    zero = np.array_equal((x == 0).all(axis=(0, 3)), dark)
                    run.require(subject, zero, f"{place}: other pixels are 0 than those bad", case)
            for text in ("ff", "zz" * 128, "ff" * 128):
                params = {**bundle.params, "bad_pixels": text}
                path = write_bundle(folder / "odd", dataclasses.replace(bundle, params=params), {})
                error = outcome(load_with_backend, subject, path)
                run.require(subject, says(error, ValueError, "bad_pixels"), f"{error!r}", text[:4])
