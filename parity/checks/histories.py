"""T-4: what an epoch leaves in the history, where the last batch is smaller than the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parity.backends import TrainedRun, oracle
from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from parity.checks.samples import describe, scan_container, small_model, training
from parity.compare import compare, compare_named
from ptycho.config.config import TrainingConfig
from ptycho.core.container import PtychoDataContainer
from ptycho.core.training_plan import plan_training

_EPOCHS = 2
#: 13 groups to train on and 7 to validate with: batches of 5, 5, 3 and of 5, 2.
_UNEVEN = training(
    small_model(probe_big=False),
    batch_size=5,
    nepochs=_EPOCHS,
    validation_fraction=0.35,
    mae_weight=0.4,
    learning_rate=1e-4,
)
_TERMS = ("loss", "nll", "mae")


def _of_steps(losses: Sequence[float], sizes: Sequence[int]) -> list[float]:
    """Return the mean over all groups of each epoch from the losses of its batches."""
    by_epoch = np.asarray(losses, np.float64).reshape(_EPOCHS, len(sizes))
    return [float(mean) for mean in by_epoch @ np.asarray(sizes) / sum(sizes)]


def _of_reference(
    config: TrainingConfig, container: PtychoDataContainer, result: TrainedRun
) -> dict[str, float]:
    """Return the loss terms of all validation groups at once, under the weights that are left."""
    plan = plan_training(container, config)
    x = (container.batch_X(plan.validation) * np.float32(plan.intensity_scale)).astype(np.float64)
    offsets = container.batch_offsets(plan.validation)
    out = oracle.evaluate(config.model, result.weights, x, offsets)
    predicted = out["amplitude"], out["intensity"]
    return oracle.evaluate_losses(config, plan.intensity_scale, x, *predicted)


@check("T-4", "An epoch's values are means over groups, a short last batch by its size")
def uneven_batches(run: Recorder) -> None:
    """Training beside the losses of its steps, validation beside the reference on all groups."""
    config, container = _UNEVEN, scan_container(1, run.seed, groups=20)
    plan, case = plan_training(container, config), describe(config)
    sizes = [len(batch) for batch in plan.epoch(0)]
    if (sizes, [len(b) for b in plan.validation_batches()]) != ([5, 5, 3], [5, 2]):
        raise AssertionError(f"batches of {sizes}: the check is made for a short last one")
    steps = _EPOCHS * len(sizes)
    results = run.collect(lambda b: b.train_steps(config, container, steps), case)
    for subject, result in results.items():
        history = {name: np.asarray(values) for name, values in result.history.items()}
        absent = [n for t in _TERMS for n in (t, f"val_{t}") if len(history.get(n, ())) != _EPOCHS]
        whole = not absent and len(result.step_losses) == steps
        run.require(subject, whole, f"not a value for each epoch: {absent}", case)
        if not whole:
            continue
        expected = np.asarray(_of_steps(result.step_losses, sizes))
        found = compare(history["loss"], expected, "loss", ("epoch",))
        run.judge(subject, [found], "training.history", case)
        # The terms are means of the same groups: their weighted sum is the loss.
        total = history["nll"] + config.mae_weight * history["mae"]
        found = compare(total, expected, "nll + mae_weight * mae", ("epoch",))
        run.judge(subject, [found], "training.history", case)
        exact = _of_reference(config, container, result)
        last = {f"val_{term}": history[f"val_{term}"][-1] for term in _TERMS}
        found_all = compare_named(last, {f"val_{term}": exact[term] for term in _TERMS})
        run.judge(subject, found_all, "training.history_validation", case)
    for left, right in run.pairs(results):
        one, other = (
            {n: np.asarray(v, np.float64) for n, v in result.history.items()}
            for result in (left, right)
        )
        found_all = compare_named(one, other, dims=dict.fromkeys(one, ("epoch",)))
        run.judge(PAIR, found_all, "training.losses", case)
