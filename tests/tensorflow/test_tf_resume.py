"""What of resuming is TensorFlow's own; the rest is in tests/workflows."""

from __future__ import annotations

import pytest

from ptycho import model_manager
from ptycho.core.bundle import read_bundle


@pytest.fixture
def saved(tmp_path):
    """Return a function that saves a training under a name."""
    return lambda name, trained: model_manager.save(tmp_path / f"{name}.zip", trained)


def test_the_network_has_no_layers_that_readers_refuse(fit, make_config, saved):
    import keras

    import ptycho.layers  # noqa: F401  # registers them
    from ptycho.core.native_payload import KERAS_LAYERS

    registered = {
        name.removeprefix("ptycho>")
        for name, each in keras.saving.get_custom_objects().items()
        if name.startswith("ptycho>") and issubclass(each, keras.layers.Layer)
    }
    assert registered == KERAS_LAYERS
    for model in ({"pad_object": False}, {"probe_big": False}, {"object_big": False}):
        trained = fit(make_config(2, model, nepochs=1), max_steps=1)
        assert read_bundle(saved("model", trained)).backend == "tensorflow"
