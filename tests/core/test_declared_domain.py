"""A measurement domain that the configuration declares, and what stays out of params.cfg."""

from pathlib import Path

import numpy as np
import pytest

from ptycho import params
from ptycho.config.config import (
    InferenceConfig,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    update_legacy_dict,
)
from ptycho.core.workflow import create_container, every_position, reassemble_image
from ptycho.raw_data import RawData


@pytest.fixture
def nines():
    line = np.arange(4.0)
    return RawData(line, line, None, None, np.full((4, 32, 32), 9.0), np.ones((32, 32)), None)


@pytest.mark.parametrize(("domain", "amplitude"), [("auto", 9), ("amplitude", 9), ("counts", 3)])
def test_configured_domain_decides_in_training_and_inference(nines, domain, amplitude):
    model = ModelConfig(N=32)
    training = TrainingConfig(model=model, n_groups=4, measurement_domain=domain)
    inference = InferenceConfig(model, Path(), Path(), measurement_domain=domain)
    assert (create_container(nines, training).amplitude == amplitude).all()
    assert (every_position(nines, inference, model, 1.0).amplitude == amplitude).all()
    assert nines.measurement_domain == "auto"
    assert (nines.diff3d == 9).all()


def test_in_domain_shares_arrays_and_forgets_the_amplitude(nines):
    assert (nines.amplitude() == 9).all()
    counts = nines.in_domain("counts")
    assert counts.diff3d is nines.diff3d
    assert (counts.amplitude() == 3).all()
    assert (nines.amplitude() == 9).all()
    assert nines.in_domain("auto") is nines
    with pytest.raises(ValueError, match="photons"):
        nines.in_domain("photons")


def test_reconstruction_checks_its_configuration_before_the_data():
    config = TrainingConfig(model=ModelConfig(N=32), seed=-1)
    with pytest.raises(ValueError, match=r"seed is -1; allowed: an integer >= 0"):
        reassemble_image(None, config, None)


def test_execution_settings_are_not_written_to_params():
    before = dict(params.cfg)
    with pytest.raises(TypeError, match="torch_execution_config"):
        update_legacy_dict(params.cfg, PyTorchExecutionConfig())
    assert params.cfg == before
