"""Which bundles of a training's epochs are kept, and which of them is found."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.checkpoint_files import best_checkpoint, checkpoints_in, last_checkpoint
from ptycho.core.checkpoints import Checkpoints, check_folder
from ptycho.core.resume import resume_point


def run(folder: Path, losses: list[float], start: int = 0, **fields: Any) -> list[int]:
    """Keep checkpoints of a training with these losses; return the epochs whose files are left."""
    config = TrainingConfig(
        model=ModelConfig(), output_dir=folder, enable_checkpointing=True, **fields
    )
    written: list[Path] = []

    def write(path: Path, trained: Any) -> None:
        assert trained == "the model"
        written.append(path)
        path.write_bytes(b"bundle")

    checkpoints: Any = Checkpoints(config, write)
    for epoch in range(start + 1, len(losses) + 1):
        checkpoints.end_epoch(epoch, {"loss": losses[:epoch]}, lambda: "the model")
        assert written[-1].parent == folder / "checkpoints"
    return list(checkpoints_in(folder))


LOSSES = [3.0, 1.0, 2.0, math.nan, 1.5, 2.5]


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({}, [2, 6]),
        ({"checkpoint_save_top_k": 3}, [2, 3, 5, 6]),
        ({"checkpoint_save_top_k": -1}, [1, 2, 3, 4, 5, 6]),
        ({"checkpoint_mode": "max", "checkpoint_save_top_k": 2}, [1, 6]),
        ({"checkpoint_mode": "max", "checkpoint_save_top_k": 9}, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_the_best_and_the_last_are_left(tmp_path: Path, fields: Any, left: list[int]) -> None:
    assert run(tmp_path, LOSSES, **fields) == left


def test_of_equal_values_the_earlier_is_the_best(tmp_path: Path) -> None:
    assert run(tmp_path, [2.0, 1.0, 1.0, 3.0]) == [2, 4]
    assert best_checkpoint(tmp_path).name.startswith("epoch=0002-loss=1.")


def test_none_are_kept_where_none_are_wanted(tmp_path: Path) -> None:
    config = TrainingConfig(model=ModelConfig(), output_dir=tmp_path, checkpoint_save_top_k=0)
    config.enable_checkpointing = True
    checkpoints: Any = Checkpoints(config, lambda path, trained: pytest.fail("written"))
    checkpoints.end_epoch(1, {"loss": [1.0]}, lambda: "the model")
    assert list(tmp_path.iterdir()) == []


def test_best_and_last_are_found_by_folder(tmp_path: Path) -> None:
    run(tmp_path, LOSSES, checkpoint_save_top_k=-1)
    for folder in (tmp_path, tmp_path / "checkpoints"):
        assert best_checkpoint(folder).name == "epoch=0002-loss=1.wts.h5.zip"
        assert best_checkpoint(folder, "max").name == "epoch=0001-loss=3.wts.h5.zip"
        assert last_checkpoint(folder).name == "epoch=0006-loss=2.5.wts.h5.zip"


def test_strangers_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("epoch=one.wts.h5.zip", "notes.txt", "epoch=0001-loss=1.wts.h5.zip.bak"):
        (folder / name).touch()
    assert run(tmp_path, [2.0, 1.0, 3.0]) == [2, 3]
    assert len(list(folder.iterdir())) == 5


def test_no_checkpoints_are_an_error_that_says_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="enable_checkpointing"):
        last_checkpoint(tmp_path)


def test_another_trainings_checkpoints_are_not_touched(tmp_path: Path) -> None:
    run(tmp_path, [2.0])
    config = TrainingConfig(model=ModelConfig(), output_dir=tmp_path, enable_checkpointing=True)
    with pytest.raises(ValueError, match="another training"):
        check_folder(config)
    config.resume = tmp_path.parent
    with pytest.raises(ValueError, match="another training"):
        check_folder(config)
    for own in (tmp_path, tmp_path / "checkpoints", last_checkpoint(tmp_path)):
        config.resume = own
        check_folder(config)
    config.resume, config.enable_checkpointing = None, False
    check_folder(config)


def test_going_on_keeps_the_best_of_both_runs(tmp_path: Path) -> None:
    run(tmp_path, [2.0, 1.0, 1.5])
    own = tmp_path / "checkpoints"
    assert run(tmp_path, [2.0, 1.0, 1.5, 3.0], start=3, resume=own) == [2, 4]
    # What had come further is not deleted by a run that begins earlier.
    assert run(tmp_path, [2.0, 1.0, 1.7], start=2, resume=own) == [2, 3, 4]


def test_an_epoch_done_again_replaces_its_file(tmp_path: Path) -> None:
    run(tmp_path, [2.0, 1.0], checkpoint_save_top_k=-1)
    run(tmp_path, [2.0, 1.25], start=1, checkpoint_save_top_k=-1, resume=tmp_path)
    names = [path.name for path in checkpoints_in(tmp_path).values()]
    assert names == ["epoch=0001-loss=2.wts.h5.zip", "epoch=0002-loss=1.25.wts.h5.zip"]
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_a_folder_is_resumed_by_its_last(tmp_path: Path) -> None:
    run(tmp_path, [2.0, 1.0, 3.0])
    config = TrainingConfig(model=ModelConfig(), resume=tmp_path)
    nothing: Any = None
    with pytest.raises(ValueError, match="epoch=0003-loss=3.wts.h5.zip"):
        resume_point(nothing, config)
    (tmp_path / "wts.h5.zip").write_bytes(b"the bundle of the whole training")
    with pytest.raises(ValueError, match="wts.h5.zip") as caught:
        resume_point(nothing, config)
    assert "epoch=" not in str(caught.value)
