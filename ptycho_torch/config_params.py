"""Configurations of the client's plugin "PtychoPINN-Torch" (standard library only).

Every keyword that the client passes is a field here, with the client's default.
:mod:`ptycho_torch.config_bridge` translates them into :mod:`ptycho.config.config` and says which
of them do something here. Constructors never validate: the client builds these in its own
process, pickles them and sends them to the one that trains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["DataConfig", "DatagenConfig", "InferenceConfig", "ModelConfig", "TrainingConfig"]


@dataclass
class DataConfig:
    """The scan and its groups.

    ``N`` is the side of a pattern in pixels, ``C`` the members of a group, ``grid_size`` their
    rows and columns, ``K`` the nearest neighbours from which a group is drawn, ``n_subsample``
    the groups per position of a training with C > 1. ``x_bounds`` and ``y_bounds`` are the part
    of the scan's range that is trained on.
    """

    nphotons: float = 1e9
    N: int = 64
    C: int = 4
    K: int = 6
    K_quadrant: int = 30
    n_subsample: int = 7
    grid_size: tuple[int, int] = (2, 2)
    neighbor_function: str = "Nearest"
    min_neighbor_distance: float = 0.0
    max_neighbor_distance: float = 3.0
    scan_pattern: str = "Isotropic"
    normalize: str = "Batch"
    probe_scale: float = 4.0
    probe_normalize: bool = True
    probe_ramp_removal: bool = False
    data_scaling: str = "Parseval"
    phase_subtraction: bool = True
    x_bounds: tuple[float, float] = (0.1, 0.9)
    y_bounds: tuple[float, float] = (0.1, 0.9)


@dataclass
class ModelConfig:
    """The network, the physics around it, and the loss."""

    mode: str = "Unsupervised"
    object_big: bool = True
    probe_big: bool = True
    pad_object: bool = True
    gaussian_smoothing_sigma: float = 0.0
    loss_function: str = "Poisson"
    amp_activation: str = "silu"
    n_filters_scale: int = 2
    C_model: int = 4
    C_forward: int = 4
    decoder_last_amp_channels: int = 1
    use_shared_decoder: bool = False
    intensity_scale_trainable: bool = False
    intensity_scale: float = 10000.0
    max_position_jitter: int = 10
    num_datasets: int = 1
    amp_loss: str | None = None
    phase_loss: str | None = None
    amp_loss_coeff: float = 1.0
    phase_loss_coeff: float = 1.0
    probe_mask: Any = None
    batch_norm: bool = False
    edge_pad: int = 10
    decoder_last_c_outer_fraction: float = 0.125
    eca_encoder: bool = False
    cbam_encoder: bool = True
    cbam_bottleneck: bool = False
    cbam_decoder: bool = False
    eca_decoder: bool = False
    spatial_decoder: bool = False
    decoder_spatial_kernel: int = 7
    offset: int = 6
    probe_reference_coeff: float = 0.0
    amplitude_variance_loss: bool = False
    amplitude_variance_coeff: float = 0.01


@dataclass
class TrainingConfig:
    """One training and what it runs on."""

    nll: bool = True
    device: str = "cuda"
    strategy: str | None = "ddp_spawn"
    n_devices: int = 1
    framework: str = "Lightning"
    orchestrator: str = "Lightning"
    learning_rate: float = 1e-3
    epochs: int = 50
    batch_size: int = 16
    epochs_fine_tune: int = 0
    fine_tune_gamma: float = 0.1
    scheduler: str = "Default"
    warmup_epochs: int = 0
    min_lr_ratio: float = 0.1
    num_workers: int = 4
    accum_steps: int = 1
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: str = "norm"
    notes: str = ""
    model_name: str = "PtychoPINNv2"
    enable_staged_finetuning: bool = False
    finetune_stage1_epochs: int = 7
    finetune_stage2_epochs: int = 7
    finetune_stage3_epochs: int = 5
    finetune_stage1_lr_decoder: float = 0.1
    finetune_stage2_lr_encoder_top: float = 0.01
    finetune_stage2_lr_decoder: float = 0.05
    finetune_stage2_lr_phase_head: float = 0.1
    finetune_stage3_lr_encoder_bottom: float = 0.005
    finetune_stage3_lr_encoder_top: float = 0.01
    finetune_stage3_lr_decoder: float = 0.02
    finetune_stage3_lr_phase_head: float = 0.05
    finetune_skip_stage3: bool = True
    finetune_early_stop_patience: int = 3
    finetune_val_split: float = 0.05


@dataclass
class InferenceConfig:
    """One reconstruction; the central ``middle_trim`` pixels of each patch are stitched."""

    middle_trim: int = 32
    batch_size: int = 1000
    experiment_number: int = 0
    pad_eval: bool = True
    window: int = 20
    patch_weighting: str = "probe"


@dataclass
class DatagenConfig:
    """Simulation settings, of which the client sets none; scans come from ``ptycho.simulation``."""
