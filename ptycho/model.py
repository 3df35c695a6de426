"""The ``cnn`` network and its physics as Keras models, built from canonical weights.

Importing this module builds nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ptycho import layers
from ptycho.config.config import ModelConfig
from ptycho.core.geometry import uses_centre_window
from ptycho.core.stages import stages_of_no_groups
from ptycho.core.weights import (
    DECODERS,
    OUTER_CHANNELS,
    Weights,
    check_weights,
    conv_layers,
    decoder_filters,
    encoder_filters,
)
from ptycho.params import params

__all__ = [
    "Models",
    "build_models",
    "call_with",
    "canonical_variables",
    "compiled",
    "evaluate",
    "get_canonical_weights",
    "params",
    "propagate",
    "set_canonical_weights",
]

# Stated for every layer, so that a user's keras.json cannot change the network.
_IMAGES = {"data_format": "channels_last", "dtype": "float32"}


class Models(NamedTuple):
    """Views of one network; they share their layers.

    Each is called with [x (B, N, N, C), offsets (B, 1, 2, C)]. ``autoencoder`` returns object
    (B, N, N, 1) complex64, amplitude and intensity (B, N, N, C); ``diffraction_to_obj`` the
    object alone; ``stages`` a dictionary of these and ``patches``, the network's own object
    patches, and ``extracted``, those cut from the merged object, both (B, C, N, N) complex64.
    """

    autoencoder: keras.Model
    diffraction_to_obj: keras.Model
    stages: keras.Model


class _Network:
    """Draws the convolutional network: features in, features out."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._outputs = {layer.name: layer.outputs for layer in conv_layers(config)}

    def _conv(
        self,
        x: Any,
        name: str,
        activation: str = "relu",
        kind: type[keras.layers.Conv2D] = keras.layers.Conv2D,
    ) -> Any:
        layer = kind(
            self._outputs[name],
            3,
            padding="same",
            activation=activation,
            kernel_initializer="zeros",
            name=_layer_name(name),
            **_IMAGES,
        )
        return layer(x)

    def _block(
        self, x: Any, name: str, first: type[keras.layers.Conv2D] = keras.layers.Conv2D
    ) -> Any:
        return self._conv(self._conv(x, f"{name}/conv1", kind=first), f"{name}/conv2")

    def encode(self, x: Any) -> Any:
        """Return the 8 x 8 latent image of (B, N, N, C)."""
        for i in range(1, 1 + len(encoder_filters(self._config.N, self._config.n_filters_scale))):
            name = f"encoder/block{i}"
            pool = keras.layers.MaxPooling2D(2, name=_layer_name(f"{name}/pool"), **_IMAGES)
            x = pool(self._block(x, name))
        return x

    def decode(self, latent: Any, decoder: str) -> Any:
        """Return amplitude or phase patches (B, N, N, channels)."""
        config, x = self._config, latent
        for i in range(1, 1 + len(decoder_filters(config.N, config.n_filters_scale))):
            # A block's features are upsampled by the convolution that comes next.
            first = keras.layers.Conv2D if i == 1 else layers.DoubledConv
            x = self._block(x, f"{decoder}_decoder/block{i}", first)
        head = f"{decoder}_head"
        if not config.pad_object:
            return self._inner(self._block(x, f"{head}/up_block", layers.DoubledConv), decoder)
        if not config.probe_big:
            padding = keras.layers.ZeroPadding2D(
                config.N // 4, name=_layer_name(f"{head}/padding"), **_IMAGES
            )
            return padding(self._inner(x, decoder))
        split = layers.FeatureSplit(
            last=OUTER_CHANNELS, name=_layer_name(f"{head}/features"), dtype="float32"
        )
        inner, outer = split(x)
        outer = self._block(outer, f"{head}/outer_block", layers.DoubledConv)
        outer = self._activated(outer, f"{head}/outer", "swish")
        total = layers.BorderSum(name=_layer_name(f"{head}/sum"), dtype="float32")
        return total([self._inner(inner, decoder), outer])

    def _inner(self, x: Any, decoder: str) -> Any:
        function = "phase" if decoder == "phase" else self._config.amp_activation
        return self._activated(x, f"{decoder}_head/inner", function)

    def _activated(self, x: Any, name: str, function: str) -> Any:
        activation = layers.HeadActivation(
            function=function, name=_layer_name(f"{name}/activation"), dtype="float32"
        )
        return activation(self._conv(x, name, activation="linear", kind=layers.DoubledConv))


def build_models(
    config: ModelConfig,
    weights: Weights,
    *,
    probe_trainable: bool = False,
    intensity_scale_trainable: bool = True,
) -> Models:
    """Return the Keras models of ``config`` with canonical ``weights``.

    ``log_scale`` and ``probe`` are weights of the models; the flags say whether they are among
    the trainable ones. Raises ``ValueError`` if ``weights`` are not those of this network.
    """
    check_weights(weights, config)
    N, C = config.N, config.gridsize**2
    x = keras.Input((N, N, C), dtype="float32", name="diffraction")
    offsets = keras.Input((1, 2, C), dtype="float32", name="offsets")
    scale = layers.IntensityScale(
        scale_trainable=intensity_scale_trainable, name="intensity_scale", dtype="float32"
    )
    scaled, log_scale = scale(x)
    network = _Network(config)
    latent = network.encode(scaled)
    polar = [network.decode(latent, decoder) for decoder in DECODERS]
    patches = layers.ObjectPatches(name="patches", dtype="float32")(polar)
    illumination = _illumination(config, weights["probe"].shape[0], probe_trainable)
    propagated = _propagated(config, patches, offsets, illumination, log_scale)
    inputs = [x, offsets]
    stages = {**propagated, "patches": patches}
    obj, amplitude, intensity = (stages[name] for name in ("object", "amplitude", "intensity"))
    models = Models(
        keras.Model(inputs, [obj, amplitude, intensity], name="autoencoder"),
        keras.Model(inputs, obj, name="diffraction_to_obj"),
        keras.Model(inputs, stages, name="stages"),
    )
    set_canonical_weights(models.autoencoder, weights)
    return models


def _illumination(config: ModelConfig, modes: int, trainable: bool) -> layers.ProbeIllumination:
    return layers.ProbeIllumination(
        modes=modes,
        probe_trainable=trainable,
        mask=config.probe_mask,
        sigma=float(config.gaussian_smoothing_sigma),
        name="illumination",
        dtype="float32",
    )


def _propagated(
    config: ModelConfig, patches: Any, offsets: Any, illumination: Any, log_scale: Any
) -> dict[str, Any]:
    """Return what follows from object patches (B, O, N, N), symbolic or not, stage by stage."""
    N = config.N
    windowed = uses_centre_window(config.pad_object, config.probe_big)
    canvas_layer = layers.ObjectCanvas(windowed=windowed, name="canvas", dtype="float32")
    canvas = canvas_layer([patches, offsets])
    obj = layers.CentralObject(N=N, name="object", dtype="float32")(canvas)
    extracted = layers.ExtractPatches(N=N, name="extracted", dtype="float32")([canvas, offsets])
    power = layers.Diffraction(name="diffracted", dtype="float32")(illumination(extracted))
    amplitude = layers.PredictedAmplitude(name="amplitude", dtype="float32")([power, log_scale])
    intensity = layers.PredictedIntensity(name="intensity", dtype="float32")([power, log_scale])
    return {"object": obj, "amplitude": amplitude, "intensity": intensity, "extracted": extracted}


def _layer_name(canonical: str) -> str:
    # Keras refuses "/" in names; "." stands for it, and back in canonical_variables.
    return canonical.replace("/", ".")


def canonical_variables(model: keras.Model) -> Iterator[tuple[str, keras.Variable]]:
    """Yield canonical name and variable of every weight of ``model``, in Keras' order."""
    for layer in model.layers:
        for variable in layer.variables:
            if isinstance(layer, keras.layers.Conv2D):
                yield f"{layer.name.replace('.', '/')}/{variable.name}", variable
            else:
                yield variable.name, variable


def get_canonical_weights(model: keras.Model) -> Weights:
    """Return copies of a model's weights, float32, under their canonical names.

    ``diffraction_to_obj`` has every weight but the probe. Raises ``ValueError`` if two variables
    have one name.
    """
    weights: Weights = {}
    for name, variable in canonical_variables(model):
        if name in weights:
            raise ValueError(f"model {model.name!r} has two variables named {name!r}")
        weights[name] = np.array(variable, np.float32)
    return weights


def set_canonical_weights(model: keras.Model, weights: Weights) -> None:
    """Assign canonical ``weights`` to a model's variables, one to one.

    Raises ``ValueError`` naming the weight, before anything is assigned, if a variable has no
    weight, a weight no variable, or a shape differs.
    """
    variables = dict(canonical_variables(model))
    if len(variables) != len(model.variables):
        raise ValueError(f"model {model.name!r} has variables that share a name")
    odd = sorted(set(variables) ^ set(weights))
    if odd:
        raise ValueError(f"weights and variables of {model.name!r} differ in {', '.join(odd)}")
    for name, variable in variables.items():
        if tuple(variable.shape) != weights[name].shape:
            raise ValueError(
                f"weight {name!r} has shape {weights[name].shape}; the variable has "
                f"{tuple(variable.shape)}"
            )
    for name, variable in variables.items():
        variable.assign(weights[name])


def call_with(
    model: keras.Model, variables: Sequence[Any], values: Sequence[Any], inputs: Any, training: bool
) -> Any:
    """Return what ``model`` makes of ``inputs`` with ``values`` in place of its ``variables``."""
    with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
        return model(inputs, training=training)


@lru_cache(maxsize=8)
def _kept(*key: Any) -> list[Any]:
    """Return the list, empty at first, for what was compiled for ``key``."""
    return []


def compiled(key: Hashable, function: Any, *signature: Any) -> Any:
    """Return ``function`` of tensors and variables, compiled as the example ``signature`` says.

    For an equal ``key`` and signature it is compiled once in a process: ``key`` has to hold all
    that the function depends on besides its arguments. Every variable has to be an argument, so
    that the few functions that are kept hold nobody's model. Where
    ``tf.config.run_functions_eagerly`` is on, it stays plain Python.
    """
    if tf.config.functions_run_eagerly():
        return function
    parts = [tf.nest.flatten(part) for part in signature]
    shapes = tuple(tuple((tuple(each.shape), each.dtype) for each in part) for part in parts)
    kept = _kept(key, shapes, tf.constant(0.0).device)
    if not kept:
        made = tf.function(function, autograph=False).get_concrete_function(*signature)
        if made.captured_inputs:
            raise RuntimeError("a compiled function uses a variable that is not its argument")
        kept.append(made)
    return kept[0]


def evaluate(
    config: ModelConfig,
    weights: Weights,
    x: NDArray[np.float32],
    offsets: NDArray[np.float32],
) -> dict[str, NDArray[Any]]:
    """Return what the network makes of one batch, stage by stage, as NumPy arrays.

    ``x`` (B, N, N, C) is s0 * X, ``offsets`` (B, 1, 2, C) are relative coordinates in pixels.
    Returns ``object`` (B, N, N, 1) complex64, ``patches`` and ``extracted`` (B, N, N, C)
    complex64, ``amplitude`` and ``intensity`` (B, N, N, C) float32.
    """
    if len(x) == 0:
        return stages_of_no_groups(config)
    model = build_models(config, weights).stages
    inputs = [tf.constant(x, tf.float32), tf.constant(offsets, tf.float32)]
    return _arrays(model(inputs, training=False))


def propagate(
    config: ModelConfig,
    weights: Weights,
    patches: NDArray[np.complex64],
    offsets: NDArray[np.float32],
) -> dict[str, NDArray[Any]]:
    """Return what the physics makes of object patches (B, N, N, C), or (B, N, N, 1) for one.

    Of ``weights`` it takes ``probe`` and ``log_scale``; ``offsets`` (B, 1, 2, C) are relative
    coordinates in pixels. Returns what :func:`evaluate` does besides ``patches``.
    """
    if len(patches) == 0:
        return stages_of_no_groups(config, network=False)
    images = tf.constant(np.moveaxis(patches, -1, 1), tf.complex64)
    illumination = _illumination(config, weights["probe"].shape[0], trainable=False)
    illumination.build(images.shape)
    illumination.probe.assign(weights["probe"])
    scale = tf.constant(weights["log_scale"], tf.float32)
    places = tf.constant(offsets, tf.float32)
    return _arrays(_propagated(config, images, places, illumination, scale))


def _arrays(stages: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Return stages as NumPy arrays, channels last."""
    arrays = {name: value.numpy() for name, value in stages.items()}
    for name in arrays.keys() & {"patches", "extracted"}:
        arrays[name] = np.moveaxis(arrays[name], 1, -1)
    return arrays
