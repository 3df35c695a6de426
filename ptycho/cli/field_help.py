"""One line of help per configuration field, for the command lines."""

from __future__ import annotations

__all__ = ["EXECUTION", "MODEL", "RUN"]

#: Fields of ``ModelConfig``.
MODEL: dict[str, str] = {
    "N": "side of a diffraction pattern in pixels; read from the data unless given",
    "gridsize": "gridsize**2 neighbouring positions form a group",
    "n_filters_scale": "width of the network: multiplies the number of filters",
    "model_type": "fit the diffraction (pinn) or labels in the data (supervised)",
    "architecture": "the network",
    "amp_activation": "activation of the object amplitude",
    "object_big": "merge the patches of a group into one object",
    "probe_big": "let the network fill the border of a patch too",
    "probe_mask": "cut the exit wave with a disc of radius N/4",
    "pad_object": "let the inner decoders fill the central half of a patch",
    "probe_scale": "gauge between probe and object",
    "gaussian_smoothing_sigma": "blur of the exit wave in pixels",
}

#: Fields of ``TrainingConfig`` and ``InferenceConfig``.
RUN: dict[str, str] = {
    "train_data_file": "scan to train on (NPZ, ptychodus HDF5 or CXI)",
    "test_data_file": "scan to reconstruct (NPZ, ptychodus HDF5 or CXI)",
    "model_path": "bundle: the directory holding wts.h5.zip, the file, or an unpacked bundle",
    "output_dir": "directory for the results",
    "backend": "who computes",
    "batch_size": "groups per optimiser step",
    "nepochs": "epochs to train",
    "mae_weight": "weight of the amplitude's mean absolute error",
    "nll_weight": "weight of the Poisson negative log-likelihood",
    "realspace_mae_weight": "weight of the mean absolute error within the real-space term",
    "realspace_weight": "weight of the real-space term",
    "nphotons": "mean photons per pattern; read from the data's metadata unless given",
    "n_groups": "groups to draw (unset: 512 in training, every position in inference)",
    "n_images": "deprecated name of n_groups",
    "n_subsample": "scan positions to keep, drawn at random",
    "subsample_seed": "seed of that draw",
    "neighbor_count": "nearest neighbours among which a group is drawn",
    "enable_oversampling": "allow more groups than positions",
    "neighbor_pool_size": "neighbours to choose from when oversampling",
    "positions_provided": "the data holds measured positions",
    "probe_trainable": "refine the probe",
    "intensity_scale_trainable": "refine the intensity scale",
    "sequential_sampling": "take the first positions in scan order instead of a random draw",
    "seed": "seed of weights, groups, validation split and epoch order",
    "validation_fraction": "part of the groups kept for validation",
    "learning_rate": "initial learning rate",
    "optimizer": "the optimiser",
    "adam_beta1": "decay of Adam's first moment",
    "adam_beta2": "decay of Adam's second moment",
    "gradient_clip_val": "bound of the gradient",
    "gradient_clip_algorithm": "clip the gradient's norm or each value",
    "scheduler": "learning rate schedule",
    "lr_warmup_epochs": "WarmupCosine: epochs of linear warm-up",
    "lr_min_ratio": "WarmupCosine: last learning rate over the first",
    "plateau_factor": "ReduceLROnPlateau: factor of a reduction",
    "plateau_patience": "ReduceLROnPlateau: epochs without progress before a reduction",
    "plateau_min_lr": "ReduceLROnPlateau: smallest learning rate",
    "plateau_threshold": "ReduceLROnPlateau: relative progress that counts",
    "measurement_domain": "what diff3d holds; auto: integers are counts, others amplitude",
    "resume": "bundle whose training goes on; nepochs counts the epochs it has had",
    "debug": "also write patches and offsets (debug.npz)",
    "do_stitching": "stitch the reconstruction of the test data (else of the training data)",
    "M": "side of the central square of each patch that is stitched, in pixels",
    "flip_x": "mirror the scan's x coordinates when stitching",
    "flip_y": "mirror the scan's y coordinates when stitching",
    "transpose": "transpose each patch when stitching",
    "comparison_plot": "also draw the result beside the data's objectGuess",
}

#: Fields of ``PyTorchExecutionConfig``.
EXECUTION: dict[str, str] = {
    "accelerator": "device kind",
    "devices": "number of devices, or auto",
    "strategy": "Lightning strategy, such as ddp",
    "deterministic": "repeatable algorithms; warn where there are none",
    "precision": "floating-point precision",
    "accum_steps": "batches whose gradients are added before a step",
    "num_workers": "processes that load data",
    "enable_progress_bar": "show progress while training",
    "inference_batch_size": "groups per batch in inference",
}
