"""The stages of a model one by one: blocks and heads of the network, then its physics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from parity.backends.oracle import network
from parity.compare.axes import AXES, IMAGES
from parity.diverge.judges import Judge
from ptycho.core.weights import Weights

__all__ = ["Compute", "ModelRun", "axes_of_stage", "network_stages", "physics_stages"]

#: Returns a judge's value of a stage from the values of the stages before it, or None.
Compute = Callable[[str, Mapping[str, Any]], Any]


def axes_of_stage(name: str) -> tuple[str, ...]:
    """Return the axes of a stage's value; of blocks and heads those of an image."""
    return () if name == "loss" else AXES.get(name, IMAGES)


@dataclass(frozen=True)
class ModelRun:
    """What the stages of one batch start from, besides "scaled input".

    ``weights`` are canonical, ``offsets`` relative coordinates in pixels (B, 1, 2, C),
    ``intensity_scale`` is s0, and ``judge`` returns the judge of a name.
    """

    weights: Weights
    offsets: Any
    intensity_scale: float
    judge: Callable[[str], Judge]


def _block(run: ModelRun, name: str, given: str) -> tuple[str, Compute]:
    return name, lambda judge, values: run.judge(judge).block(name, values[given])


def network_stages(run: ModelRun) -> list[tuple[str, Compute]]:
    """Return the stages from "scaled input" to the images of both heads."""
    stages: list[tuple[str, Compute]] = [
        ("network input", lambda judge, v: run.judge(judge).scaled(v["scaled input"]))
    ]
    latent = "network input"
    for name in network.block_names(run.weights, "encoder"):
        stages.append(_block(run, name, latent))
        latent = name
    for which in ("amplitude", "phase"):
        given = latent
        for name in network.block_names(run.weights, f"{which}_decoder"):
            stages.append(_block(run, name, given))
            given = name

        def head(judge: str, v: Mapping[str, Any], which: str = which, given: str = given) -> Any:
            return run.judge(judge).head(which, v[given])

        stages.append((f"{which} head", head))
    return stages


def physics_stages(run: ModelRun) -> list[tuple[str, Compute]]:
    """Return the stages from the images of both heads to the loss."""

    def heads(values: Mapping[str, Any]) -> tuple[Any, ...]:
        return values["amplitude head"], values["phase head"], run.offsets

    def loss(judge: str, v: Mapping[str, Any]) -> Any:
        given = v["scaled input"], v["predicted amplitude"], run.intensity_scale
        return run.judge(judge).loss(*given)

    return [
        ("merged object", lambda judge, v: run.judge(judge).merged(*heads(v))),
        ("exit wave", lambda judge, v: run.judge(judge).waves(*heads(v))),
        ("predicted amplitude", lambda judge, v: run.judge(judge).amplitude(v["exit wave"])),
        ("loss", loss),
    ]
