"""Batches of a scan that stays in its file, gathered by other processes."""

import pytest

from ptycho.core.loading import load_data
from ptycho.core.workflow import create_container
from ptycho.io import stored
from ptycho.raw_data import RawData


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_processes_that_load_data_read_the_file_themselves(
    fit, make_config, scan, tmp_path, monkeypatch, suffix
):
    monkeypatch.setattr(stored, "LARGE", 1)
    geometry = dict.fromkeys(("pixel_width_m", "pixel_height_m"), 1e-08)
    parts = (scan.xcoords, scan.ycoords, None, None, scan.diff3d, scan.probeGuess, None)
    metadata = {"object_geometry": geometry}
    whole = RawData(*parts, objectGuess=scan.objectGuess, metadata=metadata)
    config = make_config(gridsize=2, nepochs=1)
    container = create_container(load_data(whole.to_file(tmp_path / f"scan.{suffix}")), config)
    assert isinstance(container.patterns.stored, stored.StoredPatterns)
    there = fit(config, container, execution={"num_workers": 2})
    here = fit(config, create_container(whole, config))
    assert there.step_losses == here.step_losses
