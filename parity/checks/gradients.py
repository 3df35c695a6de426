"""G: gradients of the loss, each backend against differences of the reference, and the pair."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backends import oracle
from parity.backends.oracle.gradients import directional_derivative
from parity.backends.protocol import Arrays
from parity.checks.kinks import off_kinks
from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from parity.checks.samples import Sample, describe, generator, sample, small_model, training
from parity.compare import Comparison, compare, compare_named, median
from parity.compare.axes import axes_of
from ptycho.config.config import TrainingConfig
from ptycho.core.weights import Weights

ALL_TERMS = {
    "mae_weight": 0.4,
    "nll_weight": 0.6,
    "realspace_weight": 0.5,
    "realspace_mae_weight": 1.0,
}


def along(gradients: list[NDArray[Any]], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the direction of the mean gradient plus half as much of a random one.

    Along the first a wrong size shows, along the second a wrong direction.
    """
    mean = np.mean([np.asarray(g, np.float64) for g in gradients], axis=0)
    noise = rng.standard_normal(mean.shape)
    length = float(np.linalg.norm(mean)) or 1.0
    return np.asarray(mean / length + 0.5 * noise / float(np.linalg.norm(noise)))


def layers_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the weights of each layer: kernel and bias of a convolution move together."""
    layers: dict[str, list[str]] = {}
    for name in sorted(names):
        layers.setdefault(name.removesuffix("/kernel").removesuffix("/bias"), []).append(name)
    return layers


def joined(gradients: Arrays) -> Arrays:
    """Return a row for each weight of a filter and one for its bias, layer by layer.

    A single bias has no scale of its own: its derivative may be next to nothing by cancellation.
    """
    rows_of: Arrays = {}
    for layer, names in layers_of(gradients).items():
        rows = [np.asarray(gradients[name]) for name in names]
        if len(rows) > 1:
            rows = [np.vstack([each.reshape(-1, each.shape[-1]) for each in rows])]
        rows_of[layer] = rows[0]
    return rows_of


def elementwise(left: Arrays, right: Arrays) -> list[Comparison]:
    """Compare gradients layer by layer; the worst place is one in a weight."""
    dims = {layer: ("row", "out") for layer, names in layers_of(left).items() if len(names) > 1}
    found = compare_named(joined(left), joined(right), dims=dims)
    return [_in_its_weight(each, left) if "row" in each.where else each for each in found]


def _in_its_weight(found: Comparison, gradients: Arrays) -> Comparison:
    """Return the comparison of a layer's rows with its place in kernel or bias."""
    row, out = found.where["row"], found.where["out"]
    for name in layers_of(gradients)[found.name]:
        sides = gradients[name].shape[:-1]
        rows = math.prod(sides)
        if row < rows:
            place = (*(int(i) for i in np.unravel_index(row, sides)), out)
            axes = axes_of(name, len(place))
            return dataclasses.replace(found, name=name, where=dict(zip(axes, place, strict=True)))
        row -= rows
    raise ValueError(f"{found.name} has no row {found.where['row']}")


def _off_fit(config: TrainingConfig, given: Sample) -> Sample:
    """Return the sample with a probe that predicts more photons than were counted.

    Where both are as many, what ``log_scale`` does to the prediction cancels in its derivative;
    where they are not, that can cancel with what it does to the network's input. Of two
    brightnesses one is clear of both. With an amplitude term no pixel is predicted so well that
    rounding decides on the sign of its error.
    """
    patches = oracle.object_patches(config.model, given.weights, given.x.astype(np.float64))
    rate = oracle.propagate(config.model, given.weights, patches, given.offsets)["intensity"]
    counts = np.square(given.x, dtype=np.float64)
    loss = _loss(config, given)

    def with_gain(gain: float) -> Weights:
        return {**given.weights, "probe": (given.weights["probe"] * gain).astype(np.float32)}

    def clear(weights: Weights) -> float:
        found = oracle.propagate(config.model, weights, patches, given.offsets)["amplitude"]
        return float(np.abs(found - given.x).min() / found.max())

    def slope(gain: float) -> float:
        """Return the derivative in ``log_scale`` for each photon too many."""
        outward = {"log_scale": np.ones(())}
        found = directional_derivative(loss, with_gain(fit * gain), outward, 1.0)
        return abs(found) / (gain**2 - 1)

    fit = math.sqrt(np.mean(counts) / np.mean(rate))
    first = max(1.6, 1.2, key=slope)
    tried = [with_gain(fit * (first + 0.01 * k)) for k in range(40 if config.mae_weight else 1)]
    return dataclasses.replace(given, weights=max(tried, key=clear))


def _judge_differences(
    run: Recorder,
    results: dict[str, Arrays],
    config: TrainingConfig,
    given: Sample,
    tolerance: str,
) -> None:
    """Compare derivatives along one direction for each layer.

    The weights are such that no ReLU unit stands on its kink, see :mod:`parity.checks.kinks`.
    """
    case = describe(config)
    rng = generator(run.seed, f"directions {case}")
    loss = _loss(config, given)
    complete = {
        subject: gradients
        for subject, gradients in results.items()
        if gradients.keys() == _trained(config, given)
    }
    compared: dict[str, list[Comparison]] = {subject: [] for subject in complete}
    for layer, names in layers_of(_trained(config, given)).items() if complete else ():
        direction = {name: along([g[name] for g in complete.values()], rng) for name in names}
        claimed = {
            subject: sum(float(np.sum(direction[n] * gradients[n])) for n in names)
            for subject, gradients in complete.items()
        }
        guess = max(claimed.values(), key=abs)
        measured = directional_derivative(loss, given.weights, direction, guess)
        for subject, value in claimed.items():
            compared[subject].append(compare(value, measured, f"d loss / d {layer}"))
    for subject, comparisons in compared.items():
        run.judge(subject, comparisons, tolerance, case)
        if tolerance == "gradient.differences":
            run.judge(subject, [median(comparisons)], "gradient.median", case)


def _trained(config: TrainingConfig, given: Sample) -> set[str]:
    """Return the names of the weights that the configuration trains."""
    fixed = set() if config.probe_trainable else {"probe"}
    return (
        set(given.weights) - fixed - (set() if config.intensity_scale_trainable else {"log_scale"})
    )


def labels_for(config: TrainingConfig, given: Sample) -> NDArray[np.complex64] | None:
    """Return the labels where the loss compares with them."""
    compares = config.model.model_type == "supervised" or config.realspace_weight > 0
    return given.labels if compares else None


def _loss(config: TrainingConfig, given: Sample) -> Callable[[Any], float]:
    """Return the loss of the float64 reference as a function of weights."""
    inputs = given.x, given.offsets, given.intensity_scale, labels_for(config, given)
    return lambda weights: oracle.loss(config, weights, *inputs)


def _input_loss(config: TrainingConfig, given: Sample) -> Callable[[Any], float]:
    """Return the loss of the float64 reference as a function of what the network sees, ``x``."""
    fixed = given.offsets, given.intensity_scale, labels_for(config, given)
    return lambda moved: oracle.loss(
        config, given.weights, moved["x"], *fixed, measured=given.x.astype(np.float64)
    )


def prepared(config: TrainingConfig, seed: int, **inputs: Any) -> Sample:
    """Return a sample of which no unit stands on a kink and no derivative cancels."""
    rng = generator(seed, f"kinks {describe(config)}")
    return _off_fit(config, off_kinks(config.model, sample(config.model, seed, **inputs), rng))


def _judge(
    run: Recorder,
    config: TrainingConfig,
    differences: str = "gradient.differences",
    **inputs: Any,
) -> None:
    """Judge the gradients of one configuration, against differences of the reference too.

    ``differences`` is the tolerance of these; without one they are not taken.
    """
    case = describe(config)
    given = prepared(config, run.seed, **inputs)
    labels = labels_for(config, given)
    results = run.collect(
        lambda backend: backend.loss_gradients(
            config, given.weights, given.x, given.offsets, given.intensity_scale, labels
        ),
        case,
    )
    for subject, gradients in results.items():
        odd = sorted(_trained(config, given) ^ gradients.keys())
        run.require(subject, not odd, f"gradients are missing or unexpected for {odd}", case)
    if differences:
        _judge_differences(run, results, config, given, differences)
    for left, right in run.pairs(results):
        run.judge(PAIR, elementwise(left, right), "gradient.pair", case)


def _judge_input(run: Recorder, config: TrainingConfig, **inputs: Any) -> None:
    """Judge the gradient in the patterns that the network sees, one direction for each of them."""
    case = describe(config)
    given = prepared(config, run.seed, **inputs)
    fixed = given.x, given.offsets, given.intensity_scale, labels_for(config, given)
    results = run.collect(lambda b: b.input_gradient(config, given.weights, *fixed), case)
    for subject, gradient in results.items():
        alike = gradient.shape == given.x.shape
        run.require(subject, alike, f"shape {gradient.shape}, not {given.x.shape}", case)
    rng, loss = generator(run.seed, f"patterns {case}"), _input_loss(config, given)
    complete = {s: g for s, g in results.items() if g.shape == given.x.shape}
    batch, _, _, channels = given.x.shape
    for b, c in np.ndindex(batch, channels) if complete else ():
        direction = np.zeros(given.x.shape)
        direction[b, ..., c] = along([g[b, ..., c] for g in complete.values()], rng)
        claimed = {s: float(np.sum(direction * gradient)) for s, gradient in complete.items()}
        guess = max(claimed.values(), key=abs)
        measured = directional_derivative(loss, {"x": given.x}, {"x": direction}, guess)
        for subject, value in claimed.items():
            found = compare(value, measured, f"d loss / d x[{b}, ..., {c}]")
            run.judge(subject, [found], "gradient.differences", case)
    for left, right in run.pairs(complete):
        run.judge(PAIR, [compare(left, right, "d loss / d x")], "gradient.pair", case)


@check("G-1", "Gradient of the Poisson loss in every weight, probe and scale included")
def poisson(run: Recorder) -> None:
    """One pattern and four, under two probe modes: together they leave no dark pixel."""
    _judge(run, training(small_model(), probe_trainable=True), modes=2)
    _judge(run, training(small_model(gridsize=2), probe_trainable=True), modes=2)
    fixed = training(small_model(), intensity_scale_trainable=False)
    _judge(run, fixed, differences="", modes=2)


@check("G-2", "Gradient of all loss terms together, and of the supervised loss")
def other_losses(run: Recorder) -> None:
    """The amplitude term has kinks, at which rounding decides on the sign of a contribution."""
    config = training(small_model(gridsize=2), **ALL_TERMS, probe_trainable=True)
    _judge(run, config, modes=2)
    supervised = training(small_model(gridsize=2, model_type="supervised"))
    _judge(run, supervised)


@check("G-3", "Gradient through mask, smoothing, one patch per group and the other heads")
def variants(run: Recorder) -> None:
    """Each variant changes the backward pass at one place."""
    smooth = small_model(probe_mask=True, gaussian_smoothing_sigma=0.8, amp_activation="softplus")
    _judge(run, training(smooth, probe_trainable=True), modes=2)
    swish = small_model(gridsize=2, probe_big=False, amp_activation="swish")
    _judge(run, training(swish), modes=2)
    single = small_model(gridsize=2, object_big=False, pad_object=False)
    _judge(run, training(single), modes=2)


@check("G-4", "Gradient under a single probe mode, whose patterns have dark pixels")
def dark_pixels(run: Recorder) -> None:
    """There 1 - k / rate is large, and magnifies the rounding of network and Fourier transform."""
    _judge(run, training(small_model()), differences="gradient.dark")


@check("G-5", "Gradient in the patterns that the network sees, each beside differences")
def patterns(run: Recorder) -> None:
    """What is compared with the prediction stays; through all losses, and through no physics."""
    _judge_input(run, training(small_model()), modes=2)
    _judge_input(run, training(small_model(gridsize=2), **ALL_TERMS), modes=2)
    _judge_input(run, training(small_model(gridsize=2, model_type="supervised")))
