"""The plugin's configurations, drawn at random: what is followed comes back, the rest is named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho.config import config as shared
from ptycho_torch.config_bridge import (
    to_execution_config,
    to_inference_config,
    to_model_config,
    to_training_config,
)
from ptycho_torch.config_params import DataConfig, InferenceConfig, ModelConfig, TrainingConfig

_REALS = st.floats(1e-6, 1e6)
_WHOLE = st.integers(1, 1000)

#: Fields that are followed: what may be drawn, and how to read it back off the shared ones.
FOLLOWED: dict[type, dict[str, tuple[Any, Any]]] = {
    DataConfig: {
        "nphotons": (_REALS, lambda b: b["training"].nphotons),
        "N": (st.sampled_from(shared.SUPPORTED_N), lambda b: b["model"].N),
        "K": (_WHOLE, lambda b: b["training"].neighbor_count),
        "n_subsample": (st.integers(2, 9), lambda b: b["training"].n_groups // 10),
        "probe_scale": (_REALS, lambda b: b["model"].probe_scale),
    },
    ModelConfig: {
        "mode": (
            st.sampled_from(["Unsupervised", "Supervised"]),
            lambda b: {"pinn": "Unsupervised"}.get(b["model"].model_type, "Supervised"),
        ),
        "object_big": (st.booleans(), lambda b: b["model"].object_big),
        "probe_big": (st.booleans(), lambda b: b["model"].probe_big),
        "pad_object": (st.booleans(), lambda b: b["model"].pad_object),
        "gaussian_smoothing_sigma": (_REALS, lambda b: b["model"].gaussian_smoothing_sigma),
        "loss_function": (
            st.sampled_from(["Poisson", "MAE"]),
            lambda b: "MAE" if b["training"].mae_weight else "Poisson",
        ),
        "amp_activation": (
            st.sampled_from(["silu", "sigmoid", "softplus", "relu"]),
            lambda b: {"swish": "silu"}.get(b["model"].amp_activation, b["model"].amp_activation),
        ),
        "n_filters_scale": (_WHOLE, lambda b: b["model"].n_filters_scale),
        "intensity_scale_trainable": (
            st.booleans(),
            lambda b: b["training"].intensity_scale_trainable,
        ),
        "probe_mask": (st.booleans(), lambda b: b["model"].probe_mask),
    },
    TrainingConfig: {
        "device": (st.sampled_from(["cpu", "cuda"]), lambda b: b["execution"].accelerator),
        "learning_rate": (_REALS, lambda b: b["training"].learning_rate),
        "epochs": (_WHOLE, lambda b: b["training"].nepochs),
        "batch_size": (_WHOLE, lambda b: b["training"].batch_size),
        "scheduler": (
            st.sampled_from(["Default", "Exponential", "Adaptive", "WarmupCosine"]),
            lambda b: b["training"].scheduler,
        ),
        "warmup_epochs": (_WHOLE, lambda b: b["training"].lr_warmup_epochs),
        "min_lr_ratio": (st.floats(0, 1), lambda b: b["training"].lr_min_ratio),
        "accum_steps": (_WHOLE, lambda b: b["execution"].accum_steps),
        "gradient_clip_val": (st.none() | _REALS, lambda b: b["training"].gradient_clip_val),
        "gradient_clip_algorithm": (
            st.sampled_from(["norm", "value"]),
            lambda b: b["training"].gradient_clip_algorithm,
        ),
    },
    InferenceConfig: {"batch_size": (_WHOLE, lambda b: b["execution"].inference_batch_size)},
}

#: Values of which every one is refused.
REFUSED: dict[type, dict[str, Any]] = {
    DataConfig: {
        "grid_size": st.sampled_from([(1, 2), (2,), (0, 0), (2.0, 2.0)]),
        "C": st.integers(5, 99),
        "neighbor_function": st.sampled_from(["Min_dist", "4_quadrant", ""]),
        "normalize": st.sampled_from(["Group", "None", 1]),
        "data_scaling": st.just("Max"),
        "probe_normalize": st.sampled_from([False, 1, None]),
    },
    ModelConfig: {
        "mode": st.text().filter(lambda t: t not in ("Unsupervised", "Supervised")),
        "amp_activation": st.sampled_from(["SILU", "tanh", None]),
        "batch_norm": st.sampled_from([True, 0]),
        "use_shared_decoder": st.just(True),
        "amp_loss": st.sampled_from(["Total_Variation", "Mean_Deviation"]),
        "num_datasets": st.integers(2, 9),
        "decoder_last_amp_channels": st.integers(5, 9),
    },
    TrainingConfig: {
        "scheduler": st.sampled_from(["MultiStage", "CosineAnnealing", None]),
        "n_devices": st.integers(2, 9),
        "epochs_fine_tune": st.integers(1, 9),
        "enable_staged_finetuning": st.just(True),
    },
    InferenceConfig: {
        "middle_trim": st.sampled_from([0, 65, 1.5, True]),
        "batch_size": st.sampled_from([0, -1, 2.5, True]),
        "patch_weighting": st.just("gauss"),
    },
}

_KINDS = tuple(FOLLOWED)


def _bridged(values: dict[type, dict[str, Any]]) -> dict[str, Any]:
    data, model, training, inference = (kind(**values.get(kind, {})) for kind in _KINDS)
    network = to_model_config(data, model)
    return {
        "model": network,
        "training": to_training_config(network, data, model, training, n_positions=10),
        "inference": to_inference_config(network, data, inference),
        "execution": to_execution_config(training, inference, cuda=True),
    }


_ALL = st.fixed_dictionaries(
    {
        kind: st.fixed_dictionaries({}, optional={name: drawn for name, (drawn, _) in own.items()})
        for kind, own in FOLLOWED.items()
    }
)


@given(_ALL)
def test_what_is_followed_comes_back(values: dict[type, dict[str, Any]]) -> None:
    bridged = _bridged(values)
    for kind, own in FOLLOWED.items():
        default = kind()
        for name, (_, read) in own.items():
            wanted = values[kind].get(name, getattr(default, name))
            if wanted is None and name == "probe_mask":
                wanted = False
            found = read(bridged)
            assert found == wanted, f"{kind.__name__}.{name}"
            assert type(found) is type(wanted), f"{kind.__name__}.{name}"


@given(st.data())
def test_what_is_not_is_refused_by_name(data: st.DataObject) -> None:
    values = data.draw(_ALL)
    kind = data.draw(st.sampled_from(_KINDS))
    name = data.draw(st.sampled_from(sorted(REFUSED[kind])))
    # The patch side and the trim belong together, and so do channels and grid.
    values[DataConfig].pop("N", None)
    value = data.draw(REFUSED[kind][name])
    values[kind][name] = value
    with pytest.raises(ValueError, match=rf"{kind.__name__}\.{name}"):
        _bridged(values)
