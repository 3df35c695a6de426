"""Simulated scans: photons, seeds, units, and the built-in scan's qualities."""

import json
from pathlib import Path

import numpy as np
import pytest

from ptycho.core import forward
from ptycho.core.forward import scan_intensity
from ptycho.raw_data import RawData
from ptycho.simulation.settings import OBJECTS, PROBES, SCANS, ScanSettings
from ptycho.simulation.simulate import built_in_scan, simulate, simulate_scan

SMALL = {"N": 32, "n_positions": 12}


def _equal(a: RawData, b: RawData) -> bool:
    names = ("xcoords", "ycoords", "diff3d", "probeGuess", "objectGuess")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    first = simulate(ScanSettings(**SMALL, seed=5)).to_file(tmp_path / "a.npz")
    again = simulate(ScanSettings(**SMALL, seed=5)).to_file(tmp_path / "b.npz")
    a, b = np.load(first), np.load(again)
    assert a.files == b.files
    for key in a.files:
        np.testing.assert_array_equal(a[key], b[key])


def test_object_scan_and_photons_follow_the_seed() -> None:
    a, b = (simulate(ScanSettings(**SMALL, seed=s)) for s in (0, 1))
    for name in ("xcoords", "diff3d", "objectGuess"):
        assert not np.array_equal(getattr(a, name), getattr(b, name)), name


def test_object_and_photon_streams_are_separate() -> None:
    a = simulate(ScanSettings(**SMALL, nphotons=1e9))
    b = simulate(ScanSettings(**SMALL, nphotons=1e3))
    assert a.objectGuess is not None
    assert b.objectGuess is not None
    np.testing.assert_array_equal(a.objectGuess, b.objectGuess)
    np.testing.assert_array_equal(a.positions, b.positions)


def test_photon_noise_does_not_depend_on_how_the_object_was_drawn() -> None:
    clear = {"absorption": 0.0, "phase_shift": 0.0}
    a, b = (simulate(ScanSettings(**SMALL, **clear, object=name)) for name in ("grf", "lines"))
    assert a.diff3d is not None
    np.testing.assert_array_equal(a.diff3d, b.diff3d)


def test_the_global_random_state_is_neither_read_nor_written() -> None:
    np.random.seed(0)  # noqa: NPY002 - it is the legacy state that must not matter
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = simulate(ScanSettings(**SMALL))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert _equal(first, simulate(ScanSettings(**SMALL)))


@pytest.mark.parametrize("modes", [1, 3])
@pytest.mark.parametrize("nphotons", [50.0, 1e5])
def test_patterns_hold_the_photons_that_probe_and_object_predict(
    modes: int, nphotons: float
) -> None:
    raw = simulate(ScanSettings(N=32, n_positions=60, nphotons=nphotons, modes=modes))
    assert raw.objectGuess is not None
    assert raw.probeGuess is not None
    assert raw.probeGuess.shape == ((32, 32) if modes == 1 else (modes, 32, 32))
    expected = scan_intensity(raw.objectGuess, raw.positions, raw.probeGuess)
    assert expected.sum(axis=(1, 2)).mean() == pytest.approx(nphotons, rel=1e-5)
    counts = raw.amplitude().astype(np.float64) ** 2
    assert np.abs(counts - np.rint(counts)).max() < 1e-3 * max(1.0, nphotons / 1e4)
    # Pearson's chi-squared per pixel is 1 for Poisson noise, whatever the rate.
    chi = float(((counts - expected) ** 2).sum() / expected.sum())
    spread = np.sqrt((expected + 2 * expected**2).sum()) / expected.sum()
    assert chi == pytest.approx(1, abs=5 * spread)
    total = nphotons * len(raw)
    assert counts.sum() == pytest.approx(total, abs=5 * np.sqrt(total))


def test_counts_and_amplitudes_are_the_same_measurement() -> None:
    amplitude, counts = (simulate(ScanSettings(**SMALL, counts=flag)) for flag in (False, True))
    assert amplitude.diff3d is not None
    assert counts.diff3d is not None
    assert amplitude.diff3d.dtype == np.float32
    assert np.issubdtype(counts.diff3d.dtype, np.unsignedinteger)
    assert (amplitude.domain, counts.domain) == ("amplitude", "counts")
    np.testing.assert_array_equal(amplitude.diff3d, np.sqrt(counts.diff3d).astype(np.float32))


@pytest.mark.parametrize(
    ("nphotons", "dtype"), [(1e3, np.uint16), (1e6, np.uint32), (1e12, np.uint64)]
)
def test_counts_are_stored_without_overflow(nphotons: float, dtype: type) -> None:
    raw = simulate(ScanSettings(N=32, n_positions=4, nphotons=nphotons, counts=True))
    assert raw.diff3d is not None
    assert raw.diff3d.dtype == dtype
    total = float(raw.diff3d.astype(np.float64).sum())
    assert total == pytest.approx(4 * nphotons, rel=0.1)


def test_batches_do_not_change_the_photons(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = simulate(ScanSettings(**SMALL))
    monkeypatch.setattr(forward, "_BATCH_BYTES", 1)
    assert _equal(whole, simulate(ScanSettings(**SMALL)))


def test_a_file_brings_everything_back(tmp_path: Path) -> None:
    raw = simulate(ScanSettings(**SMALL, seed=3, modes=2, counts=True))
    back = RawData.from_file(raw.to_file(tmp_path / "scan.npz"))
    assert _equal(raw, back)
    assert back.domain == "counts"
    assert back.metadata == raw.metadata
    assert back.metadata is not None
    assert back.metadata["seed"] == 3
    assert back.metadata["nphotons"] == 1e9
    assert ScanSettings(**back.metadata["simulation"]).modes == 2


def test_settings_in_the_metadata_repeat_the_scan() -> None:
    raw = simulate(ScanSettings(**SMALL, object="lines", scan="random", seed=8, step=3.0))
    assert raw.metadata is not None
    stored = json.loads(json.dumps(raw.metadata))["simulation"]
    assert _equal(raw, simulate(ScanSettings(**stored)))


@pytest.mark.parametrize("name", OBJECTS)
def test_every_object_can_be_scanned(name: str) -> None:
    raw = simulate(ScanSettings(**SMALL, object=name))
    assert float(raw.amplitude().std(axis=0).max()) > 0


@pytest.mark.parametrize(("probe", "scan"), list(zip(PROBES, SCANS, strict=True)))
def test_every_probe_and_scan_pattern_can_be_used(probe: str, scan: str) -> None:
    raw = simulate(ScanSettings(**SMALL, probe=probe, scan=scan))
    assert len(raw) == 12
    assert raw.metadata is not None
    assert raw.metadata["photons_per_pattern"] == pytest.approx(1e9, rel=1e-3)


def test_a_scan_of_given_arrays_is_labelled_as_asked() -> None:
    rng = np.random.default_rng(0)
    positions = np.array([[20.0, 24.5]])
    raw = simulate_scan(
        np.ones((48, 44)), np.ones((32, 32)), positions, 100.0, rng, metadata={"origin": "test"}
    )
    assert raw.metadata is not None
    assert raw.metadata["origin"] == "test"
    assert raw.metadata["overlap"] is None
    np.testing.assert_array_equal(raw.positions, positions)
    np.testing.assert_array_equal(raw.scan_index, [0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("object", "cat"), ("probe", "lens"), ("scan", "zigzag"), ("N", 33), ("N", 8),
        ("n_positions", 0), ("step", 0.0), ("nphotons", -1.0), ("nphotons", float("nan")),
        ("modes", 0), ("seed", -1), ("absorption", -0.1), ("phase_shift", float("inf")),
    ],
)  # fmt: skip
def test_settings_refuse_what_cannot_be_simulated(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{field} is .*; allowed: "):
        ScanSettings(**{field: value})


def test_the_built_in_scan_is_what_the_demo_needs() -> None:
    raw = built_in_scan(seed=1, n_positions=100)
    assert raw.diff3d is not None
    assert raw.probeGuess is not None
    assert raw.objectGuess is not None
    assert raw.diff3d.shape == (100, 64, 64)
    facts = raw.metadata
    assert facts is not None
    assert facts["overlap"] > 0.7
    assert facts["photons_per_pattern"] == pytest.approx(1e9, rel=1e-3)
    assert facts["probe_diameter"] < 32  # the lit patch fits the central N/2 square
    # Every pattern differs from the mean by far more than photon noise does.
    amplitude = raw.amplitude()
    assert float((amplitude - amplitude.mean(axis=0)).std()) > 5
    assert len(built_in_scan(N=32, n_positions=9)) == 9
