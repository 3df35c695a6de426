"""The ``cnn`` model: network, merge and physics in one module, and its Lightning wrapper.

The parameter tree is the canonical weight tree (``core/weights.py``): dots for slashes,
``weight`` for ``kernel``, OIHW for HWIO. Inputs are NCHW here and NHWC at the doors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.geometry import merge_canvas_side
from ptycho.core.resume import PLACES
from ptycho.core.stages import stages_of_no_groups
from ptycho.core.weights import DECODERS, Weights, check_weights, conv_layers
from ptycho_torch import physics
from ptycho_torch.checkpoint import RECORD, CheckpointRecord, read_safely
from ptycho_torch.layers import ACTIVATIONS, Decoder, Encoder, Head, scaled_tanh
from ptycho_torch.losses import loss_terms, total_loss
from ptycho_torch.optimisers import make_optimiser

__all__ = [
    "Batch",
    "CnnAutoencoder",
    "CnnDiffractionToObject",
    "Prediction",
    "PtychoPINN_Lightning",
    "build_model",
    "evaluate",
    "get_canonical_weights",
    "propagate",
    "set_canonical_weights",
]


class Batch(NamedTuple):
    """One batch of groups.

    ``x`` is s0 * X (B, C, N, N), ``relative`` the relative coordinates (B, 2, C) in pixels, and
    ``labels`` the ground-truth patches, complex (B, C, N, N), or ``None``. Where several
    processes share a batch of ``whole`` groups, ``weight`` is what the mean over this share counts
    for in the mean over processes (``ptycho_torch.dataloader.Share``).
    """

    x: Tensor
    relative: Tensor
    labels: Tensor | None = None
    whole: int | None = None
    weight: float = 1.0


class Prediction(NamedTuple):
    """What the model says about a batch; complex images are complex64.

    ``object`` (B, N, N) is the merged object at the group centre, ``network`` (B, O, N, N) the
    patches that the network emitted, ``patches`` (B, C, N, N) those cut from the merged object
    at the members' positions; ``amplitude`` and ``intensity`` (B, C, N, N) are the diffraction.
    """

    object: Tensor
    network: Tensor
    patches: Tensor
    amplitude: Tensor
    intensity: Tensor


class CnnDiffractionToObject(nn.Module):
    """Encoder, two decoders and merge: scaled diffraction in, object out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        layers = {layer.name: layer for layer in conv_layers(config)}
        self.encoder = Encoder(layers, "encoder")
        activations = (ACTIVATIONS[config.amp_activation], scaled_tanh)
        for name, activation in zip(DECODERS, activations, strict=True):
            self.add_module(f"{name}_decoder", Decoder(layers, f"{name}_decoder"))
            self.add_module(f"{name}_head", Head(layers, f"{name}_head", config, activation))
        self.log_scale = nn.Parameter(torch.zeros(()))
        window = physics.window_row(config.N, config.pad_object, config.probe_big)
        self.register_buffer("window", window, persistent=False)

    def network(self, x: Tensor) -> Tensor:
        """Return object patches (B, O, N, 2, N) from scaled patterns (B, C, N, N)."""
        latent = self.encoder(x / self.log_scale.exp())
        amplitude, phase = (
            self.get_submodule(f"{name}_head")(self.get_submodule(f"{name}_decoder")(latent))
            for name in DECODERS
        )
        amplitude, phase = amplitude.float(), phase.float()
        return torch.stack([amplitude * phase.cos(), amplitude * phase.sin()], dim=-2)

    def canvas(self, patches: Tensor, relative: Tensor, side: int) -> Tensor:
        """Return each group's object (B, side, 2, side) on a canvas that holds its patches."""
        if patches.shape[1] > 1:
            return physics.merge(patches, relative, side, self.window)
        margin = (side - self.config.N) // 2
        return nn.functional.pad(patches[:, 0], [margin, margin, 0, 0, margin, margin])

    def object(self, x: Tensor, relative: Tensor, side: int) -> Tensor:
        """Return the merged object, complex (B, N, N)."""
        patches = self.network(x)
        with torch.autocast(x.device.type, enabled=False):
            if patches.shape[1] == 1:
                return physics.to_complex(patches[:, 0])
            canvas = self.canvas(patches, relative, side)
            return physics.to_complex(physics.central(canvas, self.config.N))

    def forward(self, x: Tensor, relative: Tensor, side: int) -> Tensor:
        """Return the merged object, complex (B, N, N)."""
        return self.object(x, relative, side)


class CnnAutoencoder(CnnDiffractionToObject):
    """The object network followed by probe and diffraction."""

    def __init__(self, config: ModelConfig, modes: int = 1) -> None:
        super().__init__(config)
        self.probe = nn.Parameter(torch.zeros(modes, config.N, config.N, 2))
        mask = physics.probe_disc(config.N) if config.probe_mask else None
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor, relative: Tensor, side: int) -> Prediction:  # type: ignore[override]
        """Return the prediction; ``side`` is the canvas side (``geometry.merge_canvas_side``)."""
        network = self.network(x)
        # Fourier transforms and sub-pixel shifts need all of float32, whatever the network uses.
        with torch.autocast(x.device.type, enabled=False):
            return self.propagate(network, relative, side)

    def propagate(self, network: Tensor, relative: Tensor, side: int) -> Prediction:
        """Return what the physics makes of object patches (B, O, N, 2, N)."""
        N = self.config.N
        emitted = physics.to_complex(network)
        if self.config.gridsize == 1:
            patches, merged = emitted, emitted[:, 0]
        else:
            canvas = self.canvas(network, relative, side)
            patches = physics.to_complex(physics.extract(canvas, relative, N))
            merged = physics.to_complex(physics.central(canvas, N))
        probe = torch.view_as_complex(self.probe)
        sigma = self.config.gaussian_smoothing_sigma
        waves = physics.illuminate(patches, probe, sigma, self.mask)
        intensity, gain = physics.diffract(waves), self.log_scale.exp()
        return Prediction(merged, emitted, patches, gain * intensity.sqrt(), gain**2 * intensity)


# --------------------------------------------------------------------------- canonical weights


def canonical_name(name: str) -> str:
    """Return the canonical name of a parameter."""
    return name.replace(".", "/").replace("/weight", "/kernel")


def set_canonical_weights(module: nn.Module, weights: Weights) -> None:
    """Copy canonical weights into a model; ``ValueError`` names the first that does not fit.

    A ``CnnDiffractionToObject`` takes what it has of them.
    """
    check_weights(weights, module.config)  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            array = weights[canonical_name(name)]
            values = native_tensor(name, array)
            if parameter.shape != values.shape:
                raise ValueError(
                    f"weight {canonical_name(name)!r} has shape {array.shape}, which does not fit "
                    f"the model's {tuple(parameter.shape)}"
                )
            parameter.copy_(values)


def get_canonical_weights(module: nn.Module) -> Weights:
    """Return a copy of the model's weights under canonical names, float32, HWIO."""
    named = module.named_parameters()
    return {canonical_name(name): canonical_array(name, values) for name, values in named}


def native_tensor(name: str, array: NDArray[np.float32]) -> Tensor:
    """Return canonical values of a parameter as its tensor, kernels OIHW."""
    values = torch.from_numpy(np.array(array, np.float32))
    return values.permute(3, 2, 0, 1) if array.ndim == 4 and name != "probe" else values


def canonical_array(name: str, values: Tensor) -> NDArray[np.float32]:
    """Return a copy of a parameter's values, or of its gradient, with kernels HWIO."""
    values = values.detach().cpu()
    if values.ndim == 4 and name != "probe":
        values = values.permute(2, 3, 1, 0)
    return np.array(values.numpy(), np.float32, order="C")


def build_model(config: ModelConfig, weights: Weights) -> CnnAutoencoder:
    """Return the model of ``config`` holding ``weights``."""
    check_weights(weights, config)
    model = CnnAutoencoder(config, modes=weights["probe"].shape[0])
    set_canonical_weights(model, weights)
    return model


def evaluate(
    config: ModelConfig,
    weights: Weights,
    x: NDArray[np.float32],
    offsets: NDArray[np.floating[Any]],
) -> dict[str, NDArray[Any]]:
    """Return the model's outputs for x = s0 * X (B, N, N, C) and offsets (B, 1, 2, C).

    ``object`` (B, N, N, 1), ``patches`` (the network's own, before the merge), ``extracted``
    (cut from the merged object), ``amplitude`` and ``intensity``, the last four (B, N, N, C).
    """
    if len(x) == 0:
        return stages_of_no_groups(config)
    model = build_model(config, weights).eval()
    batch = to_batch(x, offsets)
    side = merge_canvas_side(config.N, float(np.abs(offsets).max()))
    with torch.inference_mode():
        return _arrays(model(batch.x, batch.relative, side))


def propagate(
    config: ModelConfig,
    weights: Weights,
    patches: NDArray[np.complex64],
    offsets: NDArray[np.floating[Any]],
) -> dict[str, NDArray[Any]]:
    """Return what the physics makes of object patches (B, N, N, C), or (B, N, N, 1) for one.

    Of ``weights`` it takes ``probe`` and ``log_scale``; ``offsets`` (B, 1, 2, C) are relative
    coordinates in pixels. Returns what :func:`evaluate` does besides ``patches``.
    """
    if len(patches) == 0:
        return stages_of_no_groups(config, network=False)
    model = CnnAutoencoder(config, modes=weights["probe"].shape[0])
    side = merge_canvas_side(config.N, float(np.abs(offsets).max()))
    relative = torch.from_numpy(np.asarray(offsets, np.float32)[:, 0])
    images = np.moveaxis(patches, -1, 1)
    parts = np.stack([images.real, images.imag], axis=-2).astype(np.float32)
    with torch.no_grad():
        model.probe.copy_(torch.from_numpy(weights["probe"]))
        model.log_scale.copy_(torch.from_numpy(np.asarray(weights["log_scale"])))
        result = model.propagate(torch.from_numpy(parts), relative, side)
    return {name: value for name, value in _arrays(result).items() if name != "patches"}


def _arrays(prediction: Prediction) -> dict[str, NDArray[Any]]:
    """Return a prediction as NumPy arrays, channels last."""
    outputs = {
        "object": prediction.object[:, None],
        "patches": prediction.network,
        "extracted": prediction.patches,
        "amplitude": prediction.amplitude,
        "intensity": prediction.intensity,
    }
    return {
        name: np.ascontiguousarray(np.moveaxis(value.numpy(), 1, -1))
        for name, value in outputs.items()
    }


def to_batch(
    x: NDArray[np.float32],
    offsets: NDArray[np.floating[Any]],
    labels: NDArray[np.complex64] | None = None,
) -> Batch:
    """Return NHWC arrays as a batch of NCHW tensors that share their memory."""
    relative = torch.from_numpy(np.asarray(offsets, np.float32)[:, 0])
    truth = None if labels is None else torch.from_numpy(labels).permute(0, 3, 1, 2)
    return Batch(torch.from_numpy(x).permute(0, 3, 1, 2), relative, truth)


# --------------------------------------------------------------------------- Lightning


class PtychoPINN_Lightning(pl.LightningModule):  # the client's name  # noqa: N801
    """A ``CnnAutoencoder`` that Lightning can train, save and load.

    ``model`` and ``training`` are the fields of :class:`ModelConfig` and
    :class:`TrainingConfig` as plain dictionaries, so that checkpoints load with
    ``weights_only``. ``modes`` is the number of probe modes, ``intensity_scale`` s0, and
    ``canvas_side`` the side that holds every group of the training data (0: that of each batch).
    With ``role`` "diffraction_to_obj" the module has no probe and only predicts.
    ``pixel_weights`` (N, N), the ``ptycho.core.patterns.pixel_weights`` of the training data, are
    set for training only; ``record`` is what a checkpoint of the plugin says besides.
    """

    loss_name = "loss"
    val_loss_name = "val_loss"

    def __init__(
        self,
        model: Mapping[str, Any],
        training: Mapping[str, Any] | None = None,
        modes: int = 1,
        intensity_scale: float = 1.0,
        canvas_side: int = 0,
        role: str = "autoencoder",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        config = ModelConfig(**model)
        self.training_config = TrainingConfig(model=config, **(training or {}))
        self.intensity_scale = intensity_scale
        self.canvas_side = canvas_side
        self.pixel_weights: Tensor | None
        self.register_buffer("pixel_weights", None, persistent=False)
        self.model: CnnDiffractionToObject
        if role == "diffraction_to_obj":
            self.model = CnnDiffractionToObject(config)
        else:
            self.model = CnnAutoencoder(config, modes)
            self.model.probe.requires_grad_(self.training_config.probe_trainable)
        self.model.log_scale.requires_grad_(self.training_config.intensity_scale_trainable)
        self.record: CheckpointRecord | None = None

    @classmethod
    def load_from_checkpoint(
        cls, checkpoint_path: Any, map_location: Any = "cpu", **settings: Any
    ) -> PtychoPINN_Lightning:
        """Load a Lightning checkpoint without executing anything that it holds.

        ``checkpoint_path`` is a path or an open binary file. ``data_config``, ``model_config``,
        ``training_config`` and ``inference_config`` (:mod:`ptycho_torch.config_params`) may be
        given; where they differ from the checkpoint's own, it wins and a warning says so.

        Raises ``FileNotFoundError``, and ``ValueError`` (``ArchiveError``) for a file that is no
        checkpoint of this package, or holds more than tensors and plain values.
        """
        given = {name: settings.pop(name, None) for name in CheckpointRecord.CONFIGS}
        settings["weights_only"] = True
        module: PtychoPINN_Lightning = read_safely(
            checkpoint_path,
            lambda: super(PtychoPINN_Lightning, cls).load_from_checkpoint(
                checkpoint_path, map_location, **settings
            ),
        )
        if module.record is not None:
            module.record.warn_of_differences(given)
        return module

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what a checkpoint of the plugin says besides weights and hyperparameters."""
        if RECORD in checkpoint:
            self.record = CheckpointRecord.from_plain(checkpoint[RECORD])

    def forward(self, x: Tensor, relative: Tensor, side: int | None = None) -> Any:
        """Return what the model returns; ``side`` defaults to ``canvas_side``."""
        side = side or self.canvas_side
        if not side:
            side = merge_canvas_side(self.model.config.N, float(relative.abs().max()))
        return self.model(x, relative, side)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the batch's weighted loss; logs ``loss``, ``nll``, ``mae`` (and ``realspace``)."""
        return self._measure(batch, "")

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the batch's loss; logs the same names as training, after ``val_``."""
        return self._measure(batch, "val_")

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Return the batch's ``loss`` and the terms it is made of."""
        result = self(batch.x, batch.relative)
        outputs = (result.amplitude, result.intensity, result.patches, batch.labels)
        terms = loss_terms(self.intensity_scale, batch.x, *outputs, self.pixel_weights)
        return {"loss": total_loss(self.training_config, terms), **terms}

    def _measure(self, batch: Batch, prefix: str) -> Tensor:
        terms = self.measure(batch)
        if batch.weight != 1:
            terms = {name: batch.weight * term for name, term in terms.items()}
        self.log_dict(
            {prefix + name: term.detach() for name, term in terms.items()},
            on_step=False,
            on_epoch=True,
            # The same in each process: Lightning averages sizes in whole numbers.
            batch_size=batch.whole or len(batch.x),
            sync_dist=self.trainer.world_size > 1,
        )
        return terms["loss"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser over the weights that train; its rate is set before each step."""
        named = ((canonical_name(n), parameter) for n, parameter in self.model.named_parameters())
        return make_optimiser(self.training_config, named)


def plain_fields(config: ModelConfig | TrainingConfig) -> dict[str, Any]:
    """Return a configuration's own fields as plain values, without a nested model or paths."""
    names = [f.name for f in dataclasses.fields(config) if f.name not in ("model", *PLACES)]
    return {name: getattr(config, name) for name in names}
