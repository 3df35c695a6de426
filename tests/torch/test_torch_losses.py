"""Losses against values worked out by hand."""

import math

import numpy as np
import pytest
import torch

from ptycho_torch import losses


def _t(*values):
    return torch.tensor([[[list(values)]]], dtype=torch.float64)


def test_nll_by_hand_with_an_empty_pixel():
    # In units of scale^2 = 4: counts 1 and 0, rates 2 and 3.
    found = losses.nll(_t(8, 12), _t(2, 0), 2.0)
    assert found.item() == pytest.approx(((2 - 1 + math.log(1 / 2)) + 3) / 2)


def test_nll_of_a_perfect_fit_is_zero_and_any_other_fit_is_worse():
    x = _t(3, 1, 0.5)
    assert losses.nll(x**2, x, 7.0).item() == pytest.approx(0, abs=1e-15)
    for factor in (0.9, 1.1):
        assert losses.nll(factor * x**2, x, 7.0) > 1e-4


def test_nll_gradient_is_one_minus_count_over_rate_also_without_counts():
    intensity = _t(8, 12).requires_grad_()
    losses.nll(intensity, _t(2, 0), 2.0).backward()
    expected = np.array([1 - 1 / 2, 1]) / 4 / 2
    np.testing.assert_allclose(intensity.grad.flatten(), expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 988.2])
def test_terms_do_not_depend_on_the_photon_number(scale):
    x, amplitude = np.float32([1, 0.3, 0]), np.float32([0.8, 0.5, 0.1])
    terms = losses.loss_terms(
        scale, _t(*(scale * x)), _t(*(scale * amplitude)), _t(*(scale * amplitude) ** 2)
    )
    one = losses.loss_terms(1.0, _t(*x), _t(*amplitude), _t(*amplitude**2))
    assert terms.keys() == {"nll", "mae"}
    for name, value in terms.items():
        assert value.item() == pytest.approx(one[name].item(), rel=1e-5)


def test_nll_survives_a_million_counts_in_float32():
    x = torch.full((1, 1, 4, 4), 1000.0)
    found = losses.nll(x**2 * 1.05, x, 988.0).item()
    assert found == pytest.approx((1000 / 988) ** 2 * (0.05 - math.log(1.05)), rel=1e-3)


def test_mae_by_hand():
    assert losses.mae(_t(5, 1), _t(2, 0), 2.0).item() == pytest.approx((3 + 1) / 2 / 2)


def test_realspace_looks_at_the_central_square_only():
    patches = torch.zeros(1, 1, 8, 8, dtype=torch.complex128)
    labels = torch.full_like(patches, 1000)
    labels[..., 2:6, 2:6] = 0
    labels[..., 2, 3] = 3 + 4j
    assert losses.realspace(patches, labels).item() == pytest.approx(5 / 16)


def test_realspace_gradient_is_finite_at_a_perfect_fit():
    patches = torch.ones(1, 1, 8, 8, dtype=torch.complex64, requires_grad=True)
    losses.realspace(patches, torch.ones(1, 1, 8, 8, dtype=torch.complex64)).backward()
    assert torch.isfinite(torch.view_as_real(patches.grad)).all()


def test_total_weighs_the_terms(make_config):
    terms = {name: torch.tensor(value) for name, value in [("nll", 2.0), ("mae", 3.0)]}
    config = make_config(nll_weight=0.5, mae_weight=0.25)
    assert losses.total_loss(config, terms).item() == pytest.approx(0.5 * 2 + 0.25 * 3)
    config = make_config(nll_weight=0.5, realspace_weight=0.5, realspace_mae_weight=0.4)
    terms["realspace"] = torch.tensor(7.0)
    assert losses.total_loss(config, terms).item() == pytest.approx(0.5 * 2 + 0.5 * 0.4 * 7)
    supervised = make_config(model={"model_type": "supervised"})
    assert losses.total_loss(supervised, terms).item() == 7


@pytest.mark.parametrize(
    "fields",
    [{"model": {"model_type": "supervised"}}, {"realspace_weight": 1, "realspace_mae_weight": 1}],
)
def test_missing_labels_are_named(make_config, fields):
    terms = {"nll": torch.tensor(1.0), "mae": torch.tensor(1.0)}
    with pytest.raises(ValueError, match="objectGuess or Y"):
        losses.total_loss(make_config(**fields), terms)


def test_evaluate_losses_takes_channels_last_arrays(make_config):
    x = np.zeros((1, 8, 8, 2), np.float32)
    x[0, 0, 0, 1] = 2
    amplitude, intensity = np.ones_like(x), np.ones_like(x)
    patches, labels = (np.zeros(x.shape, np.complex64) for _ in range(2))
    labels[0, 4, 4, 1] = 1j
    config = make_config(mae_weight=1.0)
    found = losses.evaluate_losses(config, 2.0, x, amplitude, intensity, patches, labels)
    assert found["mae"] == pytest.approx(1 / 2)  # |1 - 0| or |1 - 2|, over scale 2
    assert found["nll"] == pytest.approx(0.25 + (math.log(4) - 1) / 128, rel=1e-5)
    assert found["realspace"] == pytest.approx(1 / 32)
    assert found["loss"] == pytest.approx(found["nll"] + found["mae"])
    assert math.isnan(losses.evaluate_losses(config, 2.0, x, amplitude, intensity)["realspace"])
