"""The wing in fresh interpreters: without torch, with other history, with equal bytes."""

import json
import subprocess
import sys

import pytest

BLOCK_TORCH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "lightning"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
"""

CLIENT_IMPORTS = """
import json, sys
import ptycho.loader, ptycho.model_manager, ptycho.params
from ptycho.workflows.components import load_inference_bundle
import ptycho
light = "tensorflow" not in sys.modules and "keras" not in sys.modules
reachable = [ptycho.probe.set_probe_guess.__name__, ptycho.tf_helper.reassemble_position.__name__]
print(json.dumps([light, reachable]))
"""

TRAIN = """
import hashlib, json, sys
import numpy as np
from pathlib import Path
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.container import PtychoDataContainer
from ptycho import model_manager
before, folder = int(sys.argv[1]), Path(sys.argv[2])
model_manager.require_tensorflow()
from ptycho.core.weights import initial_weights
from ptycho.model import build_models
from ptycho.training import train
config = TrainingConfig(ModelConfig(N=32, n_filters_scale=1), nepochs=1, batch_size=4, n_groups=8)
rng = np.random.default_rng(0)
axis = np.arange(32) - 16
probe = np.exp(-(axis[:, None] ** 2 + axis**2) / 50).astype(complex)
container = PtychoDataContainer(
    rng.uniform(0, 9, (8, 32, 32)), np.arange(8)[:, None], rng.uniform(0, 9, (8, 2)), probe, 0.1
)
for _ in range(before):
    build_models(config.model, initial_weights(config.model, 1, probe, 10.0))  # moves counters
trained = train(container, config, progress=False)
path = model_manager.save(folder, trained)
print(json.dumps({
    "losses": trained.step_losses,
    "digest": hashlib.sha256(path.read_bytes()).hexdigest(),
    "torch": [name for name in sys.modules if name.partition(".")[0] == "torch"],
}))
"""


def _run(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_client_reaches_its_attributes_without_tensorflow():
    light, reachable = _run(BLOCK_TORCH + CLIENT_IMPORTS)
    assert light
    assert reachable == ["set_probe_guess", "reassemble_position"]


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    return [_run(BLOCK_TORCH + TRAIN, before, folder) for before, folder in enumerate(folders)]


def test_training_works_where_torch_is_missing(two_runs):
    assert all(run["torch"] == [] for run in two_runs)
    assert len(two_runs[0]["losses"]) == 2


def test_two_processes_write_equal_bytes(two_runs):
    assert two_runs[0]["losses"] == two_runs[1]["losses"]
    assert two_runs[0]["digest"] == two_runs[1]["digest"]
