"""PyTorch's own command for inference: what its flags do, and what it refuses."""

import numpy as np

from ptycho_torch import inference, model_manager, train


def test_inference_flags(scan_file, tmp_path, monkeypatch, capsys):
    bundle = tmp_path / "run"
    small = ["--nepochs=1", "--batch_size=4", "--n_groups=12", "--n_filters_scale=1", "--quiet"]
    assert train.main([f"--train_data_file={scan_file}", f"--output_dir={bundle}", *small]) == 0
    loaded = []
    original = model_manager.ObjectPredictor.predict

    def recording(self, inputs, batch_size=None):
        loaded.append((self.accelerator, self.batch_size))
        return original(self, inputs, batch_size)

    monkeypatch.setattr(model_manager.ObjectPredictor, "predict", recording)
    base = [
        f"--model_path={bundle}",
        f"--test_data={scan_file}",
        f"--output_dir={tmp_path}",
        "--M=10",
    ]
    assert inference.main([*base]) == 0
    plain = np.load(tmp_path / "reconstruction.npz")["object"]
    assert loaded[-1] == ("auto", 32)
    assert inference.main([*base, "--accelerator=cpu", "--inference-batch-size=3"]) == 0
    assert loaded[-1] == ("cpu", 3)
    capsys.readouterr()
    assert inference.main([*base, "--device=cpu", "--num-workers=2"]) == 0
    assert loaded[-1] == ("cpu", 32)
    said = capsys.readouterr().err
    assert "--device is deprecated" in said
    assert "--num-workers has no effect" in said
    again = np.load(tmp_path / "reconstruction.npz")["object"]
    np.testing.assert_allclose(again, plain, atol=1e-5)


def test_inference_refuses_in_one_line(scan_file, tmp_path, capsys):
    flags = [f"--test_data={scan_file}", f"--output_dir={tmp_path}"]
    assert inference.main(flags) == 2
    assert "--model_path is required" in capsys.readouterr().err
    assert inference.main([*flags, f"--model_path={tmp_path / 'none'}"]) == 2
    assert "no saved model" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
