"""The files of a finished run."""

import json

import numpy as np
import pytest

from ptycho.core.outputs import save_outputs

RESULTS = {
    "history": {"loss": [2.0, 1.0], "val_loss": [3.0, float("nan")]},
    "global_offsets": np.array([[10.0, 20.0], [14.0, 30.0]])[:, None, :, None],
}


def _images(side=6):
    rng = np.random.default_rng(0)
    return rng.uniform(0.5, 1, (side, side)), rng.uniform(-3, 3, (side, side))


def test_nothing_stitched_leaves_the_history_only(tmp_path):
    save_outputs(None, None, {"history": {"loss": [1.5]}}, str(tmp_path / "a" / "b"))
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["history.json"]
    assert json.loads((tmp_path / "a/b/history.json").read_text()) == {"loss": [1.5]}


def test_nothing_at_all_makes_the_directory(tmp_path):
    save_outputs(None, None, {}, tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("trailing", [False, True])
def test_pictures_and_reconstruction(tmp_path, trailing):
    amplitude, phase = _images()
    shown = (amplitude[..., None], phase[..., None]) if trailing else (amplitude, phase)
    save_outputs(*shown, RESULTS, tmp_path)
    for name in ("reconstructed_amplitude.png", "reconstructed_phase.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    with np.load(tmp_path / "reconstruction.npz") as saved:
        assert saved["object"].dtype == np.complex64
        assert saved["object"].shape == (6, 6)
        np.testing.assert_allclose(np.abs(saved["object"]), amplitude, rtol=1e-6)
        np.testing.assert_allclose(np.angle(saved["object"]), phase, rtol=1e-5)
        assert saved["centre"].tolist() == [12.0, 25.0]
        assert saved["centre"].dtype == np.float64


def test_history_is_plain_json(tmp_path):
    save_outputs(None, None, RESULTS, tmp_path)
    text = (tmp_path / "history.json").read_text()
    assert "NaN" not in text
    assert json.loads(text) == {"loss": [2.0, 1.0], "val_loss": [3.0, None]}


def test_equal_results_give_equal_bytes(tmp_path):
    for name in ("one", "two"):
        save_outputs(*_images(), RESULTS, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_files_can_be_read_by_others(tmp_path):
    save_outputs(*_images(), RESULTS, tmp_path)
    (tmp_path / "ordinary").write_text("")
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize(
    ("amplitude", "phase", "results", "message"),
    [
        (np.ones((4, 4)), None, RESULTS, "phase is None"),
        (np.ones((4, 4)), np.ones((5, 5)), RESULTS, "is \\(4, 4\\) but"),
        (np.ones(4), np.ones(4), RESULTS, "has shape \\(4,\\)"),
        (np.ones((4, 4)), np.ones((4, 4)), {"history": {"loss": [1]}}, "global_offsets"),
    ],
)
def test_bad_images_write_nothing(tmp_path, amplitude, phase, results, message):
    with pytest.raises(ValueError, match=message):
        save_outputs(amplitude, phase, results, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    save_outputs(None, None, {"history": {"loss": [1.0]}}, tmp_path)
    before = (tmp_path / "history.json").read_bytes()

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        save_outputs(None, None, {"history": {"loss": [2.0]}}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["history.json"]
    assert (tmp_path / "history.json").read_bytes() == before
