import math

import pytest

from ptycho.core.history import History


def test_lists_grow_in_step_and_train_loss_is_loss():
    history = History()
    history.record(0, {"loss": 3.0, "nll": 2.0})
    history.record(1, {"loss": 1, "nll": 0.5})
    lists = history.as_dict()
    assert lists == {"loss": [3.0, 1.0], "nll": [2.0, 0.5], "train_loss": [3.0, 1.0]}
    assert all(isinstance(value, float) for series in lists.values() for value in series)
    assert history.epochs == [0, 1]
    assert len(history) == 2


def test_a_name_missing_in_an_epoch_is_nan_there():
    history = History()
    history.record(0, {"loss": 3.0})
    history.record(1, {"loss": 2.0, "val_loss": 2.5})
    history.record(4, {"val_loss": 2.25})
    lists = history.as_dict()
    assert lists["loss"][:2] == [3.0, 2.0]
    assert math.isnan(lists["loss"][2])
    assert math.isnan(lists["val_loss"][0])
    assert lists["val_loss"][1:] == [2.5, 2.25]


def test_the_dictionary_is_a_copy():
    history = History()
    history.record(0, {"loss": 3.0})
    history.as_dict()["loss"].append(9.0)
    history.as_dict()["train_loss"].append(9.0)
    assert history.as_dict()["loss"] == [3.0]
    lists = history.as_dict()
    lists["loss"].append(9.0)
    assert lists["train_loss"] == [3.0]


@pytest.mark.parametrize("epoch", [1, 2])
def test_epochs_come_in_order(epoch):
    history = History()
    history.record(2, {"loss": 3.0})
    with pytest.raises(ValueError, match=f"epoch 2 already; epoch {epoch} cannot"):
        history.record(epoch, {"loss": 1.0})
    assert history.as_dict()["loss"] == [3.0]


def test_train_loss_is_not_recorded():
    with pytest.raises(ValueError, match="derived"):
        History().record(0, {"train_loss": 1.0})


def test_empty_history_is_an_empty_dictionary():
    assert History().as_dict() == {}
