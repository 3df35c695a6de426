"""Faults to plant into one backend's package, with ``monkeypatch.setattr`` or ``setattr``."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np


def uneven_batches(put, package):
    """Let the physics see how many groups there are."""
    model = importlib.import_module(f"{package}.model")
    real = model.propagate

    def propagate(config, weights, patches, offsets):
        stages = real(config, weights, patches, offsets)
        return {**stages, "amplitude": stages["amplitude"] * np.float32(1 + 1e-3 * len(patches))}

    put(model, "propagate", propagate)


def bright_amplitudes(put, package):
    """Let the network's amplitudes be off by more than their own limit, and less than others'."""
    model = importlib.import_module(f"{package}.model")
    real = model.evaluate

    def evaluate(*given):
        stages = real(*given)
        return {**stages, "amplitude": stages["amplitude"] * np.float32(1.01)}

    put(model, "evaluate", evaluate)


def moving_probe(put, package):
    """Train the probe whatever the configuration says; the loss stays as it is."""
    training = importlib.import_module(f"{package}.training")
    real = training.train

    def train(container, config, **options):
        return real(container, dataclasses.replace(config, probe_trainable=True), **options)

    put(training, "train", train)
