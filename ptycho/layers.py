"""Keras layers around :mod:`ptycho.physics`, registered under the package ``ptycho``.

Features and patterns are (B, N, N, C) as Keras has them; between :class:`ObjectPatches` and
:class:`Diffraction` images are (B, C, N, N) complex64, the layout of the physics. Each layer
holds plain numbers only, so a saved model loads in Keras' safe mode.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from ptycho import physics
from ptycho.core.geometry import centre_window

register = keras.saving.register_keras_serializable(package="ptycho")


@register
class IntensityScale(keras.layers.Layer):
    """Divide by exp(log_scale); returns the scaled input and log_scale itself.

    ``log_scale`` is a weight, trained where ``scale_trainable``.
    """

    def __init__(self, *, scale_trainable: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale_trainable = scale_trainable

    def build(self, input_shape: Any) -> None:
        """Create the weight."""
        self.log_scale = self.add_weight(
            name="log_scale", shape=(), initializer="zeros", trainable=self.scale_trainable
        )

    def call(self, diffraction: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Scale (B, N, N, C)."""
        log_scale = tf.convert_to_tensor(self.log_scale)
        return diffraction / tf.exp(log_scale), log_scale

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "scale_trainable": self.scale_trainable}


@register
class DoubledConv(keras.layers.Conv2D):
    """A 3 x 3 convolution of the 2 x nearest-upsampled image, worked out on the small image.

    (B, rows, columns, channels) becomes (B, 2 rows, 2 columns, filters). A pixel of the small image
    reaches 4 x 4 places of the large one, so this is a transposed convolution with stride 2. It
    takes 4/9 of the operations, since of nine pixels under the kernel some are copies of one. Zero
    padding and strides of one are meant.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: Any) -> tf.Tensor:
        """Convolve; bias and activation are Keras'."""
        # A pixel's two copies are seen one after the other: the taps plus themselves, one place on.
        # First the rows, then the columns, so that both wings add up in one order.
        none, before, after = [0, 0], [1, 0], [0, 1]
        taps = tf.transpose(kernel, (0, 1, 3, 2))[::-1, ::-1]
        taps = tf.pad(taps, [after, none, none, none]) + tf.pad(taps, [before, none, none, none])
        taps = tf.pad(taps, [none, after, none, none]) + tf.pad(taps, [none, before, none, none])
        _, *sides, _ = inputs.shape
        shape = tf.stack([tf.shape(inputs)[0], *(2 * side for side in sides), self.filters])
        return tf.nn.conv2d_transpose(inputs, taps, shape, strides=2, padding="SAME")

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Return the shape of the enlarged image."""
        batch, rows, columns, _ = input_shape
        return batch, 2 * rows, 2 * columns, self.filters


@register
class FeatureSplit(keras.layers.Layer):
    """Return the first channels of (B, rows, columns, channels), and the ``last`` ones."""

    def __init__(self, *, last: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.last = last

    def call(self, features: tf.Tensor) -> list[tf.Tensor]:
        """Split; two slices would cost three times as much to differentiate."""
        return tf.split(features, [int(features.shape[-1]) - self.last, self.last], axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "last": self.last}


# Not tf.nn.silu: its gradient is entered in a registry that keeps the graph of every model alive.
_ACTIVATIONS = {
    "sigmoid": tf.sigmoid,
    "swish": lambda x: x * tf.sigmoid(x),
    "softplus": tf.math.softplus,
    "relu": tf.nn.relu,
    "phase": lambda x: math.pi * tf.tanh(x),
}


@register
class HeadActivation(keras.layers.Layer):
    """Apply an amplitude activation, or ``phase``: pi * tanh, in radians."""

    def __init__(self, *, function: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = function

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """Apply elementwise."""
        return _ACTIVATIONS[self.function](values)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "function": self.function}


@register
class BorderSum(keras.layers.Layer):
    """Surround an (N/2, N/2) image with the border of an (N, N) one.

    Called with [inner (B, N/2, N/2, C), outer (B, N, N, C)]: inner, zero-padded, plus outer
    outside the central N/2 square.
    """

    def call(self, images: list[tf.Tensor]) -> tf.Tensor:
        """Combine."""
        inner, outer = images
        N = int(outer.shape[1])
        border = 1 - centre_window(N, pad_object=True, probe_big=False)[..., None]
        quarter = [N // 4, N // 4]
        return tf.pad(inner, [[0, 0], quarter, quarter, [0, 0]]) + outer * border


@register
class ObjectPatches(keras.layers.Layer):
    """Form a * exp(i phi), (B, C, N, N) complex64, from [a, phi], each (B, N, N, C)."""

    def call(self, polar: list[tf.Tensor]) -> tf.Tensor:
        """Combine."""
        amplitude, phase = (tf.transpose(part, (0, 3, 1, 2)) for part in polar)
        return tf.complex(amplitude * tf.cos(phase), amplitude * tf.sin(phase))


@register
class ObjectCanvas(keras.layers.Layer):
    """Bring a group's patches onto one canvas (B, P, P).

    Called with [patches, offsets (B, 1, 2, C)]. Patches are merged, weighted with the centre
    window where ``windowed``; a single patch for several positions stands at the centre.
    """

    def __init__(self, *, windowed: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.windowed = windowed

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Merge or place."""
        patches, offsets = inputs
        relative = offsets[:, 0]
        if patches.shape[1] != relative.shape[-1]:
            return physics.place_single(patches, relative)
        window = physics.window_row(patches.shape[-1], pad_object=self.windowed, probe_big=False)
        return physics.merge(patches, relative, window)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "windowed": self.windowed}


@register
class CentralObject(keras.layers.Layer):
    """Return the central N x N of a canvas (B, P, P) as (B, N, N, 1)."""

    def __init__(self, *, N: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.N = N

    def call(self, canvas: tf.Tensor) -> tf.Tensor:
        """Crop."""
        return tf.ensure_shape(
            physics.central(canvas, self.N)[..., None], (None, self.N, self.N, 1)
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "N": self.N}


@register
class ExtractPatches(keras.layers.Layer):
    """Cut (B, C, N, N) out of [canvas (B, P, P), offsets (B, 1, 2, C)] at the positions."""

    def __init__(self, *, N: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.N = N

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Extract."""
        canvas, offsets = inputs
        patches = physics.extract(canvas, offsets[:, 0], self.N)
        return tf.ensure_shape(patches, (None, offsets.shape[-1], self.N, self.N))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "N": self.N}


@register
class ProbeIllumination(keras.layers.Layer):
    """Turn patches (B, C, N, N) into exit waves (B, C, M, N, N).

    ``probe`` is a weight (M, N, N, 2), real and imaginary part, trained where
    ``probe_trainable``.
    """

    def __init__(
        self,
        *,
        modes: int,
        probe_trainable: bool = False,
        mask: bool = False,
        sigma: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.modes, self.probe_trainable = modes, probe_trainable
        self.mask, self.sigma = mask, sigma

    def build(self, input_shape: Any) -> None:
        """Create the weight."""
        self.probe = self.add_weight(
            name="probe",
            shape=(self.modes, *input_shape[-2:], 2),
            initializer="zeros",
            trainable=self.probe_trainable,
        )

    def call(self, patches: tf.Tensor) -> tf.Tensor:
        """Illuminate."""
        parts = tf.convert_to_tensor(self.probe)
        probe = tf.complex(parts[..., 0], parts[..., 1])
        mask = physics.probe_disc(patches.shape[-1]) if self.mask else None
        return physics.illuminate(patches, probe, self.sigma, mask)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "modes": self.modes,
            "probe_trainable": self.probe_trainable,
            "mask": self.mask,
            "sigma": self.sigma,
        }


@register
class Diffraction(keras.layers.Layer):
    """Return the far-field intensity (B, N, N, C) of exit waves (B, C, M, N, N)."""

    def call(self, waves: tf.Tensor) -> tf.Tensor:
        """Diffract."""
        return tf.transpose(physics.diffract(waves), (0, 2, 3, 1))


@register
class PredictedAmplitude(keras.layers.Layer):
    """Return exp(log_scale) * sqrt(I) from [I (B, N, N, C), log_scale]."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Scale."""
        intensity, log_scale = inputs
        return tf.exp(log_scale) * tf.sqrt(intensity)


@register
class PredictedIntensity(keras.layers.Layer):
    """Return exp(2 log_scale) * I from [I (B, N, N, C), log_scale]."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """Scale."""
        intensity, log_scale = inputs
        return tf.exp(2.0 * log_scale) * intensity
