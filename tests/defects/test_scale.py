"""Units, scales and losses: counts, normalisation, intensity scale, probe gauge, reductions."""

import math

import numpy as np
import pytest

from ptycho.core.loading import load_data
from ptycho.core.training_plan import plan_training
from ptycho.raw_data import RawData
from ptycho.simulation.simulate import simulate_scan


def _container(backend, raw, config):
    return backend.room("workflows.components").create_ptycho_data_container(raw, config)


def _predictions(seed=0, batch=6):
    rng = np.random.default_rng(seed)
    x = rng.gamma(2.0, 20.0, (batch, 32, 32, 1)).astype(np.float32)
    amplitude = (x * rng.uniform(0.7, 1.3, x.shape)).astype(np.float32)
    patches = rng.normal(size=x.shape) + 1j * rng.normal(size=x.shape)
    labels = rng.normal(size=x.shape) + 1j * rng.normal(size=x.shape)
    return [x, amplitude, amplitude**2, patches.astype("c8"), labels.astype("c8")]


def test_D_02_each_training_has_its_own_scale(backend, runs):
    first, second = runs(backend, "plain"), runs(backend, "fixed scale")
    assert first.trained.intensity_scale == pytest.approx(1e3 / 16)
    assert second.trained.intensity_scale == pytest.approx(1e2 / 16)
    assert float(second.trained.weights["log_scale"]) == pytest.approx(math.log(1e2 / 16))
    assert float(first.trained.weights["log_scale"]) == pytest.approx(math.log(1e3 / 16), abs=0.1)
    doors = backend.room("workflows.components")
    for run in (first, second, first):
        model, known = doors.load_inference_bundle(run.bundle)
        assert known["intensity_scale"] == model.intensity_scale == run.trained.intensity_scale
        assert model.weights["log_scale"] == run.trained.weights["log_scale"]


def test_D_03_probe_and_scale_train_when_told_to_and_are_saved(backend, runs, scan):
    scale_run, probe_run = runs(backend, "plain"), runs(backend, "fixed scale")
    doors = backend.room("workflows.components")
    for run, trains in ((scale_run, "log_scale"), (probe_run, "probe")):
        container = _container(backend, scan, run.config)
        begun = plan_training(container, run.config).weights
        saved = doors.load_inference_bundle(run.bundle)[0].weights
        for name in ("log_scale", "probe"):
            moved = np.abs(saved[name] - begun[name]).max()
            assert (moved > 1e-4) == (name == trains), (name, moved)


def test_D_15_a_subset_is_scaled_as_the_training_was(backend, runs, scan):
    run = runs(backend)
    few = RawData(
        scan.xcoords[:9], scan.ycoords[:9], None, None, 3 * scan.diff3d[:9], scan.probeGuess, None
    )
    doors = backend.room("workflows.components")
    model, known = doors.load_inference_bundle(run.bundle)
    _, _, results = doors.reassemble_cdi_image(few, run.config, model)
    trained = run.results["train_container"].normalisation
    assert known["normalisation"] == results["stitched_container"].normalisation == trained


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_D_31_counts_become_amplitudes_once(backend, scene, config_of, dtype):
    counts = np.minimum(scene.counts(2e4), 255).astype(dtype)
    raw = scene.scan(diff3d=counts)
    container = _container(backend, raw, config_of(backend.name))
    np.testing.assert_allclose(container.amplitude, np.sqrt(counts.astype(float)), rtol=1e-6)
    np.testing.assert_array_equal(raw.diff3d, counts)
    energy = (container.X.astype(float)[..., 0] ** 2).sum(axis=(1, 2))
    assert energy.mean() == pytest.approx(16**2, rel=0.05)


def test_T_13_P_23_probe_enters_training_normalised(backend, scene, config_of):
    config = config_of(backend.name)
    starts = []
    for factor in (1.0, 37.5j):
        probe = factor * scene.probe()
        container = _container(backend, scene.scan(probeGuess=probe), config)
        weights = plan_training(container, config).weights
        seen = backend.evaluate(
            config.model, weights, container.X[:4] * np.float32(62.5), np.zeros((4, 1, 2, 1), "f4")
        )
        starts.append(seen["amplitude"])
    np.testing.assert_allclose(starts[0], starts[1], rtol=2e-4, atol=1e-3)


def test_T_31_default_settings_predict_the_measured_energy(backend, runs, scan):
    run = runs(backend)
    container = run.results["train_container"]
    scale = np.float32(run.trained.intensity_scale)
    x, offsets = container.X * scale, container.batch_offsets(slice(None))
    begun = plan_training(container, run.config).weights
    for weights in (begun, run.trained.weights):
        seen = backend.evaluate(run.config.model, weights, x, offsets)
        ratio = (seen["amplitude"].astype(float) ** 2).sum() / (x.astype(float) ** 2).sum()
        assert 0.5 < ratio < 2
        modulus = np.abs(seen["patches"])
        assert 0.1 < modulus[:, 8:24, 8:24].mean() < 0.95
        assert modulus[:, 8:24, 8:24].std() > 1e-3


@pytest.mark.parametrize("term", ["nll", "mae"])
def test_T_18_loss_of_a_batch_is_the_mean_over_its_patterns(backend, config_of, term):
    x, amplitude, intensity, *_ = _predictions()
    config = config_of(backend.name, mae_weight=1.0)

    def loss(part):
        given = x[part], amplitude[part], intensity[part]
        return backend.evaluate_losses(config, 60.0, *given)[term]

    single = [loss(slice(k, k + 1)) for k in range(6)]
    assert np.ptp(single) > 1e-4 * np.mean(single)
    assert loss(slice(None)) == pytest.approx(np.mean(single), rel=1e-5)


def test_T_19_supervised_loss_does_not_grow_with_the_batch(backend, config_of):
    arrays = _predictions()
    config = config_of(backend.name, {"model_type": "supervised"})
    once = backend.evaluate_losses(config, 60.0, *arrays)["loss"]
    twice = backend.evaluate_losses(config, 60.0, *[np.concatenate([a, a]) for a in arrays])["loss"]
    assert twice == pytest.approx(once, rel=1e-6)
    patches, labels = (a[:, 8:24, 8:24] for a in arrays[3:])
    assert once == pytest.approx(np.abs(patches - labels).mean(), rel=1e-5)


def test_F_13_counts_and_amplitudes_give_one_input_and_doses_one_loss(backend, scene, config_of):
    counts = scene.counts()
    config = config_of(backend.name)
    from_counts = _container(backend, scene.scan(diff3d=counts), config)
    roots = np.sqrt(counts.astype(np.float64)).astype(np.float32)
    from_roots = _container(backend, scene.scan(diff3d=roots), config)
    np.testing.assert_array_equal(from_counts.X, from_roots.X)
    x, amplitude, *_ = (a.astype(np.float64) for a in _predictions()[:2])
    values = []
    for scale in (6.25, 1976.0):
        given = [(v * scale / 60).astype(np.float32) for v in (x, amplitude)]
        values.append(backend.evaluate_losses(config, scale, *given, given[1] ** 2)["nll"])
    assert values[0] == pytest.approx(values[1], rel=1e-4)


@pytest.mark.parametrize("domain", ["counts", "amplitude"])
def test_F_14_sixteen_bit_values_do_not_wrap(backend, scene, config_of, domain):
    values = np.full((40, 32, 32), 60000, np.uint16)
    values[:, 0] = 300
    raw = scene.scan(diff3d=values, measurement_domain=domain)
    container = _container(backend, raw, config_of(backend.name))
    exact = values.astype(np.float64) ** (0.5 if domain == "counts" else 1)
    factor = 16 / math.sqrt((exact**2).sum(axis=(1, 2)).mean())
    np.testing.assert_allclose(container.amplitude, exact, rtol=1e-6)
    assert container.normalisation == pytest.approx(factor, rel=1e-6)


def test_F_15_labels_show_the_object_without_the_probe(backend, scene, config_of):
    config = config_of(backend.name)
    one = _container(backend, scene.scan(), config)
    other = _container(backend, scene.scan(probeGuess=scene.probe() ** 2), config)
    np.testing.assert_array_equal(one.Y, other.Y)
    np.testing.assert_allclose(one.Y_I * np.exp(1j * one.Y_phi), one.Y, rtol=0, atol=1e-5)
    assert one.Y_I.min() > 0.2  # under the probe the rim would be dark


def test_F_16_recorded_photons_are_the_photons_in_the_patterns(scene):
    rng = np.random.default_rng(0)
    for photons in (1e3, 1e6):
        raw = simulate_scan(
            scene.image, scene.probe(), scene.positions(), photons, rng, counts=True
        )
        measured = raw.diff3d.sum(axis=(1, 2), dtype=np.int64).mean()
        assert raw.metadata["nphotons"] == photons
        assert measured == pytest.approx(photons, rel=0.02)
        assert raw.metadata["photons_per_pattern"] == pytest.approx(measured)


def test_C_30_both_doors_take_amplitude_and_a_file_says_which(backend, scene, config_of, tmp_path):
    floats = scene.counts().astype(np.float32)
    config = config_of(backend.name)
    declared = scene.scan(diff3d=floats, measurement_domain="counts").to_file(tmp_path / "a.npz")
    plain = scene.scan(diff3d=floats).to_file(tmp_path / "b.npz")
    as_counts = _container(backend, load_data(declared), config)
    np.testing.assert_allclose(as_counts.amplitude, np.sqrt(floats), rtol=1e-6)
    np.testing.assert_array_equal(_container(backend, load_data(plain), config).amplitude, floats)
    imposed = load_data(plain, measurement_domain="counts")
    np.testing.assert_array_equal(_container(backend, imposed, config).X, as_counts.X)


def test_C_26_probe_may_be_one_mode_or_several(backend, scene, config_of):
    config = config_of(backend.name)
    probe = scene.probe()
    for given, modes in ((probe, 1), (probe[None], 1), (np.stack([probe, 0.3 * probe.T]), 2)):
        container = _container(backend, scene.scan(probeGuess=given), config)
        weights = plan_training(container, config).weights
        assert weights["probe"].shape == (modes, 32, 32, 2)
        seen = backend.evaluate(
            config.model, weights, container.X[:2], np.zeros((2, 1, 2, 1), np.float32)
        )
        assert np.isfinite(seen["amplitude"]).all()


def test_C_27_a_scale_per_group_acts_on_its_own_group(backend, runs):
    model = runs(backend).results["model_instance"]
    x = runs(backend).results["train_container"].X[:3] * np.float32(40)
    offsets = np.zeros((3, 1, 2, 1), np.float32)
    factors = np.array([1.0, 2.0, 0.5], np.float32)
    together = model.predict([x * factors[:, None, None, None], offsets])
    for k, factor in enumerate(factors):
        alone = model.predict([x[k : k + 1] * factor, offsets[:1]])
        np.testing.assert_allclose(together[k], alone[0], rtol=0, atol=2e-6)
    with pytest.raises(ValueError, match="N=32"):
        model.predict([x[..., 0] * factors[:, None, None], offsets])


def test_C_37_saved_intensity_scale_is_that_of_the_photons(backend, runs):
    for variant, photons in (("plain", 1e6), ("fixed scale", 1e4)):
        run = runs(backend, variant)
        known = backend.room("workflows.components").load_inference_bundle(run.bundle)[1]
        assert known["intensity_scale"] == pytest.approx(math.sqrt(photons) / 16)
        assert run.params["intensity_scale"] == known["intensity_scale"]


def test_P_01_training_uses_the_scale_of_the_photons(backend, runs):
    """What trained, what predicts and what params.cfg says are one number."""
    run = runs(backend, "fixed scale")
    scale = 1e2 / 16
    assert run.results["intensity_scale"] == pytest.approx(scale)
    assert run.results["model_instance"].intensity_scale == pytest.approx(scale)
    assert run.params["intensity_scale"] == pytest.approx(scale)
    assert run.params["nphotons"] == 1e4
