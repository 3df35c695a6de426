"""Losses against values worked out by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ptycho import losses

# Two pixels, one without counts: x = sqrt(counts), s0 = 2.
SCALE = 2.0
X = np.array([0.0, 2.0], np.float32).reshape(1, 1, 2, 1)
AMPLITUDE = np.array([1.0, 1.5], np.float32).reshape(1, 1, 2, 1)
INTENSITY = np.array([1.0, 2.0], np.float32).reshape(1, 1, 2, 1)
# (1 + (2 - 4 + 4 ln 2)) / 2 pixels / 4
NLL = (1 - 2 + 4 * math.log(2)) / 8
MAE = (1.0 + 0.5) / 2 / 2


def test_hand_values(make_config):
    config = make_config(nll_weight=0.5, mae_weight=0.25)
    terms = losses.evaluate_losses(config, SCALE, X, AMPLITUDE, INTENSITY)
    assert terms["nll"] == pytest.approx(NLL, rel=1e-6)
    assert terms["mae"] == pytest.approx(MAE, rel=1e-6)
    assert terms["loss"] == pytest.approx(0.5 * NLL + 0.25 * MAE, rel=1e-6)
    assert math.isnan(terms["realspace"])


def test_a_pixel_without_counts_pulls_its_rate_down():
    intensity = tf.constant(INTENSITY)
    with tf.GradientTape() as tape:
        tape.watch(intensity)
        loss = losses.nll(intensity, tf.constant(X), SCALE)
    gradient = tape.gradient(loss, intensity).numpy().ravel()
    # d/dl (l - k + k log(k / l)) = 1 - k / l, over 2 pixels and s0^2 = 4.
    np.testing.assert_allclose(gradient, [1 / 8, (1 - 4 / 2) / 8], rtol=1e-6)


def test_a_perfect_fit_is_zero(make_config):
    x = np.random.default_rng(0).uniform(0, 900, (2, 8, 8, 4)).astype(np.float32)
    terms = losses.evaluate_losses(make_config(mae_weight=1.0), 1000.0, x, x, x * x)
    assert abs(terms["nll"]) < 1e-7 * np.mean((x / 1000) ** 2)  # float32's rounding
    assert terms["mae"] == 0


@pytest.mark.parametrize("photons", [1e2, 1e9])
def test_losses_do_not_depend_on_the_number_of_photons(make_config, photons):
    rng = np.random.default_rng(1)
    X, model = rng.uniform(0, 2, (2, 1, 8, 8, 1))
    s0 = math.sqrt(photons) / 4
    arrays = (s0 * X, s0 * model, s0**2 * model**2)
    terms = losses.evaluate_losses(
        make_config(mae_weight=1.0), s0, *(a.astype(np.float32) for a in arrays)
    )
    expected = np.mean(model**2 - X**2 + X**2 * np.log(X**2 / model**2))
    assert terms["nll"] == pytest.approx(expected, rel=1e-5)
    assert terms["mae"] == pytest.approx(np.abs(X - model).mean(), rel=1e-5)


def _labels():
    patches = np.zeros((1, 8, 8, 2), np.complex64)
    labels = np.zeros_like(patches)
    labels[0, 2:6, 2:6, 0] = 3 + 4j  # modulus 5 inside the central square of one channel
    labels[0, 0, 0, :] = 100  # outside it
    return patches, labels


def test_realspace_looks_at_the_central_square_only(make_config):
    config = make_config(model={"model_type": "supervised"})
    arrays = [np.ones((1, 8, 8, 2), np.float32)] * 3
    terms = losses.evaluate_losses(config, 1.0, *arrays, *_labels())
    assert terms["realspace"] == pytest.approx(2.5)
    assert terms["loss"] == terms["realspace"]


def test_realspace_weights_multiply(make_config):
    config = make_config(nll_weight=1.0, realspace_weight=0.5, realspace_mae_weight=0.2)
    arrays = [np.ones((1, 8, 8, 2), np.float32)] * 3
    terms = losses.evaluate_losses(config, 1.0, *arrays, *_labels())
    assert terms["loss"] == pytest.approx(0.5 * 0.2 * 2.5, rel=1e-6)


@pytest.mark.parametrize(
    "fields",
    [
        {"model": {"model_type": "supervised"}},
        {"realspace_weight": 0.1, "realspace_mae_weight": 0.1},
    ],
)
def test_missing_labels_are_an_error_that_says_what_to_do(make_config, fields):
    with pytest.raises(ValueError, match="objectGuess or Y"):
        losses.evaluate_losses(make_config(**fields), SCALE, X, AMPLITUDE, INTENSITY)
