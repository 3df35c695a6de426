"""D: patterns that stay in their file."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from parity.checks.observing import everyone, outcome, tiny_scan
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.loading import load_data
from ptycho.core.workflow import create_container
from ptycho.io import stored
from ptycho.raw_data import RawData


@check("D-20", "Patterns that stay in their file are its own", ("backend",), framework=False)
def in_place(run: Recorder) -> None:
    """The same batches as of a scan read whole; a file that is cut off is refused."""
    scan = tiny_scan(run.seed)
    config = TrainingConfig(model=ModelConfig(N=32, gridsize=2), n_groups=8)
    indices = np.arange(8)
    with tempfile.TemporaryDirectory() as name, mock.patch.object(stored, "LARGE", 1):
        path = scan.to_file(Path(name) / "scan.npz")
        there = create_container(load_data(path), config)
        here = create_container(RawData.from_file(path), config)
        kept: Any = there.patterns.stored
        everyone(run, isinstance(kept, stored.StoredPatterns), f"kept as {type(kept).__name__}")
        same = np.array_equal(there.batch_X(indices), here.batch_X(indices))
        same = same and there.normalisation == here.normalisation
        everyone(run, same, "a batch or the normalisation is not that of a scan read whole")
        late = pickle.loads(pickle.dumps(kept))
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - 999)
        for what, patterns in (("open", kept), ("not yet open", late)):
            error = outcome(lambda patterns=patterns: patterns[:])
            refused = isinstance(error, ValueError) and path.name in str(error)
            everyone(run, refused, f"it was cut off while {what}: {error!r}")
