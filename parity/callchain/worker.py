"""Trace scenarios of one backend in this process, which is to be a fresh one.

``python -m parity.callchain.worker BACKEND OUT SCENARIO...`` writes ``OUT/traces.json``, with a
canonical chain, stages' marks, seconds and taps for each scenario, and ``OUT/taps.npz``.
TensorFlow runs eagerly: in a compiled function Python is entered once, whatever is trained.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from parity.callchain.chain import canonical
from parity.callchain.jobs import DESCRIPTIONS, Workshop
from parity.callchain.recorder import ChainRecorder
from parity.callchain.rooms import kept
from parity.callchain.symbols import PACKAGES, checkout, source_functions
from parity.callchain.taps import TapCollector
from parity.callchain.watching import watched_imports, watched_params
from parity.spec.parse import load_specification

_CONFIGURE = "ptycho.config.config:update_legacy_dict"
_FRAMEWORK = "ptycho.tensorflow_import:require_tensorflow"


def _run_eagerly() -> None:
    importlib.import_module("tensorflow").config.run_functions_eagerly(True)


def framework_ready(backend: str) -> Callable[[], None]:
    """Return what is done once the backend's framework is there."""
    return _run_eagerly if backend == "tensorflow" else lambda: None


def wanted_symbols() -> frozenset[str]:
    """Return the symbols that a chain keeps."""
    return frozenset(symbol for symbol, f in source_functions().items() if kept(f))


class _Observer:
    """Collects taps, hears what is configured, and makes TensorFlow eager as it appears."""

    def __init__(self, taps: TapCollector) -> None:
        self._taps = taps
        self.configured: list[str] = []

    def __call__(self, symbol: str, frame: FrameType, returns: bool, value: Any) -> None:
        if symbol == _FRAMEWORK and returns and value is not None:
            _run_eagerly()
        if symbol == _CONFIGURE and not returns:
            self.configured.append(type(frame.f_locals["obj"]).__name__)
        self._taps(symbol, frame, returns, value)


def record(workshop: Workshop, name: str, wanted: frozenset[str]) -> dict[str, Any]:
    """Run one scenario and return its canonical chain, marks, taps and seconds."""
    job = workshop.job(name)
    taps = TapCollector(name, workshop.backend, load_specification().of_table("taps"))
    observer = _Observer(taps)
    folders = [str(checkout() / package) for package in PACKAGES]
    observed = taps.symbols | {_CONFIGURE, _FRAMEWORK}
    recorder = ChainRecorder(folders, wanted, observer, observed)
    with ExitStack() as stack:
        stack.enter_context(watched_imports(recorder.mark, workshop.backend))
        written = stack.enter_context(watched_params(recorder.mark))
        started, started_work = time.perf_counter(), time.process_time()
        stack.enter_context(recorder.recording())
        job.run()
        seconds = time.perf_counter() - started
        cpu_seconds = time.process_time() - started_work
    chain = canonical(recorder.chain.calls)
    return {
        "chain": chain,
        "written": sorted(written),
        "configured": observer.configured,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "taps": taps.values,
    }


def traced(backend: str, scenarios: Sequence[str], folder: Path) -> dict[str, dict[str, Any]]:
    """Return what each scenario did, in the order in which a fresh process can do them."""
    from ptycho.core.progress import hidden_progress

    wanted = wanted_symbols()
    workshop = Workshop(backend, folder, framework_ready(backend))
    logging.disable(logging.WARNING)
    try:
        with hidden_progress():
            return {n: record(workshop, n, wanted) for n in DESCRIPTIONS if n in scenarios}
    finally:
        logging.disable(logging.NOTSET)


def main(argv: Sequence[str]) -> int:
    """Trace and write."""
    backend, out, *scenarios = argv
    with tempfile.TemporaryDirectory() as folder:
        traces = traced(backend, scenarios, Path(folder))
    arrays: dict[str, Any] = {}
    for name, trace in traces.items():
        taps = trace["taps"]
        for tap, value in list(taps.items()):
            if isinstance(value, np.ndarray):
                arrays[tap] = value
                taps[tap] = {"array": True}
            elif folder in json.dumps(value):
                taps[tap] = json.loads(json.dumps(value).replace(folder, "<folder>"))
        trace["scenario"] = name
    (Path(out) / "traces.json").write_text(json.dumps(traces))
    np.savez(Path(out) / "taps.npz", **arrays)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
