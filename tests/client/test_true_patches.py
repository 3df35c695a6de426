"""True patches, stitched on the way that the client's plugins take, are the true object."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("ptychodus", reason="ptychodus is absent: pip install 'ptychopinn[client]'")

from ptychodus.api.object import Object
from scene import Scene, make_scene, scores

pytestmark = pytest.mark.client


def _object(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return a smooth object at any coordinates in pixels, without a symmetry."""
    amplitude = 0.6 + 0.2 * np.sin(0.21 * x + 0.05 * y) + 0.15 * np.cos(0.13 * y - 0.04 * x + 1)
    return amplitude * np.exp(1j * (0.8 * np.sin(0.11 * x - 0.17 * y) + 0.5 * np.cos(0.19 * y)))


def _scene() -> Scene:
    scene = make_scene(N=64, n_positions=400)
    rows, columns = np.indices(scene.raw.objectGuess.shape, float)
    scene.raw.objectGuess = _object(columns, rows)
    return scene


def _true_patches(offsets: np.ndarray, N: int = 64) -> np.ndarray:
    """Return the object around positions of the client, the middles of patches, (K, N, N, 1)."""
    x, y = np.asarray(offsets).reshape(-1, 2).T[..., None, None]
    steps = np.arange(N) - (N - 1) / 2
    return _object(x + steps, y + steps[:, None])[..., None].astype(np.complex64)


def _as_the_client_holds_it(scene: Scene, image: np.ndarray) -> Object:
    given = scene.given.product.object_
    array = np.squeeze(image)
    return Object(array, given.get_pixel_geometry(), given.get_center())


def _judge(found: dict[str, float]) -> None:
    assert found["amplitude_correlation"] > 0.999
    assert found["phase_correlation"] > 0.999
    assert abs(found["shift_x"]) < 0.5
    assert abs(found["shift_y"]) < 0.5


@pytest.mark.parametrize("gridsize", [1, 2])
def test_the_first_plugin(gridsize):
    # The client's own conversion of its product, then its calls, in its order.
    from ptychodus.model.ptychopinn._subprocess import _create_raw_data

    import ptycho.loader
    import ptycho.tf_helper

    scene = _scene()
    raw = _create_raw_data(scene.given)
    grouped = raw.generate_grouped_data(64, K=7, nsamples=1, gridsize=gridsize)
    container = ptycho.loader.load(lambda: grouped, raw.probeGuess, which=None, create_split=False)
    patches = _true_patches(container.global_offsets)
    image = ptycho.tf_helper.reassemble_position(patches, container.global_offsets, M=20)
    _judge(scores(scene, _as_the_client_holds_it(scene, image)))


@pytest.mark.parametrize("gridsize", [1, 2])
def test_the_second_plugin(gridsize, monkeypatch):
    from ptycho.config.config import ModelConfig
    from ptycho_torch import model
    from ptycho_torch.api import base_api
    from ptycho_torch.config_params import DataConfig

    scene = _scene()
    monkeypatch.setattr(
        base_api,
        "evaluate_test_data",
        lambda _, container: _true_patches(container.global_offsets),
    )
    monkeypatch.setattr(model, "get_canonical_weights", lambda _: {})
    record = SimpleNamespace(normalisation=1.0, bad_pixels=None)
    network = SimpleNamespace(config=ModelConfig(N=64, gridsize=gridsize))
    loaded = SimpleNamespace(model=network, record=record, intensity_scale=1.0)
    configs = base_api.ConfigManager(
        DataConfig(N=64, C=gridsize**2, grid_size=(gridsize, gridsize))
    )
    geometry = scene.given.product.object_.get_geometry()
    positions = scene.given.product.probe_positions
    where = np.column_stack(
        [
            geometry.map_probe_positions_to_object_y_px(positions),
            geometry.map_probe_positions_to_object_x_px(positions),
        ]
    )
    loader = base_api.PtychoDataLoader.from_np(
        scene.given.diffraction_patterns, scene.raw.probeGuess[None], where, configs
    )
    engine = base_api.InferenceEngine(configs, SimpleNamespace(loaded=lambda: loaded))
    image = engine.predict_and_stitch(loader)
    _judge(scores(scene, _as_the_client_holds_it(scene, image)))
