"""``training.h5`` and what has to fit when a training goes on."""

from __future__ import annotations

import dataclasses
import io

import h5py
import numpy as np
import pytest

from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.archive import BadTrainingState
from ptycho.core.bundle import Bundle, read_bundle, write_bundle
from ptycho.core.container import PtychoDataContainer
from ptycho.core.history import History
from ptycho.core.resume import archived_training, resume_point
from ptycho.core.schedule import LearningRateSchedule, PlateauState
from ptycho.core.training_plan import plan_training, training_params
from ptycho.core.training_state import TrainingState, dump_state, groups_digest, load_state
from ptycho.core.weights import initial_weights

MODEL = ModelConfig(N=32, n_filters_scale=1)
DIGEST = "0123456789abcdef" * 4


def state(model=MODEL, probe=False, **changes):
    """Return a state with moments of all weights, the probe's only where it trains."""
    rng = np.random.default_rng(1)
    shapes = {n: v.shape for n, v in initial_weights(model, 0, np.ones((32, 32)), 2.0).items()}
    if not probe:
        del shapes["probe"]
    first = {n: np.asarray(rng.normal(size=s), np.float32) for n, s in shapes.items()}
    found = TrainingState(
        epoch=2,
        batch=3,
        step=11,
        first=first,
        second={name: value**2 for name, value in first.items()},
        plateau=PlateauState(1e-3, 0.5, 1),
        history={"val_loss": [0.4, float("nan")], "loss": [0.3, 0.1]},
        groups=DIGEST,
    )
    return dataclasses.replace(found, **changes)


@pytest.mark.parametrize("probe", [False, True])
def test_round_trip(probe):
    written = state(probe=probe)
    data = dump_state(written, MODEL)
    assert data == dump_state(written, MODEL)
    read = load_state(data, MODEL, "here")
    for name in ("epoch", "batch", "step", "plateau", "groups"):
        assert getattr(read, name) == getattr(written, name)
    np.testing.assert_equal(read.history, written.history)
    assert list(read.history) == list(written.history)
    for part in ("first", "second"):
        moments = getattr(read, part)
        assert set(moments) == set(getattr(written, part))
        for name, value in getattr(written, part).items():
            np.testing.assert_array_equal(moments[name], value)


def test_a_training_that_has_only_begun():
    begun = state(epoch=0, batch=0, history={}, plateau=PlateauState(1e-3, float("inf"), 0))
    read = load_state(dump_state(begun, MODEL), MODEL, "here")
    assert read.history == {}
    assert read.plateau.best == float("inf")


def edited(edit):
    buffer = io.BytesIO(dump_state(state(), MODEL))
    with h5py.File(buffer, "r+") as file:
        edit(file)
    return buffer.getvalue()


def attribute(name, value):
    def edit(file):
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    return edit


def replaced(name, data):
    def edit(file):
        del file[name]
        if data is not None:
            file[name] = data

    return edit


def link(file):
    file["first/log_scale2"] = h5py.ExternalLink("/etc/hostname", "/x")


BIAS = "encoder/block1/conv1/bias"
HOSTILE = {
    "no epoch": (attribute("epoch", None), "attribute 'epoch' is missing"),
    "epoch as text": (attribute("epoch", "2"), "'epoch' is not a single"),
    "a negative epoch": (attribute("epoch", np.int64(-1)), "epoch is -1"),
    "a huge step": (attribute("step", np.int64(2**40)), "step is 1099511627776"),
    "another version": (attribute("format_version", np.bytes_("9")), "format_version is '9'"),
    "no rate": (attribute("plateau_rate", np.float64(0)), "schedule is at"),
    "a best loss of NaN": (attribute("plateau_best", np.nan), "best loss is NaN"),
    "no digest": (attribute("groups", np.bytes_("../../etc")), "expected a SHA-256"),
    "an external link": (link, "is a link to another place"),
    "one moment less": (replaced(f"first/{BIAS}", None), "missing or unknown"),
    "one moment more": (lambda f: f.create_dataset("first/x", data=np.float32(0)), "unknown"),
    "a moment of another shape": (replaced(f"second/{BIAS}", np.zeros(3, np.float32)), "expected"),
    "a negative second moment": (
        replaced(f"second/{BIAS}", -np.ones(64, np.float32)),
        "values that no training gives",
    ),
    "a moment of NaN": (replaced(f"first/{BIAS}", np.full(64, np.nan, np.float32)), "no training"),
    "a moment of doubles": (replaced(f"first/{BIAS}", np.zeros(64)), "float64"),
    "a longer history": (replaced("history/01_loss", np.zeros(3)), "3 entries for 2 epochs"),
    "a history of images": (replaced("history/01_loss", np.zeros((2, 2))), "no part"),
    "an odd name": (lambda f: f.create_dataset("history/02_A B", data=np.zeros(2)), "'A B'"),
    "a name without number": (lambda f: f.move("history/00_val_loss", "history/x"), "no number"),
    "a name twice": (lambda f: f.copy("history/01_loss", "history/07_loss"), "there already"),
    "something else": (lambda f: f.create_dataset("code", data=np.float32(0)), "no part"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_state(case):
    edit, text = HOSTILE[case]
    with pytest.raises(BadTrainingState, match=f"here: .*{text}.*save the model again"):
        load_state(edited(edit), MODEL, "here")


@pytest.mark.parametrize("data", [b"", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_what_is_no_hdf5(data):
    with pytest.raises(BadTrainingState, match="here: "):
        load_state(data, MODEL, "here")


def test_a_state_that_cannot_be_read_is_not_written():
    with pytest.raises(ValueError, match="3 entries for 2 epochs"):
        dump_state(state(history={"loss": [1.0, 2.0, 3.0]}), MODEL)


def test_a_bundle_refuses_a_hostile_state(corpus):
    members = {**corpus.members, "autoencoder/training.h5": edited(link)}
    corpus.refuse(
        corpus.sealed(members), BadTrainingState, "autoencoder/training.h5: .*not followed"
    )


# --------------------------------------------------------------------------- resuming


def container(seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    patterns = rng.uniform(0.5, 1, (12, 32, 32)).astype(np.float32)
    groups = rng.permutation(12)[:, None]
    positions = rng.uniform(0, 30, (12, 2))
    return PtychoDataContainer(patterns, groups, positions, np.ones((32, 32)) + 0j, scale)


def configuration(**fields):
    parts = {"batch_size": 3, "nepochs": 5, "validation_fraction": 0.0, "nphotons": 1e6}
    return TrainingConfig(**{"model": ModelConfig(N=32, n_filters_scale=1), **parts, **fields})


@pytest.fixture
def saved(tmp_path):
    config = configuration()
    weights = initial_weights(config.model, 9, np.ones((32, 32)), 2.0)
    reached = state(groups=groups_digest(container()))
    params = training_params(config)
    bundle = Bundle("pytorch", config.model, weights, 62.5, 1.0, params, reached)
    return write_bundle(tmp_path / "saved.zip", bundle, {})


def test_a_bundle_keeps_the_state(saved, tmp_path):
    read = read_bundle(saved)
    assert read.state.step == 11
    assert write_bundle(tmp_path / "again.zip", read, {}).read_bytes() == saved.read_bytes()


def test_the_plan_goes_on_where_the_other_ended(saved):
    whole, plan = (plan_training(container(), configuration(resume=r)) for r in (None, saved))
    assert (plan.first_epoch, plan.start.step) == (2, 11)
    np.testing.assert_array_equal(plan.weights["probe"], read_bundle(saved).weights["probe"])
    assert [b.tolist() for b in plan.epoch(2)] == [b.tolist() for b in whole.epoch(2)[3:]]
    assert [b.tolist() for b in plan.epoch(3)] == [b.tolist() for b in whole.epoch(3)]
    assert plan.position(0) == (2, 3, 11)
    assert plan.position(1) == (3, 0, 12)
    assert plan.position(6) == (4, 1, 17)
    history = plan.history()
    history.record(2, {"loss": 0.05, "val_loss": 0.1})
    assert history.as_dict()["loss"] == [0.3, 0.1, 0.05]


def test_positions_count_accumulated_batches():
    plan = plan_training(container(), configuration(batch_size=2))  # six batches
    assert plan.position(1, 4) == (0, 4, 1)
    assert plan.position(2, 4) == (1, 0, 2)
    assert plan.position(3, 4) == (1, 4, 3)


def test_the_configuration_comes_back_from_the_archive(saved):
    archived = archived_training(read_bundle(saved))
    assert archived == configuration()


MISFITS = {
    "seed": ({"seed": 1}, "seed is 1, was 42"),
    "scheduler": ({"scheduler": "Exponential"}, "scheduler is 'Exponential', was 'Default'"),
    "clipping": ({"gradient_clip_val": 1.0}, "gradient_clip_val is 1.0, was None"),
    "model": ({"model": ModelConfig(N=32, n_filters_scale=2)}, "n_filters_scale is 2, was 1"),
    "two at once": ({"seed": 1, "nphotons": 5.0}, "nphotons is 5.0, was 1000000.0; seed is 1"),
    "epochs": ({"nepochs": 2}, "2 epochs and nepochs, .* is 2: set nepochs above 2"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_configuration_that_does_not_fit(saved, case):
    changes, text = MISFITS[case]
    with pytest.raises(ValueError, match=f"{saved}.*{text}"):
        resume_point(container(), configuration(resume=saved, **changes))


def test_what_may_change(saved, tmp_path):
    changes = {"nepochs": 9, "backend": "pytorch", "output_dir": tmp_path}
    assert resume_point(container(), configuration(resume=saved, **changes))[1].epoch == 2


def test_another_scan_does_not_fit(saved):
    with pytest.raises(ValueError, match="other groups or scan positions than the 12"):
        resume_point(container(seed=1), configuration(resume=saved))
    with pytest.raises(ValueError, match="normalisation 1, those given have 1.1"):
        resume_point(container(scale=1.1), configuration(resume=saved))
    # Another machine sums in another order.
    assert resume_point(container(scale=1 + 1e-9), configuration(resume=saved))


def test_a_model_without_state_cannot_go_on(saved, tmp_path):
    bare = dataclasses.replace(read_bundle(saved), state=None)
    path = write_bundle(tmp_path / "bare", bare, {})
    with pytest.raises(ValueError, match=r"bare.*training\.h5.*train anew"):
        resume_point(container(), configuration(resume=path))


def test_two_places_to_start_from_are_refused(saved):
    weights = read_bundle(saved).weights
    with pytest.raises(ValueError, match="weights and config.resume both"):
        plan_training(container(), configuration(resume=saved), weights)


def test_the_schedule_remembers_its_plateau():
    config = configuration(scheduler="ReduceLROnPlateau", plateau_patience=1, plateau_factor=0.5)
    losses = [1.0, 2.0, 2.0, 0.5, 0.6, 0.7, 0.8]
    whole = LearningRateSchedule(config, 4)
    expected = []
    for loss in losses:
        whole.end_epoch(loss)
        expected.append(whole.rate(0))
    assert len(set(expected)) == 3
    for cut in range(len(losses)):
        first = LearningRateSchedule(config, 4)
        for loss in losses[:cut]:
            first.end_epoch(loss)
        second = LearningRateSchedule(config, 4, first.plateau)
        rates = []
        for loss in losses[cut:]:
            second.end_epoch(loss)
            rates.append(second.rate(0))
        assert rates == expected[cut:]


def test_a_history_is_cut_or_filled_to_complete_epochs():
    history = History({"loss": [1.0, 2.0]})
    history.record(2, {"loss": 3.0})
    assert history.first(2) == {"loss": [1.0, 2.0]}
    np.testing.assert_equal(history.first(4), {"loss": [1.0, 2.0, 3.0, np.nan]})
