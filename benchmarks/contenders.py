"""One contender of ``benchmarks.time_to_quality``, alone in its process.

It reconstructs the first scan, writing a line of JSON for each sample of the quality on the way,
then does the same for the next scan of the kind: the networks predict, the iterative ones have
to start again. Time is that between samples; scoring, imports and reading the scan are not
counted, compilation is.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import resource
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ptycho.core.alignment import align, scan_area
from ptycho.core.metrics import amplitude_correlation, complex_nrmse, phase_correlation
from ptycho.core.scaling import intensity_scale
from ptycho.core.weights import Weights
from ptycho.raw_data import RawData

NETWORKS = ("tensorflow", "pytorch")
ITERATIVE = ("rpie", "lsqml")


class Clock:
    """Wall and CPU seconds of this process, without what happens in ``paused``."""

    def __init__(self) -> None:
        self._start, self._away = self._now(), np.zeros(2)

    @staticmethod
    def _now() -> np.ndarray:
        return np.array([time.perf_counter(), time.process_time()])

    def read(self) -> dict[str, float]:
        """Return what has been counted so far."""
        wall, cpu = self._now() - self._start - self._away
        return {"seconds": round(float(wall), 3), "cpu_seconds": round(float(cpu), 3)}

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Do something that does not count."""
        begun = self._now()
        yield
        self._away += self._now() - begun


def score(image: np.ndarray, scan: RawData, offset: tuple[float, float]) -> dict[str, float]:
    """Score an image against ``objectGuess``; ``offset`` [y, x] is where its first pixel lies."""
    area = scan_area(scan.positions, scan.objectGuess.shape)
    try:
        pair = align(image, scan.objectGuess, offset=offset, area=area)
    except ValueError as error:  # nothing in it yet
        return {"error": str(error)}  # type: ignore[dict-item]
    images = pair.reconstruction, pair.truth
    scores = {
        "phase_correlation": phase_correlation(*images),
        "amplitude_correlation": amplitude_correlation(*images),
        "complex_nrmse": complex_nrmse(*images),
    }
    return {name: round(value, 4) for name, value in scores.items()}


Report = Callable[[dict[str, Any]], None]


def network(
    backend: str, first: RawData, following: RawData, settings: dict[str, Any], report: Report
) -> None:
    """Train on the first scan, sample after each epoch, then reconstruct the next one."""
    from ptycho.config.config import ModelConfig, PyTorchExecutionConfig, TrainingConfig
    from ptycho.core.workflow import configure, create_container, reassemble_image
    from ptycho.workflows.backend_selector import get_backend

    get_backend(backend).require_framework()
    fields = settings["fields"]
    config = TrainingConfig(**{**fields, "model": ModelConfig(**fields["model"])}, backend=backend)
    if backend == "tensorflow":
        from ptycho.model_manager import ObjectPredictor
        from ptycho.training import train
    else:
        import lightning.pytorch as pl

        from ptycho_torch.model import get_canonical_weights
        from ptycho_torch.model_manager import ObjectPredictor
        from ptycho_torch.training import train

    def stitched(predictor: Any, scan: RawData) -> tuple[np.ndarray, tuple[float, float]]:
        amplitude, phase, results = reassemble_image(scan, config, predictor, M=settings["M"])
        x, y = np.asarray(results["global_offsets"]).reshape(-1, 2).mean(axis=0)
        side = amplitude.shape[0] // 2
        return amplitude * np.exp(1j * phase), (y - side, x - side)

    clock = Clock()
    configure(config)
    container = create_container(first, config)

    scales = intensity_scale(config.nphotons, config.model.N), container.normalisation
    epochs = itertools.count(1)

    def sample(weights: Callable[[], Weights]) -> None:
        with clock.paused():
            predictor = ObjectPredictor(config.model, weights(), *scales)
            image, offset = stitched(predictor, first)
            report({"epoch": next(epochs), **clock.read(), **score(image, first, offset)})

    if backend == "tensorflow":
        model = train(
            container,
            config,
            progress=False,
            on_epoch=lambda model: sample(lambda: model().weights),
        )
    else:

        class Sampler(pl.Callback):
            def on_train_epoch_end(self, trainer: pl.Trainer, module: Any) -> None:
                sample(lambda: get_canonical_weights(module.model))

        execution = PyTorchExecutionConfig(
            accelerator="cpu", enable_progress_bar=False, precision=settings["precision"]
        )
        model = train(
            container, config, progress=False, execution_config=execution, callbacks=[Sampler()]
        )
    report({"loss": model.history["loss"]})
    for name, scan in (("same", first), ("next", following)):
        clock = Clock()
        image, offset = stitched(ObjectPredictor.of(model), scan)
        counted = clock.read()
        report({"scan": name, **counted, **score(image, scan, offset)})


def iterative(
    name: str, first: RawData, following: RawData, settings: dict[str, Any], report: Report
) -> None:
    """Reconstruct with rPIE or LSQML of the package ptychi, from ones and the scan's probe."""
    with _without_torchvision():
        from ptychi import api
        from ptychi.api.task import PtychographyTask
    import logging

    logging.disable(logging.INFO)
    epochs, batch = settings["iterations"], settings["peer_batch"]
    for label, scan in (("first", first), ("next", following)):
        clock = Clock()
        options = api.RPIEOptions() if name == "rpie" else api.LSQMLOptions()
        if name == "rpie":
            options.object_options.alpha = 1.0  # better than 0.1 and 0.3 on the built-in scan
        running = options.reconstructor_options
        running.num_epochs, running.batch_size, running.random_seed = epochs, batch, 0
        running.default_device = api.Devices.CPU
        options.object_options.determine_position_origin_coords_by = (
            api.ObjectPosOriginCoordsMethods.SPECIFIED
        )
        options.object_options.position_origin_coords = np.zeros(2)
        # All contenders are given the probe. ptychi's transform is not orthonormal.
        options.probe_options.optimizable = False
        probe = np.asarray(scan.probeGuess, np.complex64) / scan.probeGuess.shape[-1]
        task = PtychographyTask(
            options,
            diffraction_data=scan.amplitude() ** 2,
            object_data=np.ones((1, *scan.objectGuess.shape), np.complex64),
            probe_data=(probe if probe.ndim == 3 else probe[None])[None],
            probe_position_x_px=scan.positions[:, 0],
            probe_position_y_px=scan.positions[:, 1],
        )
        for epoch in range(1, epochs + 1):
            task.run(1)
            with clock.paused():
                image = task.get_data_to_cpu("object", as_numpy=True)[0]
                found = score(np.asarray(image), scan, (0.0, 0.0))
                head = {} if label == "first" else {"scan": label}
                report({**head, "epoch": epoch, **clock.read(), **found})


@contextlib.contextmanager
def _without_torchvision() -> Iterator[None]:
    """Let ptychi be imported without torchvision, of which it needs one filter, unused here."""
    if importlib.util.find_spec("torchvision") is not None:
        yield
        return
    package, transforms = (types.ModuleType(n) for n in ("torchvision", "torchvision.transforms"))
    transforms.GaussianBlur = None  # type: ignore[attr-defined]
    sys.modules.update({each.__name__: each for each in (package, transforms)})
    try:
        yield
    finally:
        for each in (package, transforms):
            del sys.modules[each.__name__]


def main(settings_file: str, results_file: str) -> None:
    """Run the contender that the settings name."""
    settings = json.loads(Path(settings_file).read_text(encoding="utf-8"))
    first, following = (RawData.from_file(path) for path in settings["scans"])
    with Path(results_file).open("w", encoding="utf-8") as file:

        def report(line: dict[str, Any]) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()
            if "epoch" in line:
                print(f"{settings['name']:10s} {json.dumps(line)}", flush=True)

        run = network if settings["name"] in NETWORKS else iterative
        run(settings["name"], first, following, settings, report)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        report({"peak_mib": round(peak / 1024)})


if __name__ == "__main__":
    main(*sys.argv[1:])
