"""Which functions a golden chain is made of: the public ones in the rooms where stages happen.

Helpers, properties and whatever formats, checks or reads bytes may change without the chain
changing: their calls belong to their callers.
"""

from __future__ import annotations

from parity.callchain.symbols import SourceFunction

__all__ = ["kept"]

_CORE = (
    *(
        "after_epoch",
        "archive",
        "bundle",
        "container",
        "grouping",
        "loading",
        "outputs",
        "resume",
        "sampling",
    ),
    *("scaling", "schedule", "stitching", "training_plan", "training_state", "weights"),
    *("weights_file", "workflow"),
)
_SHARED = ("config.config", "cli.inference", "cli.train", "raw_data", "workflows.backend_selector")
#: Rooms that either backend has; frameworks call layers as they like, so layers are none.
_WING = ("losses", "model", "model_manager", "moments", "optimisers", "physics", "training")
_OWN = ("ptycho.tensorflow_import", "ptycho_torch.torch_import", "ptycho_torch.dataloader")

ROOMS = frozenset(
    {
        *(f"ptycho.core.{name}" for name in _CORE),
        *(f"ptycho.{name}" for name in _SHARED),
        *(
            f"{wing}.{name}"
            for wing in ("ptycho", "ptycho_torch")
            for name in (*_WING, "workflows.components")
        ),
        *_OWN,
    }
)

#: Of these rooms, the functions that are means and not ends.
DETAILS = frozenset(
    {
        "ptycho.cli.inference:build_parser",
        "ptycho.cli.inference:require_paths",
        "ptycho.cli.train:build_parser",
        "ptycho.cli.train:check_crop",
        "ptycho.cli.train:declared_domain",
        "ptycho.cli.train:model_manager",
        "ptycho.cli.train:pattern_side",
        "ptycho.cli.train:require_directory",
        "ptycho.cli.train:require_file",
        "ptycho.cli.train:warn_of_torch_flags",
        "ptycho.config.config:dataclass_to_legacy_dict",
        "ptycho.config.config:validate_model_config",
        "ptycho.config.config:validate_sampling",
        "ptycho.core.archive:archive_file",
        "ptycho.core.archive:check_name",
        "ptycho.core.container:PtychoDataContainer.batch_offsets",
        "ptycho.core.grouping:row_major_order",
        "ptycho.core.sampling:batches",
        "ptycho.core.sampling:grouping_generator",
        "ptycho.core.scaling:resolve_domain",
        "ptycho.core.scaling:to_amplitude",
        "ptycho.core.training_plan:check_fits",
        "ptycho.core.training_plan:needs_labels",
        "ptycho.core.training_plan:probe_of",
        "ptycho.core.weights:conv_layers",
        "ptycho.core.weights:decoder_filters",
        "ptycho.core.weights:encoder_filters",
        "ptycho.core.weights:object_channels",
        "ptycho.core.weights:weight_shapes",
        "ptycho.model:compiled",
        "ptycho.physics:canvas_side",
        "ptycho.physics:shift_matrices",
        "ptycho.physics:window_row",
        "ptycho_torch.model:canonical_array",
        "ptycho_torch.model:canonical_name",
        "ptycho_torch.model:native_tensor",
        "ptycho_torch.model:plain_fields",
        "ptycho_torch.model:to_batch",
        "ptycho_torch.physics:shift_matrices",
        "ptycho_torch.physics:to_complex",
        "ptycho_torch.physics:window_row",
    }
)


def kept(function: SourceFunction) -> bool:
    """Tell whether calls of a function appear in a chain."""
    room = function.symbol.partition(":")[0]
    return function.public and room in ROOMS and function.symbol not in DETAILS
