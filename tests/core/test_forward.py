"""The float64 reference physics: transform, patches, modes, photons, and a measured scan."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from ptycho.core import forward
from ptycho.core.forward import (
    diffraction_amplitude,
    intensity_batches,
    pattern_energies,
    photon_counts,
    scale_probe,
    scan_intensity,
)

N = 16


def _complex(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


@pytest.mark.parametrize(("qy", "qx"), [(0, 0), (3, -2), (-5, 1), (-8, 7)])
def test_a_plane_wave_is_one_spot_off_the_middle_pixel(qy: int, qx: int) -> None:
    y, x = np.mgrid[:N, :N]
    amplitude = diffraction_amplitude(np.exp(2j * np.pi * (qy * y + qx * x) / N))
    expected = np.zeros((N, N))
    expected[N // 2 + qy, N // 2 + qx] = N  # all N*N units of energy in one pixel
    np.testing.assert_allclose(amplitude, expected, atol=1e-12)
    assert amplitude.dtype == np.float64


def test_the_transform_is_the_orthonormal_fourier_sum() -> None:
    wave = _complex(np.random.default_rng(0), 8, 8)
    k = np.arange(8) - 4
    kernel = np.exp(-2j * np.pi * np.outer(k, np.arange(8)) / 8)
    np.testing.assert_allclose(
        diffraction_amplitude(wave), np.abs(kernel @ wave @ kernel.T) / 8, rtol=1e-12
    )


@pytest.mark.parametrize("shape", [(16,), (4, 8), (2, 8, 9)])
def test_waves_that_are_not_square_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="exit waves have shape"):
        diffraction_amplitude(np.ones(shape))


def test_position_is_x_y_and_sits_on_the_probes_middle_pixel() -> None:
    obj = _complex(np.random.default_rng(1), 40, 50)
    pinhole = np.zeros((N, N))
    pinhole[N // 2, N // 2] = 1
    positions = np.array([[31.0, 20.0], [9.0, 12.0]])
    energy = scan_intensity(obj, positions, pinhole).sum(axis=(1, 2))
    np.testing.assert_allclose(energy, np.abs([obj[20, 31], obj[12, 9]]) ** 2, rtol=1e-12)


def test_half_way_between_pixels_the_object_is_their_mean() -> None:
    obj = _complex(np.random.default_rng(2), 40, 40)
    pinhole = np.zeros((N, N))
    pinhole[N // 2, N // 2] = 1
    energy = scan_intensity(obj, np.array([[20.5, 17.0]]), pinhole).sum()
    assert energy == pytest.approx(abs((obj[17, 20] + obj[17, 21]) / 2) ** 2)


def test_intensities_of_incoherent_modes_add() -> None:
    rng = np.random.default_rng(3)
    obj, modes = _complex(rng, 40, 40), _complex(rng, 3, N, N)
    positions = rng.uniform(10, 28, (5, 2))
    together = scan_intensity(obj, positions, modes)
    apart = sum(scan_intensity(obj, positions, mode) for mode in modes)
    np.testing.assert_allclose(together, apart, rtol=1e-12)


def test_pattern_energies_are_the_patterns_sums() -> None:
    rng = np.random.default_rng(4)
    obj, modes = _complex(rng, 40, 40), _complex(rng, 2, N, N)
    positions = rng.uniform(10, 28, (6, 2))
    np.testing.assert_allclose(
        pattern_energies(obj, positions, modes),
        scan_intensity(obj, positions, modes).sum(axis=(1, 2)),
        rtol=1e-12,
    )


def test_a_single_precision_object_is_computed_in_double() -> None:
    rng = np.random.default_rng(5)
    obj, probe = _complex(rng, 40, 40).astype(np.complex64), _complex(rng, N, N)
    positions = rng.uniform(10, 28, (4, 2))
    np.testing.assert_array_equal(
        scan_intensity(obj, positions, probe),
        scan_intensity(obj.astype(np.complex128), positions, probe),
    )


def test_batches_change_memory_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    obj, probe = _complex(rng, 60, 60), _complex(rng, N, N)
    positions = rng.uniform(10, 48, (2000, 2))
    whole = scan_intensity(obj, positions, probe)
    monkeypatch.setattr(forward, "_BATCH_BYTES", 2**20)
    pieces = [part for part, _ in intensity_batches(obj, positions, probe)]
    assert len(pieces) > 10
    np.testing.assert_array_equal(scan_intensity(obj, positions, probe), whole)
    tracemalloc.start()
    for _ in intensity_batches(obj, positions, probe):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 2**20  # the scan's waves together take 8 MiB


def test_photon_counts_have_poisson_mean_and_variance() -> None:
    rate = np.array([0.0, 0.3, 7.0, 1e6])
    drawn = photon_counts(np.tile(rate, (40000, 1)), np.random.default_rng(7))
    assert drawn.dtype == np.int64
    # Five standard errors of the mean, and of the variance of a Poisson sample.
    error = 5 * np.sqrt(rate / len(drawn))
    np.testing.assert_array_less(np.abs(drawn.mean(axis=0) - rate), error + 1e-12)
    spread = 5 * np.sqrt((rate + 2 * rate**2) / len(drawn))
    np.testing.assert_array_less(np.abs(drawn.var(axis=0) - rate), spread + 1e-12)


def test_the_scaled_probe_gives_so_many_photons_on_average() -> None:
    rng = np.random.default_rng(8)
    obj, modes = _complex(rng, 40, 40), _complex(rng, 2, N, N)
    positions = rng.uniform(10, 28, (7, 2))
    scaled = scale_probe(modes, obj, positions, 1e5)
    mean = scan_intensity(obj, positions, scaled).sum(axis=(1, 2)).mean()
    assert mean == pytest.approx(1e5, rel=1e-12)
    ratio = scaled / modes
    np.testing.assert_allclose(ratio, ratio[0, 0, 0], rtol=1e-12)


@pytest.mark.parametrize("nphotons", [0, -1.0, np.nan, np.inf])
def test_impossible_photon_numbers_are_refused(nphotons: float) -> None:
    with pytest.raises(ValueError, match="nphotons is"):
        scale_probe(np.ones((N, N)), np.ones((40, 40)), np.array([[20.0, 20.0]]), nphotons)


def test_a_dark_object_an_odd_probe_and_bad_positions_are_refused() -> None:
    obj, probe, positions = np.ones((40, 40)), np.ones((N, N)), np.array([[20.0, 20.0]])
    with pytest.raises(ValueError, match="no light passes"):
        scale_probe(probe, 0 * obj, positions, 1e3)
    with pytest.raises(ValueError, match=r"probe has shape \(16, 8\)"):
        scan_intensity(obj, positions, probe[:, :8])
    with pytest.raises(ValueError, match=r"positions have shape \(2,\)"):
        scan_intensity(obj, positions[0], probe)
    with pytest.raises(ValueError, match="NaN"):
        scan_intensity(obj, positions * np.nan, probe)


# ---------------------------------------------------------------- a measured scan


class _Measured:
    """Every eighth frame of the measured Siemens star, and how well a model explains them."""

    def __init__(self, folder: Path) -> None:
        path = folder / "siemens_star_aps_n128.npz"
        if not path.is_file():
            pytest.skip(f"no such file: {path}")
        with np.load(path) as scan:
            frames = scan["diff3d"].astype(np.float64)
            self.positions = np.column_stack([scan["xcoords"], scan["ycoords"]])[::8]
            self.probe, self.obj = scan["probeGuess"], scan["objectGuess"]
        self.mean, self.frames = frames.mean(axis=0), frames[::8]

    def residual(self, **changes: np.ndarray) -> float:
        """Return sum (A - S)**2 / sum A**2 with some of the ingredients exchanged."""
        use = {"obj": self.obj, "positions": self.positions, "probe": self.probe, **changes}
        simulated = np.sqrt(scan_intensity(use["obj"], use["positions"], use["probe"]))
        return float(((self.frames - simulated) ** 2).sum() / (self.frames**2).sum())


@pytest.fixture
def measured(data_dir: Path) -> _Measured:
    return _Measured(data_dir)


@pytest.mark.realdata
def test_a_measured_scan_is_reproduced(measured: _Measured) -> None:
    assert measured.residual() < 0.016  # 0.0137; the mean pattern alone leaves 0.057
    simulated = np.sqrt(scan_intensity(measured.obj, measured.positions, measured.probe))
    expected = simulated.mean(axis=0)
    pairs = zip(measured.frames - measured.mean, simulated - expected, strict=True)
    correlations = [np.corrcoef(a.ravel(), s.ravel())[0, 1] for a, s in pairs]
    assert np.median(correlations) > 0.85


@pytest.mark.realdata
def test_no_mirrored_or_transposed_orientation_fits_better(measured: _Measured) -> None:
    height, width = measured.obj.shape
    x, y = measured.positions.T
    mirrored_x = np.column_stack([width - 1 - x, y])
    mirrored_y = np.column_stack([x, height - 1 - y])
    worse = {
        "positions read as (y, x)": measured.residual(positions=measured.positions[:, ::-1]),
        "x mirrored": measured.residual(positions=mirrored_x),
        "y mirrored": measured.residual(positions=mirrored_y),
        "object mirrored in x": measured.residual(obj=measured.obj[:, ::-1]),
        "object mirrored in y": measured.residual(obj=measured.obj[::-1]),
        "object transposed": measured.residual(obj=measured.obj.T),
        "probe mirrored in x": measured.residual(probe=measured.probe[:, ::-1]),
        "probe mirrored in y": measured.residual(probe=measured.probe[::-1]),
        "probe transposed": measured.residual(probe=measured.probe.T),
        "patches and probe mirrored": measured.residual(
            obj=measured.obj[::-1, ::-1],
            probe=measured.probe[::-1, ::-1],
            positions=np.column_stack([width - 1 - x, height - 1 - y]),
        ),
    }
    assert min(worse.values()) > 2 * measured.residual(), worse


@pytest.mark.realdata
@pytest.mark.parametrize("shift", [-0.5, 0.5])
def test_a_position_on_the_middle_between_pixels_fits_worse(
    measured: _Measured, shift: float
) -> None:
    # A patch centred on (N - 1)/2 instead of N/2 shows the object half a pixel further.
    assert measured.residual(positions=measured.positions + shift) > 1.05 * measured.residual()
