"""The wing without the other framework, and without its own."""

import importlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from ptycho_torch import torch_import
from ptycho_torch.workflows import components

WITHOUT_TENSORFLOW = '''
    import sys

    from importlib.machinery import PathFinder

    class WithoutTensorFlow(PathFinder):
        """As if it were not installed: torch looks, but does not import."""

        @classmethod
        def find_spec(cls, name, path=None, target=None):
            hidden = name.partition(".")[0] in ("tensorflow", "keras")
            return None if hidden else super().find_spec(name, path, target)

    sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutTensorFlow
    try:
        import tensorflow
    except ModuleNotFoundError:
        pass
    else:
        sys.exit("tensorflow was not hidden")

    import numpy as np
    from ptycho.config.config import ModelConfig, TrainingConfig
    from ptycho.config.execution import PyTorchExecutionConfig
    from ptycho.raw_data import RawData
    from ptycho_torch import model_manager
    from ptycho_torch.workflows import components

    raw = RawData.from_file("scan.npz")
    config = TrainingConfig(
        model=ModelConfig(N=32, gridsize=2, n_filters_scale=1), nepochs=1, batch_size=8,
        n_groups=8, backend="pytorch",
    )
    cpu = PyTorchExecutionConfig(accelerator="cpu", enable_progress_bar=False)
    amplitude, phase, results = components.run_cdi_example(
        raw, raw, config, do_stitching=True, execution_config=cpu
    )
    model_manager.save("saved")
    np.savez("seen.npz", amplitude=amplitude, phase=phase)
    assert not {"tensorflow", "keras"} & set(sys.modules)
'''


def test_train_save_and_load_across_processes_without_tensorflow(scan, make_config, tmp_path):
    scan.to_file(tmp_path / "scan.npz")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WITHOUT_TENSORFLOW)],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved", "scan.npz", "seen.npz"]
    model, _ = components.load_inference_bundle(tmp_path / "saved")
    amplitude, phase, _ = components.reassemble_cdi_image(scan, make_config(2), model)
    with np.load(tmp_path / "seen.npz") as seen:
        assert np.array_equal(amplitude, seen["amplitude"])
        assert np.array_equal(phase, seen["phase"])


@pytest.mark.parametrize("missing", ["torch", "lightning.pytorch"])
def test_missing_framework_says_what_to_install(monkeypatch, missing, scan, make_config):
    real = importlib.import_module

    def import_module(name):
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name)

    monkeypatch.setattr(torch_import.importlib, "import_module", import_module)
    message = r"PyTorch backend selected, but .*pip install 'torch>=2\.2' lightning"
    with pytest.raises(RuntimeError, match=message):
        components.require_framework()
    with pytest.raises(RuntimeError, match=message):
        components.train_cdi_model(scan, None, make_config())


@pytest.mark.parametrize(
    ("version", "good"), [("2.1.2+cu118", False), ("2.2.0", True), ("2.10.1", True), ("3.0", True)]
)
def test_torch_before_2_2_is_refused(monkeypatch, version, good):
    import torch

    monkeypatch.setattr(torch, "__version__", version)
    if good:
        assert torch_import.require_torch() is torch
    else:
        with pytest.raises(RuntimeError, match=r"2\.1\.2.*too old"):
            torch_import.require_torch()
