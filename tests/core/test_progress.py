import io

import pytest
from rich.console import Console

from ptycho.core.progress import TrainingProgress, hidden_progress


def _console(terminal: bool) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=terminal, width=120, highlight=False), stream


def _run(progress: TrainingProgress, epochs: int, steps: int) -> None:
    with progress:
        for epoch in range(epochs):
            for step in range(steps):
                progress.step(10.0 - step)
            progress.end_epoch({"loss": 2.5 / (epoch + 1), "val_loss": 7.0})


def test_one_line_per_epoch_without_a_terminal():
    console, stream = _console(terminal=False)
    _run(TrainingProgress(3, 2, "pytorch", console=console), epochs=3, steps=2)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("pytorch: epoch 1/3  loss 2.5  val_loss 7")
    assert lines[2].startswith("pytorch: epoch 3/3  loss 0.8333")
    assert lines[2].endswith("about 0:00:00 left")


def test_remaining_time_follows_from_the_epochs_done(monkeypatch):
    clock = iter([100.0, 1100.0, 2100.0])
    monkeypatch.setattr("ptycho.core.progress.time.monotonic", lambda: next(clock))
    console, stream = _console(terminal=False)
    with TrainingProgress(10, 1, "x", console=console) as progress:
        progress.end_epoch({"loss": 1.0})
        progress.end_epoch({"loss": 1.0})
    first, second = stream.getvalue().splitlines()
    assert first.endswith("1000.0 s, about 2:30:00 left")
    assert second.endswith("2000.0 s, about 2:13:20 left")


def test_terminal_shows_epoch_loss_and_remaining_time():
    console, stream = _console(terminal=True)
    _run(TrainingProgress(2, 3, "tensorflow", console=console), epochs=2, steps=3)
    shown = stream.getvalue()
    assert "tensorflow" in shown
    assert "2/2" in shown
    assert "loss 1.25  val_loss 7" in shown
    assert "0:00:00" in shown  # remaining time of a finished bar


def test_labels_are_not_read_as_markup():
    console, stream = _console(terminal=False)
    _run(TrainingProgress(1, 1, "[red]scan[/nonsense]", console=console), epochs=1, steps=1)
    assert stream.getvalue().startswith("[red]scan[/nonsense]: epoch 1/1")


@pytest.mark.parametrize("terminal", [False, True])
def test_disabled_is_silent(terminal):
    console, stream = _console(terminal)
    _run(TrainingProgress(2, 2, "x", enabled=False, console=console), epochs=2, steps=2)
    assert stream.getvalue() == ""


def test_a_caller_can_hide_the_progress_of_what_it_calls():
    console, stream = _console(terminal=False)
    with hidden_progress():
        _run(TrainingProgress(1, 1, "inside", console=console), epochs=1, steps=1)
    _run(TrainingProgress(1, 1, "after", console=console), epochs=1, steps=1)
    assert stream.getvalue().startswith("after: epoch 1/1")


def test_default_goes_to_standard_error(capsys):
    _run(TrainingProgress(1, 1, "run"), epochs=1, steps=1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("run: epoch 1/1")


def test_the_terminal_is_released_when_training_fails():
    console, stream = _console(terminal=True)

    def fail() -> None:
        with TrainingProgress(2, 2, "x", console=console) as progress:
            progress.step(1.0)
            raise RuntimeError("loss is NaN")

    with pytest.raises(RuntimeError, match="loss is NaN"):
        fail()
    assert stream.getvalue().endswith("\x1b[?25h")  # the cursor is shown again


def test_two_trainings_in_a_row_do_not_share_a_bar():
    console, stream = _console(terminal=False)
    for label in ("first", "second"):
        _run(TrainingProgress(1, 1, label, console=console), epochs=1, steps=1)
    assert [line.split(":")[0] for line in stream.getvalue().splitlines()] == ["first", "second"]


def test_an_epoch_may_take_fewer_steps_than_planned():
    console, stream = _console(terminal=True)
    with TrainingProgress(1, 100, "x", console=console) as progress:
        progress.step(1.0)
        progress.end_epoch({"loss": 1.0})
    assert "1/1" in stream.getvalue()
    assert "0:00:00" in stream.getvalue()  # nothing remains
