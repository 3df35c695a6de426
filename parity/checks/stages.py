"""F-8: every stage of a model by itself, each judge given the same values of the stage before."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from parity.backends import CONTRACTED
from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from parity.checks.samples import describe, sample, small_model, training
from parity.diverge.judges import REFERENCE, judge_of
from parity.diverge.model_stages import ModelRun, axes_of_stage, network_stages, physics_stages
from parity.diverge.walk import Stage, walk_shared
from ptycho.config.config import TrainingConfig


def _judge(run: Recorder, config: TrainingConfig, subjects: Iterable[str], modes: int = 1) -> None:
    given = sample(config.model, run.seed, modes=modes)
    judge = cache(lambda name: judge_of(name, config, given.weights))
    batch = ModelRun(given.weights, given.offsets, given.intensity_scale, judge)
    case = f"{describe(config)}, modes={modes}"
    stages = [
        Stage(name, axes_of_stage(name), 0.0, compute)
        for name, compute in (*network_stages(batch), *physics_stages(batch))
    ]
    walk = walk_shared(stages, (REFERENCE, *subjects), {"scaled input": given.x})
    for result in walk.results:
        for pair, found in result.distances.items():
            if REFERENCE in pair:
                (subject,) = set(pair) - {REFERENCE}
                run.judge(subject, [found], "forward.stage", case)
            else:
                run.judge(PAIR, [found], "forward.stage_pair", case)


@check("F-8", "Every block, head and step of the physics, given what the one before it gave")
def stage_by_stage(run: Recorder) -> None:
    """What is off here is off in this stage: nothing has added up, and nothing hides behind it."""
    subjects = [name for name in run.backends if name in CONTRACTED]
    variants: tuple[tuple[dict[str, Any], int], ...] = (
        ({}, 1),
        ({"N": 64, "gridsize": 2, "probe_mask": True, "gaussian_smoothing_sigma": 0.8}, 2),
        ({"gridsize": 2, "pad_object": False, "amp_activation": "swish"}, 1),
        ({"gridsize": 2, "probe_big": False, "amp_activation": "softplus"}, 1),
        ({"gridsize": 2, "object_big": False, "amp_activation": "relu"}, 1),
    )
    for fields, modes in variants:
        _judge(run, training(small_model(**fields), mae_weight=0.5), subjects, modes)
