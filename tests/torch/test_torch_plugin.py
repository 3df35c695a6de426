"""The doors of the client's second plugin, called as it calls them, without the client."""

from __future__ import annotations

import io
import json
import logging
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from scipy import ndimage

from ptycho.core.archive import ArchiveError
from ptycho.core.stitching import extract_patches, reassemble
from ptycho.raw_data import RawData
from ptycho_torch import model_manager
from ptycho_torch.api import base_api
from ptycho_torch.api.base_api import (
    ConfigManager,
    DataloaderFormats,
    InferenceEngine,
    PtychoDataLoader,
    PtychoModel,
    Trainer,
)
from ptycho_torch.checkpoint import RECORD, read_checkpoint
from ptycho_torch.config_params import DataConfig, InferenceConfig, ModelConfig, TrainingConfig
from ptycho_torch.lightning_utils import find_best_checkpoint
from ptycho_torch.model import PtychoPINN_Lightning

N = 32
CONFIGS = ("data_config", "model_config", "training_config", "inference_config")


def manager(gridsize: int = 1, **changes) -> ConfigManager:
    channels = gridsize**2
    everything = {"x_bounds": (0.0, 1.0), "y_bounds": (0.0, 1.0), "n_subsample": 2}
    parts = {
        DataConfig: {"N": N, "C": channels, "grid_size": (gridsize,) * 2, **everything},
        ModelConfig: {"n_filters_scale": 1, "C_model": channels, "C_forward": channels},
        TrainingConfig: {"epochs": 1, "batch_size": 8, "device": "cpu"},
        InferenceConfig: {"middle_trim": 20},
    }
    for name, value in changes.items():
        next(part for kind, part in parts.items() if hasattr(kind, name))[name] = value
    return ConfigManager(*(kind(**part) for kind, part in parts.items()))


def train(raw: RawData, folder, configs: ConfigManager, callbacks=()):
    """Train as the client does; return (model, checkpoint)."""
    (folder / "in").mkdir(parents=True)
    raw.to_file(folder / "in" / "exported.npz")
    loader = PtychoDataLoader(
        data_dir=folder / "in",
        config_manager=configs,
        data_format=DataloaderFormats("lightning_only_module"),
        output_dir=folder / "out",
    )
    model = PtychoModel._new_model(model=PtychoPINN_Lightning, config_manager=configs)
    assert (model.model.loss_name, model.model.val_loss_name) == ("loss", "val_loss")
    trainer = Trainer._from_lightning(
        model=model, dataloader=loader, orchestration="lightning", config_manager=configs
    )
    trainer._trainer.callbacks.extend(callbacks)
    trainer.train(orchestration="lightning", experiment_name="")
    assert loader.output_dir.parent == folder / "out"
    assert loader.output_dir.name.startswith("run_")
    return model, find_best_checkpoint(loader.output_dir)


def reopen(path):
    """Load as the client does; return (model, configurations)."""
    configs = dict(zip(CONFIGS, PtychoModel._extract_configs_from_checkpoint(path), strict=True))
    model = PtychoModel(**configs)
    model.model = PtychoPINN_Lightning.load_from_checkpoint(path, **configs)
    loaded = ConfigManager.from_loaded_model(model)
    loaded.validate_arch_compatibility(model)
    return model, loaded


def reconstruct(raw: RawData, model: PtychoModel, configs: ConfigManager):
    positions = np.column_stack([raw.ycoords, raw.xcoords])
    loader = PtychoDataLoader.from_np(
        diff_patterns=raw.diff3d, probe=raw.probeGuess, positions=positions, config_manager=configs
    )
    return InferenceEngine(config_manager=configs, ptycho_model=model).predict_and_stitch(loader)


@pytest.fixture(scope="module")
def trained(scan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    model, path = train(scan, folder, manager())
    return model, path


# ------------------------------------------------------------------ train, reopen, reconstruct


@pytest.mark.parametrize(("gridsize", "mode"), [(1, "Supervised"), (2, "Unsupervised")])
def test_a_reopened_model_gives_the_same_object(scan, tmp_path, gridsize, mode, caplog):
    configs = manager(gridsize, mode=mode)
    model, path = train(scan, tmp_path, configs)
    first = reconstruct(scan, model, configs)
    copied = tmp_path / "saved as.ckpt"
    copied.write_bytes(path.read_bytes())
    caplog.clear()
    again, loaded = reopen(copied)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert loaded.model_config.mode == mode
    assert all(getattr(loaded, name) == getattr(configs, name) for name in CONFIGS)
    second = reconstruct(scan, again, loaded)
    assert first.dtype == np.complex64
    assert first.ndim == 2
    np.testing.assert_array_equal(first, second)


def test_the_object_is_what_the_rooms_make_of_it(scan, trained):
    """The bundle's own path to the same picture: its predictor, every position, one stitcher."""
    from ptycho_torch.workflows.components import load_inference_bundle

    model, path = trained
    found = reconstruct(scan, model, manager())
    bundle = path.parent / "bundle"
    model_manager.save(bundle)
    predictor, cfg = load_inference_bundle(bundle)
    x = scan.amplitude()[..., None] * np.float32(cfg["normalisation"] * cfg["intensity_scale"])
    patches = predictor.predict([x, np.zeros((len(scan), 1, 2, 1), np.float32)])
    middle = [(c.min() + c.max()) / 2 for c in (scan.xcoords, scan.ycoords)]
    # The client's position is its patch's middle, half a pixel before the pixel that ours names.
    expected = reassemble(patches, scan.positions, 20, np.array(middle) - 0.5)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_middle_of_the_canvas_is_that_of_the_scan(scan, trained, monkeypatch):
    """True patches come back where the client has put its object."""
    raw, (model, _) = scan, trained

    def truth(predictor, container):
        return extract_patches(raw.objectGuess, raw.positions, N)[..., None]

    monkeypatch.setattr(base_api, "evaluate_test_data", truth)
    found = reconstruct(raw, model, manager())
    at = np.arange(len(found)) - (len(found) - 1) / 2
    # Patches here are cut around pixel N/2, so the client's middle lies half a pixel before.
    x, y = (at + (c.min() + c.max()) / 2 - 0.5 for c in (raw.xcoords, raw.ycoords))
    # Away from the edge, where a pixel may be a patch's last one and no mean of several.
    inside = ndimage.binary_erosion(found != 0, iterations=3)
    assert inside.mean() > 0.4

    def difference(dx: float, dy: float) -> float:
        row, column = np.meshgrid((y + dy) / 12, (x + dx) / 12, indexing="ij")
        amplitude = 0.6 + 0.3 * np.sin(row + 1) * np.cos(column)
        smooth = amplitude * np.exp(0.8j * np.sin(row - 0.7 * column))
        return float(np.abs(found - smooth)[inside].mean())

    in_place = difference(0, 0)
    for dx, dy in ((0.2, 0), (-0.2, 0), (0, 0.2), (0, -0.2)):
        assert difference(dx, dy) > 3 * in_place


def test_callbacks_of_the_client_see_every_epoch(scan, tmp_path):
    import lightning.pytorch as pl

    class Losses(pl.Callback):
        def __init__(self):
            self.seen = []

        def on_train_epoch_end(self, trainer, pl_module):
            metrics = trainer.callback_metrics
            self.seen.append((trainer.current_epoch, float(metrics["loss"])))
            assert "val_loss" in metrics

    losses = Losses()
    train(scan, tmp_path, manager(epochs=2), [losses])
    assert [epoch for epoch, _ in losses.seen] == [0, 1]
    history = model_manager.last_trained().history["loss"]
    assert [loss for _, loss in losses.seen] == pytest.approx(history)


def test_pixels_that_were_bad_in_training_are_dark_in_a_reconstruction(scan, tmp_path):
    bad = np.zeros((N, N), bool)
    bad[16, 16] = bad[3, 4:7] = True
    counts = np.round(1e3 * scan.diff3d**2).astype(np.uint32)
    fields = (scan.xcoords, scan.ycoords, None, None, counts, scan.probeGuess, None)
    raw = RawData(*fields, objectGuess=scan.objectGuess, bad_pixels=bad)
    configs = manager()
    _, path = train(raw, tmp_path, configs)
    model, loaded = reopen(path)
    np.testing.assert_array_equal(model.model.record.bad_pixels, bad)
    filled = counts.copy()
    filled[:, bad] = 4_000_000_000
    found = [
        reconstruct(RawData(*fields[:4], patterns, *fields[5:]), model, loaded)
        for patterns in (counts, filled)
    ]
    np.testing.assert_array_equal(*found)
    assert np.isfinite(found[0]).all()


def test_only_positions_inside_the_bounds_are_trained_on(scan, tmp_path):
    (tmp_path / "in").mkdir()
    scan.to_file(tmp_path / "in" / "scan.npz")
    kept = PtychoDataLoader(tmp_path / "in", manager(x_bounds=(0.25, 0.75))).raw
    low, width = scan.xcoords.min(), np.ptp(scan.xcoords)
    inside = (scan.xcoords >= low + width / 4) & (scan.xcoords <= low + 0.75 * width)
    np.testing.assert_array_equal(kept.xcoords, scan.xcoords[inside])
    np.testing.assert_array_equal(kept.diff3d, scan.diff3d[inside])
    for bounds in ((0.6, 0.4), (0.1, 1.2), (0.5,)):
        with pytest.raises(ValueError, match="x_bounds"):
            PtychoDataLoader(tmp_path / "in", manager(x_bounds=bounds))


# ------------------------------------------------------------------ the checkpoint wins


def test_configurations_that_differ_from_the_checkpoint_lose_with_a_warning(scan, trained, caplog):
    model, path = trained
    other = manager(amp_activation="relu", n_filters_scale=3)
    again = PtychoModel(*(getattr(other, name) for name in ("model_config", *CONFIGS[::2])), None)
    again.model = PtychoPINN_Lightning.load_from_checkpoint(
        path, **{name: getattr(other, name) for name in CONFIGS}
    )
    assert "ModelConfig.n_filters_scale is 3" in caplog.text
    assert "ModelConfig.amp_activation is 'relu'" in caplog.text
    caplog.clear()
    other.validate_arch_compatibility(again)
    assert "amp_activation is 'relu' but the loaded model has 'swish'" in caplog.text
    found = reconstruct(scan, again, other)
    np.testing.assert_array_equal(found, reconstruct(scan, model, manager()))


# ------------------------------------------------------------------ what is refused


def damaged(path, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


CHANGES = {
    "no record": lambda c: c.pop(RECORD),
    "version": lambda c: c[RECORD].update(version="9"),
    "normalisation": lambda c: c[RECORD].update(normalisation=float("nan")),
    "pixels": lambda c: c[RECORD].update(bad_pixels=[N * N]),
    "field": lambda c: c[RECORD]["data_config"].update(nonsense=1),
    "no config": lambda c: c[RECORD].pop("training_config"),
    "huge": lambda c: c["hyper_parameters"]["model"].update(n_filters_scale=10**9),
    "no network": lambda c: c["hyper_parameters"]["model"].update(N=7),
    "modes": lambda c: c["hyper_parameters"].update(modes=10**12),
    "hyper": lambda c: c.pop("hyper_parameters"),
    "weights": lambda c: c["state_dict"].pop("model.log_scale"),
    "names": lambda c: c["state_dict"].update(other=c["state_dict"].pop("model.log_scale")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_checkpoint_that_is_none_is_refused(trained, tmp_path, change):
    path = tmp_path / "some model.ckpt"
    path.write_bytes(trained[1].read_bytes())
    damaged(path, change)
    with pytest.raises(ArchiveError, match=r"some model\.ckpt") as caught:
        reopen(path)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("case", ["huge", "modes"])
def test_a_network_larger_than_its_weights_is_not_built(trained, tmp_path, case):
    path = tmp_path / "huge.ckpt"
    path.write_bytes(trained[1].read_bytes())
    damaged(path, CHANGES[case])
    with pytest.raises(ArchiveError, match=r"it has \d+ weights; the network"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"rubbish", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_rubbish_is_refused(tmp_path, content):
    path = tmp_path / "rubbish.ckpt"
    path.write_bytes(content)
    for read in (read_checkpoint, PtychoPINN_Lightning.load_from_checkpoint):
        with pytest.raises(ArchiveError, match=r"rubbish\.ckpt"):
            read(path)


def test_a_cut_off_checkpoint_is_refused(trained, tmp_path):
    path = tmp_path / "cut.ckpt"
    content = trained[1].read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ArchiveError, match=r"cut\.ckpt"):
        reopen(path)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.ckpt"):
        reopen(tmp_path / "nowhere.ckpt")


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def test_a_checkpoint_from_a_stranger_executes_nothing(trained, tmp_path):
    mark, path = tmp_path / "executed", tmp_path / "strange.ckpt"
    content = torch.load(trained[1], weights_only=True)
    content["hyper_parameters"]["training"]["notes"] = Trap(mark)
    torch.save(content, path)
    plain = tmp_path / "plain.ckpt"
    plain.write_bytes(pickle.dumps(Trap(mark)))
    for each in (path, plain):
        for read in (read_checkpoint, PtychoPINN_Lightning.load_from_checkpoint):
            with pytest.raises(ArchiveError):
                read(each)
    # Nor where the caller asks for it.
    with pytest.raises(ArchiveError):
        PtychoPINN_Lightning.load_from_checkpoint(path, weights_only=False)
    assert not mark.exists()


def test_what_is_compressed_is_not_unpacked(trained, tmp_path):
    bomb = tmp_path / "bomb.ckpt"
    with (
        zipfile.ZipFile(io.BytesIO(trained[1].read_bytes())) as source,
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(ArchiveError, match="compressed"):
        read_checkpoint(bomb)


def test_bad_scans_are_refused_in_words(scan, trained, tmp_path):
    configs, model = manager(), trained[0]
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match="export training data"):
        PtychoDataLoader(folder, configs)
    scan.to_file(folder / "a.npz")
    with pytest.raises(ValueError, match=r"a\.npz has 32 x 32 patterns but DataConfig\.N"):
        PtychoDataLoader(folder, manager(N=64))
    scan.to_file(folder / "b.npz")
    with pytest.raises(ValueError, match=r"a\.npz, b\.npz"):
        PtychoDataLoader(folder, configs)
    scan.to_file(folder / "train_data.npz")
    assert len(PtychoDataLoader(folder, configs).raw) == len(scan)
    positions = np.column_stack([scan.ycoords, scan.xcoords])
    for patterns, where, named in (
        (scan.diff3d[:, :-2], positions, "square"),
        (scan.diff3d[:, 8:-8, 8:-8], positions, "probe"),
        (scan.diff3d[:0], positions[:0], "position"),
        (scan.diff3d, positions[:, :1], r"\[y, x\]"),
    ):
        with pytest.raises(ValueError, match=named):
            PtychoDataLoader.from_np(patterns, scan.probeGuess, where, configs)
    loader = PtychoDataLoader.from_np(scan.diff3d, scan.probeGuess, positions, configs)
    untrained = PtychoModel._new_model(PtychoPINN_Lightning, configs)
    with pytest.raises(RuntimeError, match="neither trained nor loaded"):
        InferenceEngine(configs, untrained).predict_and_stitch(loader)
    cropped = RawData(*(positions.T[::-1]), None, None, scan.diff3d[:, 8:-8, 8:-8], None, None)
    loader.raw = cropped
    with pytest.raises(ValueError, match="16 x 16"):
        InferenceEngine(configs, model).predict_and_stitch(loader)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"middle_trim": 33}, "middle_trim"),
        ({"batch_norm": True}, "batch_norm"),
        ({"epochs": 0}, "nepochs"),
        ({"scheduler": "MultiStage"}, "scheduler"),
    ],
)
def test_a_training_that_cannot_be_followed_leaves_nothing(scan, tmp_path, changes, named):
    with pytest.raises(ValueError, match=named):
        train(scan, tmp_path, manager(**changes))
    assert not (tmp_path / "out").exists()


def test_other_ways_are_refused():
    with pytest.raises(ValueError, match="nonsense"):
        DataloaderFormats("nonsense")
    with pytest.raises(ValueError, match="mlflow"):
        Trainer._from_lightning(None, None, "mlflow", None)


# ------------------------------------------------------------------ finding the checkpoint


def test_the_checkpoint_to_go_on_with(tmp_path):
    assert find_best_checkpoint(tmp_path) is None
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    assert find_best_checkpoint(tmp_path) is None
    for name in ("a.ckpt", "last.ckpt", "best-checkpoint.ckpt", "z.ckpt"):
        (folder / name).touch()
    for name in ("best-checkpoint.ckpt", "last.ckpt"):
        assert find_best_checkpoint(tmp_path) == folder / name
        (folder / name).unlink()


def test_the_doors_import_no_framework():
    modules = ("api.base_api", "lightning_utils", "config_bridge", "checkpoint")
    code = "import json, sys\n" + "".join(f"import ptycho_torch.{name}\n" for name in modules)
    code += (
        "print(json.dumps([m for m in ('torch', 'lightning', 'tensorflow') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
