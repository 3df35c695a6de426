"""Scans in HDF5: files that ptychodus wrote, CXI files, products of our own."""

import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptycho.core.container import PtychoDataContainer
from ptycho.core.forward import scan_intensity
from ptycho.core.loading import load_data
from ptycho.raw_data import RawData

FILES = Path(__file__).parents[1] / "data" / "ptychodus-1.7.0"
TRUTH = dict(np.load(FILES / "truth.npz"))
N = 8


# --------------------------------------------------------------------------- ptychodus


@pytest.mark.parametrize("name", ["product.h5", "training.h5", "scan.cxi"])
def test_positions_probe_and_object_of_ptychodus(name):
    raw = RawData.from_file(FILES / name)
    row, column = TRUTH["corners"].T
    np.testing.assert_allclose(raw.positions, np.stack([column, row], 1) + N / 2, atol=1e-9)
    np.testing.assert_array_equal(raw.probeGuess, TRUTH["probe"])
    np.testing.assert_array_equal(raw.objectGuess, TRUTH["obj"])


@pytest.mark.parametrize("name", ["training.h5", "scan.cxi"])
def test_patterns_of_ptychodus_are_those_of_object_and_probe(name):
    raw = RawData.from_file(FILES / name)
    assert raw.diff3d.dtype == np.uint16
    assert raw.domain == "counts"
    good = ~raw.bad_pixels  # ptychodus has put zeros at the bad one of the training data
    np.testing.assert_array_equal(raw.diff3d[:, good], TRUTH["counts"][:, good])
    np.testing.assert_array_equal(np.argwhere(raw.bad_pixels), [[1, 6]])
    difference = scan_intensity(raw.objectGuess, raw.positions, raw.probeGuess) - raw.diff3d
    assert np.abs(difference[:, ~raw.bad_pixels]).max() <= 0.5  # rounding to counts


def test_a_product_has_no_patterns_but_says_what_it_knows():
    raw = RawData.from_file(FILES / "product.h5")
    assert raw.diff3d is None
    assert raw.metadata["nphotons"] == 3e4
    assert raw.metadata["photon_energy_eV"] == 8000
    assert raw.metadata["object_geometry"]["pixel_width_m"] == 1.25e-8


def test_names_do_not_matter_but_contents_do(tmp_path):
    for index, name in enumerate(("product.h5", "training.h5", "scan.cxi")):
        copied = tmp_path / f"{index}.npz"
        copied.write_bytes((FILES / name).read_bytes())
        np.testing.assert_array_equal(
            load_data(copied).positions, RawData.from_file(FILES / name).positions
        )


# --------------------------------------------------------------------------- our own products


def scan(**more):
    rng = np.random.default_rng(3)
    values = {
        "diff3d": rng.integers(0, 60000, (5, N, N)).astype(np.uint16),
        "probeGuess": rng.random((2, N, N)) + 1j,
        "objectGuess": (rng.random((20, 24)) + 2j).astype(np.complex64),
        "metadata": {
            "object_geometry": {
                "pixel_width_m": 2e-9, "pixel_height_m": 3e-9, "center_x_m": 1e-6, "center_y_m": 0.0
            },
            "notes": ["ü", None],
        },
    } | more  # fmt: skip
    x, y = rng.uniform(4, 16, (2, 5))
    return RawData(
        x, y, x + 0.5, y, values.pop("diff3d"), values.pop("probeGuess"), np.arange(5), **values
    )


def test_a_product_gives_back_what_was_written(tmp_path):
    everything = {
        "Y": np.full((5, N, N), 1 - 2j, np.complex64),
        "norm_Y_I": 3.5,
        "bad_pixels": np.eye(N, dtype=bool),
        "measurement_domain": "amplitude",
    }
    for index, raw in enumerate((scan(), scan(**everything), scan(probeGuess=np.ones((N, N))))):
        path = raw.to_file(tmp_path / f"{index}.h5")
        again = RawData.from_file(path)
        for name, before in vars(raw).items():
            after = getattr(again, name)
            if isinstance(before, np.ndarray):
                assert after.dtype == before.dtype, name
                np.testing.assert_array_equal(after, before)
            else:
                assert after == before, name
    assert len(list(tmp_path.iterdir())) == 3


def test_metres_and_pixels_of_a_product_agree(tmp_path):
    raw = scan()
    path = raw.to_file(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        np.testing.assert_allclose(
            file["probe_position_x_m"][()], 1e-6 + (raw.xcoords - 12) * 2e-9, rtol=1e-12
        )
        del file["raw_data"]["xcoords"]
    again = RawData.from_file(path)
    np.testing.assert_allclose(again.positions, raw.positions, atol=1e-8)


def test_patterns_last_are_turned_in_a_product_too(tmp_path):
    raw = scan()
    path = raw.to_file(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        del file["raw_data/diffraction"]
        file["raw_data/diffraction"] = np.moveaxis(raw.diff3d, 0, 2)
    np.testing.assert_array_equal(RawData.from_file(path).diff3d, raw.diff3d)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metadata": None}, "pixel_width_m, pixel_height_m.*NPZ"),
        ({"objectGuess": None}, "objectGuess"),
    ],
)
def test_a_product_that_lacks_something_is_not_written(tmp_path, changes, words):
    with pytest.raises(ValueError, match=f"a product needs.*{words}"):
        scan(**changes).to_file(tmp_path / "scan.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_reading_a_scan_takes_little_more_memory_than_the_scan(tmp_path, suffix):
    counts = np.random.default_rng(0).integers(0, 900, (2000, 64, 64)).astype(np.uint16)
    raw = RawData(
        *np.random.default_rng(1).uniform(40, 90, (2, 2000)), None, None, counts,
        np.ones((64, 64), complex), None, objectGuess=np.ones((130, 130), complex),
        bad_pixels=np.eye(64, dtype=bool), metadata=scan().metadata,
    )  # fmt: skip
    path = raw.to_file(tmp_path / f"scan.{suffix}")

    def use() -> None:
        grouping = {"gridsize": 3, "n_groups": None, "seed": 0, "neighbor_count": 9}
        PtychoDataContainer.from_raw(RawData.from_file(path), N=64, **grouping).batch_X([0, 1])

    use()  # what is imported on the way is imported by now
    tracemalloc.start()
    use()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.3 * counts.nbytes


# --------------------------------------------------------------------------- CXI

X_M, Y_M = np.array([2e-6, 2.3e-6, 2.1e-6]), np.array([-5e-6, -5.2e-6, -5.1e-6])


def cxi(path, drop=(), **more):
    detector, source = "entry_1/instrument_1/detector_1", "entry_1/instrument_1/source_1"
    content = {
        "cxi_version": 160,
        f"{detector}/data": np.arange(3 * N * N, dtype=np.uint32).reshape(3, N, N),
        f"{detector}/distance": 2.0,
        f"{detector}/x_pixel_size": 1e-3,
        f"{detector}/y_pixel_size": 2e-3,
        f"{source}/energy": 6.62607015e-34 * 299792458.0 / 1e-10,  # 1 Angstrom
        f"{source}/illumination": np.ones((N, N), complex),
        "entry_1/sample_1/geometry_1/translation": np.stack([X_M, Y_M, 0 * X_M], 1),
    } | more
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            if name.rsplit("/", 1)[-1] not in drop:
                file[name] = value
    return path


def test_cxi_translations_become_object_pixels(tmp_path):
    raw = RawData.from_file(cxi(tmp_path / "scan.cxi"))
    # 1 A * 2 m / (8 * 1 mm) = 25 nm along x, half of it along y; the smallest comes to N/2.
    np.testing.assert_allclose(raw.xcoords, [4, 4 + 12, 4 + 4], atol=1e-6)
    np.testing.assert_allclose(raw.ycoords, [4 + 16, 4, 4 + 8], atol=1e-6)
    assert raw.diff3d.dtype == np.uint32
    assert raw.bad_pixels is None


@pytest.mark.parametrize(
    ("row", "column", "sign_x", "sign_y"),
    [
        ((0, -1, 0), (-1, 0, 0), 1, 1),
        ((0, 2, 0), (-1, 0, 0), 1, -1),
        ((0, -3, 0), (1, 0, 0), -1, 1),
    ],
)
def test_the_detectors_axes_tell_where_x_and_y_run(tmp_path, row, column, sign_x, sign_y):
    basis = np.stack([row, column], axis=1) * 1e-3
    name = "entry_1/instrument_1/detector_1/basis_vectors"
    raw = RawData.from_file(cxi(tmp_path / "scan.cxi", **{name: basis}))
    np.testing.assert_allclose(np.diff(raw.xcoords), sign_x * np.array([12, -8]), atol=1e-6)
    np.testing.assert_allclose(np.diff(raw.ycoords), sign_y * np.array([-16, 8]), atol=1e-6)
    assert raw.positions.min() == pytest.approx(4)


def test_a_detector_turned_by_a_quarter_swaps_the_axes(tmp_path):
    name = "entry_1/instrument_1/detector_1/basis_vectors"
    basis = np.array([[-1.0, 0.0], [0.0, -1.0], [0.0, 0.0]])
    raw = RawData.from_file(cxi(tmp_path / "scan.cxi", **{name: basis}))
    np.testing.assert_allclose(np.diff(raw.xcoords), np.diff(Y_M) / 25e-9, atol=1e-6)
    np.testing.assert_allclose(np.diff(raw.ycoords), np.diff(X_M) / 12.5e-9, atol=1e-6)


def test_masks_and_places_of_a_cxi_file(tmp_path):
    mask = np.zeros((N, N), np.uint32)
    mask[2, 3], mask[4, 4] = 1, 0x200
    name = "entry_1/instrument_1/detector_1/mask"
    path = cxi(tmp_path / "scan.cxi", drop=("translation",), **{name: mask})
    with h5py.File(path, "r+") as file:
        file["entry_1/elsewhere"] = np.stack([X_M, Y_M], 1)
        file["entry_1/data_1/translation"] = h5py.SoftLink("/entry_1/elsewhere")
        file.move("entry_1/instrument_1/detector_1/data", "entry_1/frames")
        file["entry_1/data_1/data"] = h5py.SoftLink("/entry_1/frames")
    raw = RawData.from_file(path)
    np.testing.assert_array_equal(np.argwhere(raw.bad_pixels), [[2, 3], [4, 4]])
    assert raw.diff3d.shape == (3, N, N)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"drop": ("distance",)}, KeyError, "detector_1/distance.*metres"),
        ({"drop": ("energy",)}, KeyError, "source_1/energy"),
        ({"drop": ("translation",)}, KeyError, "lacks scan positions"),
        ({"entry_1/instrument_1/detector_1/distance": 0.0}, ValueError, "distance is 0.0 m"),
        ({"entry_1/instrument_1/detector_1/distance": np.ones(3)}, ValueError, "one number"),
        (
            {"entry_1/instrument_1/detector_1/basis_vectors": np.eye(3)},
            ValueError,
            r"basis_vectors.*expected \(3, 2\)",
        ),
        (
            {"entry_1/sample_1/geometry_1/translation": np.ones((3, 4))},
            ValueError,
            r"translation.*expected \(n, 3\)",
        ),
        (
            {"entry_1/instrument_1/detector_1/data": np.ones((3, 2, N, N))},
            ValueError,
            r"data' has shape.*expected \(n, N, N\)",
        ),
    ],
)
def test_cxi_files_without_what_is_needed(tmp_path, changes, error, words):
    path = cxi(tmp_path / "scan.cxi", **changes)
    with pytest.raises(error, match=words) as caught:
        RawData.from_file(path)
    assert str(path) in str(caught.value)


@pytest.mark.realdata
def test_a_real_cxi_file(data_dir):
    raw = RawData.from_file(data_dir / "p25_nearfield.cxi")
    assert raw.diff3d.shape == (200, 100, 100)
    assert raw.bad_pixels.sum() == 5
    # 9.794912e-11 m * 1.12 m / (100 * 55 um) = 19.946 nm; positions span 20.16 um.
    assert np.ptp(raw.xcoords) == pytest.approx(20.15774e-6 / 1.99460e-8, rel=1e-4)
    assert raw.xcoords.min() == 50
