"""Two processes train as one: the same losses, files written once, no end that hangs."""

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from parity.ledger.tolerances import load_tolerances
from ptycho.core.sampling import batches
from ptycho_torch.dataloader import BatchSampler
from ptycho_torch.processes import check_processes

#: A training whose batches of 15 and last one of 9 do not divide by two.
SETTINGS = [
    "--backend=pytorch", "--nepochs=2", "--batch_size=15", "--n_groups=80", "--gridsize=1",
    "--n_filters_scale=1", "--validation_fraction=0.14", "--learning_rate=1e-4",
    "--torch-accelerator=cpu",
]  # fmt: skip
TWO = ["--torch-devices=2", "--torch-strategy=ddp"]
#: The same from Python, with a callback that does something to one of the two processes.
SCRIPT = """
import json, os, signal, sys
import lightning.pytorch as pl
from pathlib import Path
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.core.workflow import create_container
from ptycho.raw_data import RawData
from ptycho_torch import model_manager, training

class Trouble(pl.Callback):
    def on_train_batch_end(self, trainer, *_):
        if os.environ["LOCAL_RANK"] == sys.argv[2] and trainer.global_step == 3:
            if sys.argv[3] == "raise":
                raise OSError("the disk went away")
            os.kill(os.getpid(), getattr(signal, sys.argv[3]))

config = TrainingConfig(
    model=ModelConfig(N=32, gridsize=1, n_filters_scale=1), backend="pytorch", nepochs=2,
    batch_size=15, n_groups=80, validation_fraction=0.14, learning_rate=1e-4,
)
execution = PyTorchExecutionConfig(
    accelerator="cpu", devices=2, strategy="ddp", enable_progress_bar=False
)
container = create_container(RawData.from_file(sys.argv[1]), config)
callbacks = [Trouble()] if len(sys.argv) > 2 else []
trained = training.train(container, config, execution_config=execution, callbacks=callbacks)
print(json.dumps([trained.process, trained.history, trained.step_losses]))
model_manager.save("model", trained)
"""


@pytest.fixture(scope="module")
def scan_file(tmp_path_factory):
    from ptycho.simulation.simulate import built_in_scan

    path = tmp_path_factory.mktemp("scan") / "scan.npz"
    return built_in_scan(N=32, n_positions=80, seed=3).to_file(path)


def start(place, *command):
    return subprocess.Popen(
        [sys.executable, *map(str, command)], cwd=place, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "WORLD_SIZE")},
    )  # fmt: skip


def ended(process, seconds=120):
    """Wait for the process and everything it started; return exit code and both outputs."""
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        pytest.fail("the processes hang")
    return process.returncode, output, errors


def trained(place, scan_file, *settings):
    command = ["-m", "ptycho.cli.train", f"--train_data={scan_file}", "--output_dir=run"]
    code, output, errors = ended(start(place, *command, *SETTINGS, *settings))
    assert code == 0, errors
    return json.loads((place / "run" / "history.json").read_text()), output, errors


def script(place, scan_file, *arguments):
    (place / "script.py").write_text(SCRIPT)
    return start(place, "script.py", scan_file, *arguments)


def difference(one, two):
    return max(
        float(np.max(np.abs(np.subtract(one[name], two[name])) / np.abs(one[name]))) for name in one
    )


@pytest.mark.slow
def test_two_processes_reach_the_losses_of_one(tmp_path, scan_file):
    tolerance = load_tolerances()["processes.losses"].value
    places = [tmp_path / name for name in ("one", "two", "python")]
    for place in places:
        place.mkdir()
    one, told_by_one, _ = trained(places[0], scan_file)
    two, told_by_two, errors = trained(places[1], scan_file, *TWO)
    assert two.keys() == one.keys() >= {"loss", "val_loss"}
    assert difference(one, two) <= tolerance
    # Everything is told and written by one of the two.
    assert len(told_by_two.splitlines()) == len(told_by_one.splitlines())
    assert errors.count("epoch 1/2") == 1
    assert sorted(os.listdir(places[1] / "run")) == sorted(os.listdir(places[0] / "run"))

    code, output, errors = ended(script(places[2], scan_file))
    assert code == 0, errors
    told = sorted(json.loads(line) for line in output.splitlines())
    assert [process for process, *_ in told] == [0, 1]
    assert told[0][1:] == told[1][1:]
    assert difference(one, told[0][1]) <= tolerance
    assert os.listdir(places[2] / "model") == ["wts.h5.zip"]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("trouble", ["raise", "SIGKILL", "SIGINT"])
def test_trouble_in_one_process_ends_both(tmp_path, scan_file, rank, trouble):
    process = script(tmp_path, scan_file, rank, trouble)
    code, _, errors = ended(process)
    saves = rank == 0 and trouble == "SIGINT"
    assert (code == 0) is saves, errors
    assert os.path.exists(tmp_path / "model") is saves
    if trouble == "raise":
        assert "the disk went away" in errors


@pytest.mark.slow
def test_an_interrupt_of_both_saves_what_was_reached(tmp_path, scan_file):
    command = ["-m", "ptycho.cli.train", f"--train_data={scan_file}", "--output_dir=run"]
    process = start(tmp_path, *command, *SETTINGS, "--nepochs=4000", *TWO)
    for line in process.stderr:
        if "epoch 2/4000" in line:
            break
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    code, output, errors = ended(process)
    assert code == 130, errors
    assert os.path.exists(tmp_path / "run" / "wts.h5.zip")
    assert output.count("model:") == 1


def test_shares_weigh_what_they_hold():
    order = np.arange(20)
    for size, processes in ((16, 3), (7, 2), (20, 4), (6, 4)):
        whole = batches(order, size)
        parts = [
            list(BatchSampler(lambda _, whole=whole: whole, lambda r=rank, n=processes: (r, n)))
            for rank in range(processes)
        ]
        for number, batch in enumerate(whole):
            shares = [part[number] for part in parts]
            counted = [share.groups for share in shares if share.weight > 0]
            np.testing.assert_array_equal(np.concatenate(counted), batch)
            mean = np.mean([share.weight * share.groups.mean() for share in shares])
            assert mean == pytest.approx(batch.mean(), rel=1e-14)


def trainer(start_method="popen", world_size=2, external=False):
    environment = SimpleNamespace(creates_processes_externally=external)
    strategy = SimpleNamespace(
        launcher=object(), _start_method=start_method, cluster_environment=environment
    )
    return SimpleNamespace(strategy=strategy, world_size=world_size)


def test_processes_that_would_lose_the_training_are_refused():
    with pytest.raises(ValueError, match="allowed: 'ddp'"):
        check_processes(trainer("spawn", world_size=1))


def test_a_program_that_is_in_no_file_cannot_be_run_twice(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["-c"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    with pytest.raises(ValueError, match="not in a file"):
        check_processes(trainer())
    check_processes(trainer(external=True))
    check_processes(trainer(world_size=1))
