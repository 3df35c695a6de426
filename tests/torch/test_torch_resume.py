"""What of resuming is PyTorch's own; the rest is in tests/workflows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ptycho.core.bundle import read_bundle
from ptycho_torch import model_manager


@pytest.fixture
def saved(tmp_path):
    """Return a function that saves a training under a name."""
    return lambda name, trained: model_manager.save(tmp_path / f"{name}.zip", trained)


def test_accumulated_batches_go_on_too(fit, make_config, saved):
    config = make_config(
        1,
        nepochs=4,
        n_groups=20,
        batch_size=3,
        validation_fraction=0.1,
        probe_trainable=True,
        scheduler="WarmupCosine",
    )
    accumulated = {"execution": {"accum_steps": 4}}  # six batches: four, then the two left
    whole = fit(config, **accumulated)
    for steps in (1, 2):
        begun = saved("begun", fit(config, max_steps=steps, **accumulated))
        state = read_bundle(begun).state
        assert (state.epoch, state.batch, state.step) == (steps // 2, 4 * (steps % 2), steps)
        rest = fit(dataclasses.replace(config, resume=begun), **accumulated)
        assert rest.step_losses == whole.step_losses[-len(rest.step_losses) :]
        assert len(rest.step_losses) == 24 - (4 if steps == 1 else 6)
        for name, value in whole.weights.items():
            np.testing.assert_array_equal(rest.weights[name], value)


def test_a_checkpoint_without_a_canvas_takes_that_of_the_batch(fit, make_config, saved, tmp_path):
    import io
    import zipfile

    import torch

    from ptycho_torch.model import PtychoPINN_Lightning

    trained = fit(make_config(2, nepochs=1), max_steps=1)
    with zipfile.ZipFile(saved("model", trained)) as archive:
        data = archive.read("autoencoder/model.ckpt")
    module = PtychoPINN_Lightning.load_from_checkpoint(io.BytesIO(data), weights_only=True).eval()
    x, relative = torch.rand(2, 4, 32, 32), 3 * torch.rand(2, 2, 4)
    with torch.no_grad():
        expected = trained.native.eval()(x, relative)
        np.testing.assert_allclose(module(x, relative).object, expected.object, atol=1e-6)
