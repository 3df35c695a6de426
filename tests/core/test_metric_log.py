"""Logs of a training: what is in them, and what they need."""

from __future__ import annotations

import contextlib
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.metric_log import metric_log, require_logger

HISTORY = {"loss": [0.1, 1 / 3, 2e-9], "val_loss": [0.2, 0.30000000000000004, float("nan")]}


def config(folder: Path, backend: Any, **fields: Any) -> TrainingConfig:
    model = ModelConfig()
    return TrainingConfig(model=model, output_dir=folder, logger_backend=backend, **fields)


def test_no_log_writes_nothing(tmp_path: Path) -> None:
    with metric_log(config(tmp_path, "none"), "X") as log:
        log(3, HISTORY)
    assert list(tmp_path.iterdir()) == []


def test_the_table_is_whole_after_every_epoch(tmp_path: Path) -> None:
    path = tmp_path / "new" / "metrics.csv"
    with metric_log(config(tmp_path / "new", "csv"), "X") as log:
        assert not path.exists()
        for epoch in (1, 2, 3):
            log(epoch, {name: values[:epoch] for name, values in HISTORY.items()})
            lines = path.read_text().splitlines()
            assert len(lines) == epoch + 1
    assert lines[0] == "epoch,loss,val_loss"
    assert lines[2] == "2,0.3333333333333333,0.30000000000000004"
    assert lines[3] == "3,2e-09,nan"
    assert [p.name for p in path.parent.iterdir()] == ["metrics.csv"]


def test_tensorboard_reads_what_was_written_without_tensorflow(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="an optional package, of the extra 'loggers'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loaded = "tensorflow" in sys.modules
    with metric_log(config(tmp_path, "tensorboard"), "X") as log:
        log(1, HISTORY)
        log(2, HISTORY)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == set(HISTORY)
    found = [(event.step, event.value) for event in events.Scalars("loss")]
    assert found == [(1, pytest.approx(0.1)), (2, pytest.approx(1 / 3))]
    assert ("tensorflow" in sys.modules) == loaded
    assert "tensorboard.compat.notf" not in sys.modules


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Stand in for MLflow; return what it is told."""
    told: list[tuple[Any, ...]] = []
    module: Any = types.ModuleType("mlflow")

    @contextlib.contextmanager
    def start_run(run_name: str) -> Any:
        told.append(("start", run_name))
        yield
        told.append(("end",))

    module.start_run = start_run
    module.set_tracking_uri = lambda uri: told.append(("uri", uri))
    module.set_experiment = lambda name: told.append(("experiment", name))
    module.log_params = lambda values: told.append(("params", values))
    module.log_metrics = lambda values, step: told.append(("metrics", step, values))
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return told


def test_mlflow_gets_one_run_with_its_settings(
    tmp_path: Path, mlflow: Any, monkeypatch: Any
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with metric_log(config(tmp_path / "run", "mlflow", nepochs=7), "PyTorch") as log:
        log(2, HISTORY)
    kinds = [entry[0] for entry in mlflow]
    assert kinds == ["uri", "experiment", "start", "params", "metrics", "end"]
    assert mlflow[0][1] == (tmp_path / "run" / "mlruns").as_uri()
    assert mlflow[2][1] == "PyTorch run"
    assert (mlflow[3][1]["nepochs"], mlflow[3][1]["N"]) == (7, 64)
    assert mlflow[4] == ("metrics", 2, {"loss": 1 / 3, "val_loss": 0.30000000000000004})


def test_mlflow_goes_where_its_environment_says(
    tmp_path: Path, mlflow: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example")
    with metric_log(config(tmp_path, "mlflow"), "X") as log:
        log(1, HISTORY)
    assert "uri" not in [entry[0] for entry in mlflow]


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_package_is_named_with_its_command(name: str, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RuntimeError, match=f"pip install {name}"):
        require_logger(name)
    require_logger("csv")
