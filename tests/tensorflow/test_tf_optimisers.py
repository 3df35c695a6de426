"""Optimisers: each is the formula that is written down, step by step."""

import numpy as np
import tensorflow as tf

from ptycho import optimisers


def _adam_by_hand(gradients, rate, beta1, beta2):
    """Algorithm 1 of Kingma & Ba in float64."""
    value = first = second = np.zeros_like(gradients[0], np.float64)
    for t, gradient in enumerate(gradients, start=1):
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient.astype(np.float64) ** 2
        m_hat, v_hat = first / (1 - beta1**t), second / (1 - beta2**t)
        value = value - rate * m_hat / (np.sqrt(v_hat) + 1e-8)
    return value


def test_adam_is_algorithm_1(make_config):
    rng = np.random.default_rng(0)
    # Gradients near epsilon tell it from the variant that adds epsilon to the uncorrected root.
    sizes = 10.0 ** np.arange(-9, 3)
    gradients = [(sizes * rng.standard_normal(12)).astype(np.float32) for _ in range(30)]
    config, variable = make_config(), tf.Variable(np.zeros(12, np.float32))
    state = optimisers.make_optimiser(config, [variable])
    for gradient in gradients:
        optimisers.move(config, tf.constant(0.01), [tf.constant(gradient)], state)
    expected = _adam_by_hand(gradients, 0.01, 0.9, 0.999)
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5)


def test_adam_with_a_beta_that_rounds_to_1_takes_the_first_step_alike(make_config):
    config = make_config(adam_beta1=1 - 1e-12, adam_beta2=1 - 1e-12)
    variable = tf.Variable(np.zeros(2, np.float32))
    state = optimisers.make_optimiser(config, [variable])
    optimisers.move(config, tf.constant(0.5), [tf.constant([3.0, -1e-3])], state)
    np.testing.assert_allclose(variable.numpy(), [-0.5, 0.5], rtol=1e-4)


def test_clipping_by_norm_is_global():
    gradients = [tf.constant([3.0, 0.0]), tf.constant([[4.0]])]
    clipped = optimisers.clip_gradients(gradients, 2.5, "norm")
    np.testing.assert_allclose(clipped[0], [1.5, 0.0], rtol=1e-6)
    np.testing.assert_allclose(clipped[1], [[2.0]], rtol=1e-6)
    unchanged = optimisers.clip_gradients(gradients, 6.0, "norm")
    np.testing.assert_array_equal(unchanged[0], gradients[0])
    # 1e-6 is added to the norm: as much again here.
    (tiny,) = optimisers.clip_gradients([tf.constant([1e-6])], 1e-6, "norm")
    np.testing.assert_allclose(tiny, [5e-7], rtol=1e-6)


def test_clipping_by_value_is_elementwise():
    (clipped,) = optimisers.clip_gradients([tf.constant([-3.0, 0.5, 3.0])], 2.0, "value")
    np.testing.assert_array_equal(clipped, [-2.0, 0.5, 2.0])
    assert optimisers.clip_gradients([clipped], None, "norm")[0] is clipped
