"""What the doors say in a process in which no framework can be imported, or an unfit one is.

``python -m parity.unequipped`` prints one line of JSON: for each backend and case the type and
text of the error, and which frameworks our code asked for. ``parity.checks.clauses_dispatch``
reads it.
"""

from __future__ import annotations

import json
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from parity.callchain.scenario import PACKAGES, BackendName
from parity.isolated import FRAMEWORKS, Absence, FilteredFinder

#: Case -> version of each framework that is pretended to be there.
PRETENDED: dict[str, dict[str, dict[str, str]]] = {
    "tensorflow": {
        "nothing": {},
        "the other framework": {"torch": "2.6.0", "lightning": "2.5", "lightning.pytorch": "2.5"},
        "an old keras": {"tensorflow": "2.19.0", "keras": "2.15.0"},
    },
    "pytorch": {
        "nothing": {},
        "the other framework": {"tensorflow": "2.19.0", "keras": "3.9.0"},
        "torch alone": {"torch": "2.6.0"},
        "an old torch": {"torch": "2.1.2", "lightning": "2.5", "lightning.pytorch": "2.5"},
    },
}


@contextmanager
def _pretending(versions: dict[str, str]) -> Iterator[None]:
    for name, version in versions.items():
        module = types.ModuleType(name)
        module.__version__ = version  # type: ignore[attr-defined]  # as packages have it
        if name == "keras":
            module.backend = types.SimpleNamespace(backend=lambda: "tensorflow")  # type: ignore[attr-defined]  # as keras has it
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in versions:
            del sys.modules[name]


def _doors(name: str, folder: Path) -> dict[str, Callable[[], Any]]:
    import importlib

    from ptycho.config.config import InferenceConfig, ModelConfig, TrainingConfig
    from ptycho.simulation.simulate import built_in_scan
    from ptycho.workflows import backend_selector

    components = importlib.import_module(f"{PACKAGES[name]}.workflows.components")
    scan = built_in_scan(N=32, n_positions=9)
    config = TrainingConfig(model=ModelConfig(N=32), n_groups=9)
    config.backend = cast(BackendName, name)
    inference = InferenceConfig(ModelConfig(N=32), folder, folder / "scan.npz")
    inference.backend = cast(BackendName, name)
    return {
        "run_cdi_example_with_backend": lambda: backend_selector.run_cdi_example_with_backend(
            scan, None, config
        ),
        "train_cdi_model_with_backend": lambda: backend_selector.train_cdi_model_with_backend(
            scan, None, config
        ),
        "load_inference_bundle_with_backend": lambda: (
            backend_selector.load_inference_bundle_with_backend(folder, inference)
        ),
        "train_cdi_model": lambda: components.train_cdi_model(scan, None, config),
        "load_inference_bundle": lambda: backend_selector.bundle_reader(components)(folder),
    }


def main() -> int:
    """Try every door of both backends in every case and print what happened."""
    absence = Absence(frozenset().union(*FRAMEWORKS.values()))
    sys.meta_path[:] = [FilteredFinder(finder, absence) for finder in sys.meta_path]
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, cases in PRETENDED.items():
            absence.attempts.clear()
            errors: dict[str, dict[str, list[str]]] = {}
            for case, versions in cases.items():
                errors[case] = {}
                for door, call in _doors(name, Path(folder)).items():
                    with _pretending(versions):
                        try:
                            call()
                            errors[case][door] = ["", ""]
                        except Exception as error:
                            errors[case][door] = [type(error).__name__, str(error)]
            asked = {attempt.partition(" ")[0].partition(".")[0] for attempt in absence.attempts}
            report[name] = {"errors": errors, "asked": sorted(asked)}
    sys.stdout.write("\n" + json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
