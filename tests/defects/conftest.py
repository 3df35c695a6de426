"""A scene known at every coordinate, scans of it, a model that cannot err, and cached trainings."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from parity.backends.pytorch import PyTorchBackend
from parity.backends.tensorflow import TensorFlowBackend
from ptycho import params
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.core.container import ObjectLabels
from ptycho.core.weights import Weights, initial_weights
from ptycho.raw_data import RawData
from ptycho.workflows.backend_selector import train_cdi_model_with_backend

N = 32
BACKENDS = {"tensorflow": TensorFlowBackend(), "pytorch": PyTorchBackend()}
CPU = PyTorchExecutionConfig(accelerator="cpu", enable_progress_bar=False)


class Scene:
    """A smooth object without a symmetry, given by a formula, so that no patch is interpolated."""

    side = 112

    @staticmethod
    def at(x: Any, y: Any) -> np.ndarray:
        """Return the object at any coordinates in pixels."""
        amplitude = 0.6 + 0.2 * np.sin(0.19 * x + 0.04 * y) + 0.12 * np.cos(0.15 * y - 0.05 * x + 1)
        phase = 0.7 * np.sin(0.12 * x - 0.16 * y) + 0.4 * np.cos(0.21 * y + 0.3)
        return amplitude * np.exp(1j * phase)

    def patches(self, centres: np.ndarray, side: int = N) -> np.ndarray:
        """Return (K, side, side), pixel side/2 showing the object at each centre [x, y]."""
        steps = np.arange(side) - side // 2
        x = centres[:, 0, None, None] + steps
        y = centres[:, 1, None, None] + steps[:, None]
        return self.at(x, y)

    def canvas(self, side: int, M: int, mean: np.ndarray) -> np.ndarray:
        """Return what a stitched canvas of patches with this mean position shows."""
        steps = np.arange(side) - side / 2 + (0.5 if M % 2 else 0.0)
        return self.at(steps + mean[0], steps[:, None] + mean[1])

    @property
    def image(self) -> np.ndarray:
        """The object on whole pixels, (side, side)."""
        axis = np.arange(self.side)
        return self.at(axis, axis[:, None])

    @staticmethod
    def probe(side: int = N) -> np.ndarray:
        """Return an off-centre, curved probe (side, side)."""
        y, x = np.mgrid[:side, :side] - side / 2
        return np.exp(-((x - 1) ** 2) / 50 - (y + 1.5) ** 2 / 70 + 0.01j * (x**2 + 0.5 * y**2))

    @staticmethod
    def positions(columns: int = 8, rows: int = 5, step: float = 3.0, seed: int = 5) -> np.ndarray:
        """Return a jittered raster (columns * rows, 2) = [x, y], in no order."""
        rng = np.random.default_rng(seed)
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2)
        return rng.permutation(grid * step + rng.uniform(-1, 1, grid.shape) + (42.0, 50.0))

    def intensity(self, positions: np.ndarray, photons: float) -> np.ndarray:
        """Return expected counts (n, N, N), ``photons`` per pattern on average."""
        waves = np.fft.fft2(self.probe() * self.patches(positions), norm="ortho")
        power = np.abs(np.fft.fftshift(waves, axes=(1, 2))) ** 2
        return power * (photons / power.sum(axis=(1, 2)).mean())

    def scan(self, positions: np.ndarray | None = None, photons: float = 1e6, **more: Any):
        """Return a scan of amplitudes with the object as ground truth."""
        points = self.positions() if positions is None else positions
        given = {
            "diff3d": np.sqrt(self.intensity(points, photons)).astype(np.float32),
            "probeGuess": self.probe().astype(np.complex64),
            "objectGuess": self.image.astype(np.complex64),
            **more,
        }
        return RawData(points[:, 0], points[:, 1], None, None, scan_index=None, **given)

    def counts(self, photons: float = 1e6) -> np.ndarray:
        """Return Poisson counts of the default scan, uint32."""
        rng = np.random.default_rng(1)
        return rng.poisson(self.intensity(self.positions(), photons)).astype(np.uint32)

    def labelled_patterns(self, positions: np.ndarray) -> RawData:
        """Return a scan whose pixel (0, 0) tells which position a pattern belongs to."""
        patterns = np.ones((len(positions), N, N), np.float32)
        patterns[:, 0, 0] = np.arange(len(positions)) + 1
        return RawData(
            positions[:, 0], positions[:, 1], None, None, patterns, self.probe(), None,
            measurement_domain="amplitude",
        )  # fmt: skip


class PerfectModel:
    """A model that predicts the true object patch of each group of ``labelled_patterns``."""

    intensity_scale, normalisation = 2.0, 1.0

    def __init__(self, scene: Scene, positions: np.ndarray, gridsize: int = 1) -> None:
        self.config = ModelConfig(N=N, gridsize=gridsize)
        self._scene, self._positions = scene, positions
        self.seen: list[np.ndarray] = []

    def predict(self, inputs: Any, batch_size: int = 32) -> np.ndarray:
        """Return (B, N, N, 1) complex64, centred on each group's mean position."""
        members = np.rint(inputs[0][:, 0, 0, :] / self.intensity_scale).astype(int) - 1
        self.seen.append(members)
        centres = self._positions[members].mean(axis=1)
        return self._scene.patches(centres).astype(np.complex64)[..., None]


@dataclass
class Run:
    """One finished training, its archive, and what it did besides."""

    config: TrainingConfig
    results: dict[str, Any]
    trained: Any
    bundle: Path
    stdout: str
    label_gathers: int
    params: dict[str, Any]

    @property
    def history(self) -> dict[str, list[float]]:
        """Values per epoch."""
        return self.results["history"]


_VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {"scheduler": "ReduceLROnPlateau", "plateau_patience": 0, "seed": 0}),
    "small steps": ({}, {"learning_rate": 2e-4, "seed": 0}),
    "fixed scale": (
        {},
        {
            "intensity_scale_trainable": False, "probe_trainable": True, "nphotons": 1e4,
            "scheduler": "Exponential",
        },
    ),
    "real space": (
        {"gridsize": 2},
        {"mae_weight": 0.3, "realspace_weight": 0.5, "realspace_mae_weight": 0.5},
    ),
    "supervised": (
        {"model_type": "supervised"},
        {"scheduler": "WarmupCosine", "lr_warmup_epochs": 1, "lr_min_ratio": 0.05},
    ),
}  # fmt: skip


def make_config(backend: str, model: dict[str, Any] | None = None, **fields: Any):
    """Return the configuration of a small training: three steps an epoch, six held out."""
    parts = {"N": N, "n_filters_scale": 1, **(model or {})}
    given = {
        "nepochs": 3, "batch_size": 8, "n_groups": 24, "nphotons": 1e6, "learning_rate": 2e-3,
        "validation_fraction": 0.25, **fields,
    }  # fmt: skip
    return TrainingConfig(model=ModelConfig(**parts), backend=backend, **given)


class Runs:
    """Trains each variant once per backend, through the dispatcher."""

    def __init__(self, folder: Path, scan: RawData) -> None:
        self._folder, self._scan = folder, scan
        self._done: dict[tuple[str, str], Run] = {}

    def __call__(self, backend: Any, variant: str = "plain") -> Run:
        """Return the training of a variant with a backend."""
        key = (backend.name, variant)
        if key not in self._done:
            self._done[key] = self._train(backend, variant)
        return self._done[key]

    def _train(self, backend: Any, variant: str) -> Run:
        model, fields = _VARIANTS[variant]
        config = make_config(backend.name, model, **fields)
        gathers = []
        with pytest.MonkeyPatch.context() as patch:
            original = ObjectLabels.gather

            def counted(self: ObjectLabels, members: Any) -> Any:
                gathers.append(len(members))
                return original(self, members)

            patch.setattr(ObjectLabels, "gather", counted)
            with contextlib.redirect_stdout(io.StringIO()) as said:
                results = train_cdi_model_with_backend(
                    self._scan,
                    None,
                    config,
                    torch_execution_config=CPU if backend.name == "pytorch" else None,
                )
        manager = backend.room("model_manager")
        trained, known = manager.last_trained(), dict(params.cfg)
        bundle = manager.save(self._folder / backend.name / variant.replace(" ", "-"))
        return Run(config, results, trained, bundle, said.getvalue(), len(gathers), known)


@pytest.fixture(scope="session")
def scene() -> Scene:
    """The object that every scan here shows."""
    return Scene()


@pytest.fixture(scope="session")
def scan(scene: Scene) -> RawData:
    """Forty amplitude patterns (32, 32) with the true object; tests must not change it."""
    return scene.scan()


@pytest.fixture
def perfect(scene: Scene) -> Callable[..., PerfectModel]:
    """Return a function that makes the model that cannot err."""
    return lambda positions, gridsize=1: PerfectModel(scene, positions, gridsize)


@pytest.fixture(scope="session")
def runs(scan: RawData, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Return finished trainings by backend and variant; tests must not change them."""
    return Runs(tmp_path_factory.mktemp("runs"), scan)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Any:
    """Each backend in turn."""
    return BACKENDS[request.param]


@pytest.fixture
def backends() -> dict[str, Any]:
    """Both backends by name."""
    return dict(BACKENDS)


@pytest.fixture
def pytorch() -> Any:
    """The PyTorch backend alone, for what only its runtime has."""
    return BACKENDS["pytorch"]


@pytest.fixture
def config_of() -> Callable[..., TrainingConfig]:
    """Return the function that makes small configurations."""
    return make_config


@pytest.fixture
def start() -> Callable[..., Weights]:
    """Return a function that gives the seeded weights that a training starts from."""

    def make(config: ModelConfig, scale: float = 40.0, seed: int = 3, probe: Any = None):
        given = Scene.probe(config.N) if probe is None else probe
        return initial_weights(config, seed, given, scale)

    return make


@pytest.fixture
def global_random() -> Any:
    """NumPy's global generator, which must neither matter nor be touched."""
    return np.random.mtrand._rand


@pytest.fixture(scope="session")
def ask() -> Callable[[str], Any]:
    """Return a function that runs Python source in a fresh process and reads the JSON it prints."""

    def run(source: str, cwd: Path | None = None) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", source],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def table() -> ModuleType:
    """The module that reads the rows and renders the page about them."""
    path = Path(__file__).with_name("table.py")
    spec = importlib.util.spec_from_file_location("defects_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
