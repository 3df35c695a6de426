"""``ptycho_inference``: either backend reconstructs with a bundle of either backend."""

from pathlib import Path

import numpy as np
import pytest

from ptycho.cli.inference import main
from ptycho.config.config import ModelConfig
from ptycho.core.bundle import Bundle, write_bundle
from ptycho.core.scaling import normalisation_factor
from ptycho.core.weights import initial_weights
from ptycho.raw_data import RawData
from ptycho.simulation.simulate import built_in_scan

MODEL = ModelConfig(N=32, gridsize=2, n_filters_scale=1)


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.npz"
    built_in_scan(seed=3, N=32, n_positions=24).to_file(path)
    return path


@pytest.fixture(scope="module")
def bundle(scan, tmp_path_factory) -> Path:
    raw = RawData.from_file(scan)
    assert raw.probeGuess is not None
    folder = tmp_path_factory.mktemp("bundle")
    weights = initial_weights(MODEL, 7, raw.probeGuess, 62.5)
    factor = normalisation_factor(raw.amplitude())
    write_bundle(folder, Bundle("pytorch", MODEL, weights, 62.5, factor, {"nphotons": 1e6}), {})
    return folder


def _run(*argv: object) -> int:
    return main([str(a) for a in argv])


def _object(folder: Path) -> np.ndarray:
    with np.load(folder / "reconstruction.npz") as saved:
        return saved["object"]


def test_both_backends_give_one_picture(scan, bundle, tmp_path, capsys):
    for backend in ("tensorflow", "pytorch"):
        code = _run(
            "--model_path", bundle, "--test_data", scan, "--output_dir", tmp_path / backend,
            "--backend", backend, "--M", 16, "--comparison_plot", "--debug",
        )  # fmt: skip
        captured = capsys.readouterr()
        assert code == 0, captured.err
        for name in ("reconstruction.npz", "debug.npz", "comparison_plot.png"):
            assert str(tmp_path / backend / name) in captured.out
        for name in ("comparison_plot", "reconstructed_amplitude", "reconstructed_phase"):
            png = (tmp_path / backend / f"{name}.png").read_bytes()
            assert png.startswith(b"\x89PNG")
        with np.load(tmp_path / backend / "debug.npz") as debug:
            assert debug["obj_tensor_full"].shape == (24, 32, 32, 1)
            assert debug["global_offsets"].shape == (24, 1, 2, 1)
    one, other = _object(tmp_path / "tensorflow"), _object(tmp_path / "pytorch")
    assert one.shape == other.shape
    assert float(np.abs(one).max()) > 0.1
    assert float(np.abs(one - other).max()) < 1e-5 * float(np.abs(one).max())


def test_fewer_groups_and_positions_are_used_when_asked(scan, bundle, tmp_path):
    common = ["--test_data", scan, "--backend", "pytorch", "--M", 8, "--debug", "--quiet"]
    # The bundle under another name, as the client saves it.
    renamed = tmp_path / "model.zip"
    renamed.write_bytes((bundle / "wts.h5.zip").read_bytes())
    for flags, count in (["--n_groups", 5], 5), (["--n_subsample", 11], 11):
        out = tmp_path / flags[0]
        argv = ["--model_path", renamed, "--output_dir", out, *common, *flags]
        assert _run(*argv) == 0
        with np.load(out / "debug.npz") as debug:
            assert len(debug["obj_tensor_full"]) == count


# ------------------------------------------------------------------ refusals


def test_bad_input_is_refused_in_one_line(scan, bundle, tmp_path, capsys):
    other, blind = tmp_path / "other.npz", tmp_path / "blind.npz"
    built_in_scan(seed=3, N=64, n_positions=5).to_file(other)
    raw = RawData.from_file(scan)
    raw.objectGuess = None
    raw.to_file(blind)
    garbage = tmp_path / "garbage.zip"
    garbage.write_bytes(b"not a zip file")
    empty, out = tmp_path / "empty", tmp_path / "out"
    empty.mkdir()
    given = ["--model_path", bundle, "--output_dir", out, "--backend", "pytorch"]
    cases: list[tuple[list[object], str]] = [
        (["--test_data", scan], "--model_path is required"),
        (["--model_path", bundle], "--test_data_file is required"),
        ([*given, "--test_data", tmp_path / "none.npz"], "no such file"),
        ([*given, "--test_data", other, "--M", 8], "takes 32 x 32 patterns, but"),
        ([*given, "--test_data", blind, "--M", 8, "--comparison_plot"], "no objectGuess"),
        ([*given, "--test_data", scan, "--M", 40], "M is 40; allowed: 1 to N = 32"),
        ([*given, "--test_data", scan, "--n_groups", 0], "n_groups is 0"),
        ([*given, "--test_data", scan, "--seed", -1], "InferenceConfig.seed is -1"),
        (["--model_path", tmp_path / "no", "--test_data", scan], "--model_path: no such file"),
        (["--model_path", empty, "--test_data", scan], "empty"),
        (["--model_path", garbage, "--test_data", scan], "garbage.zip"),
        (["--model_path", bundle, "--test_data", scan, "--backend", "jax"], "invalid choice"),
    ]
    for argv, said in cases:
        assert _run(*argv, "--quiet") == 2, argv
        captured = capsys.readouterr()
        assert captured.out == ""
        (line,) = captured.err.splitlines()
        assert line.startswith("ptycho_inference: error: ")
        assert said in line
    assert not out.exists()


def test_an_output_directory_that_is_a_file_is_named_at_once(tmp_path, capsys):
    model, scan, taken = (tmp_path / name for name in ("wts.h5.zip", "scan.npz", "taken"))
    for path in (model, scan, taken):
        path.write_text("x")
    argv = ["--model_path", model, "--test_data", scan, "--output_dir", taken]
    assert main([str(item) for item in argv]) == 2
    assert "--output_dir: " in capsys.readouterr().err
    assert taken.read_text() == "x"
