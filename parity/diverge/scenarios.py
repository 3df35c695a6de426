"""The stages of each scenario: the taps of the specification (section 10), and blocks between.

The run is that of the recorded call chains: the built-in scan of 25 positions, groups of four, a
network of the smallest width.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from parity.backends.oracle import scaling
from parity.callchain.scenario import package_of, tiny_config
from parity.diverge.judges import REFERENCE, Judge, judge_of
from parity.diverge.model_stages import (
    Compute,
    ModelRun,
    axes_of_stage,
    network_stages,
    physics_stages,
)
from parity.diverge.plain import expected_plain, judge_plain
from parity.diverge.walk import Divergence, Stage, StageResult, judge_values
from parity.ledger import Tolerance
from parity.spec.parse import load_specification
from parity.spec.records import Row
from ptycho import params
from ptycho.config.config import TrainingConfig
from ptycho.core.container import PtychoDataContainer
from ptycho.core.training_plan import TrainingPlan, plan_training
from ptycho.raw_data import RawData
from ptycho.simulation.simulate import built_in_scan

__all__ = ["Setting", "free_walk", "shared_stages", "tap_rows"]

_M = 10


def tap_rows(scenario: str) -> list[Row]:
    """Return the rows of the taps of a scenario, in order."""
    rows = load_specification().of_table("taps")
    return [row for row in rows if row.cells["Scenario"] == scenario]


class Setting:
    """What a run starts from, and the judges of it."""

    def __init__(self, backends: Sequence[str]) -> None:
        self.backends = tuple(backends)
        self._judges: dict[str, Judge] = {}
        self._containers: dict[str, PtychoDataContainer] = {}

    @cached_property
    def config(self) -> TrainingConfig:
        """The configuration of every scenario."""
        return tiny_config(self.backends[0])

    @cached_property
    def scan(self) -> RawData:
        """The scan, as it comes from a file."""
        with tempfile.TemporaryDirectory() as folder:
            return RawData.from_file(
                built_in_scan(N=32, n_positions=25).to_file(Path(folder) / "scan.npz")
            )

    def container(self, backend: str) -> PtychoDataContainer:
        """Return the scan grouped by a backend's door; ``params.cfg`` stays as it is."""
        if backend not in self._containers:
            before = dict(params.cfg)
            door = importlib.import_module(f"{package_of(backend)}.workflows.components")
            door.require_framework()
            try:
                made = door.create_ptycho_data_container(self.scan, self.config)
            finally:
                params.cfg.clear()
                params.cfg.update(before)
            self._containers[backend] = made
        return self._containers[backend]

    @cached_property
    def plan(self) -> TrainingPlan:
        """The training of the first backend's container; both take it from the same function."""
        return plan_training(self.container(self.backends[0]), self.config)

    @cached_property
    def first_batch(self) -> Any:
        """Indices of the groups of the first batch."""
        return self.plan.epoch(0)[0]

    def offsets_of(self, indices: Any) -> Any:
        """Return the relative coordinates of groups."""
        return self.container(self.backends[0]).batch_offsets(indices)

    @property
    def model_run(self) -> ModelRun:
        """What the stages of the model start from: the first batch, with the initial weights."""
        offsets = self.offsets_of(self.first_batch)
        return ModelRun(self.plan.weights, offsets, self.plan.intensity_scale, self.judge)

    def judge(self, name: str) -> Judge:
        """Return a judge of the initial weights."""
        if name not in self._judges:
            self._judges[name] = judge_of(name, self.config, self.plan.weights)
        return self._judges[name]

    @lru_cache(maxsize=1)  # noqa: B019  # one setting lives as long as the command
    def amplitudes(self) -> Any:
        """Return the reference's amplitudes of the scan."""
        assert self.scan.diff3d is not None
        counts = bool(np.issubdtype(self.scan.diff3d.dtype, np.integer))
        return scaling.amplitudes(self.scan.diff3d, counts)


def _of_container(setting: Setting, backend: Callable[[PtychoDataContainer], Any]) -> Compute:
    def compute(judge: str, values: Mapping[str, Any]) -> Any:
        return None if judge == REFERENCE else backend(setting.container(judge))

    return compute


def _data_stages(setting: Setting) -> list[tuple[str, Compute]]:
    def normalisation(judge: str, values: Mapping[str, Any]) -> Any:
        if judge == REFERENCE:
            return np.asarray(scaling.normalisation(setting.amplitudes()))
        return np.asarray(setting.container(judge).normalisation)

    def diffraction(judge: str, values: Mapping[str, Any]) -> Any:
        if judge != REFERENCE:
            return setting.container(judge).batch_X(setting.first_batch)
        groups = np.asarray(values["groups"])[setting.first_batch]
        return scaling.grouped(setting.amplitudes(), groups, float(values["normalisation factor"]))

    def scaled(judge: str, values: Mapping[str, Any]) -> Any:
        config = setting.config
        scale = scaling.intensity_scale(config.nphotons, config.model.N)
        # A backend scales inside its training loop: what it makes of it shows when it runs free.
        return values["grouped diffraction"] * scale if judge == REFERENCE else None

    return [
        ("groups", _of_container(setting, lambda container: container.groups)),
        ("normalisation factor", normalisation),
        ("grouped diffraction", diffraction),
        ("scaled input", scaled),
    ]


def _inference_stages(setting: Setting) -> list[tuple[str, Compute]]:
    def scale() -> np.float32:
        return np.float32(setting.plan.intensity_scale)

    def model_input(judge: str, values: Mapping[str, Any]) -> Any:
        if judge != REFERENCE:
            return setting.container(judge).X * scale()
        groups = setting.container(setting.backends[0]).groups
        factor = scaling.normalisation(setting.amplitudes())
        return scaling.grouped(setting.amplitudes(), groups, factor) * float(scale())

    def predicted(judge: str, values: Mapping[str, Any]) -> Any:
        first = setting.container(setting.backends[0])
        scales = (setting.plan.intensity_scale, first.normalisation)
        offsets = setting.offsets_of(np.arange(len(first)))
        return setting.judge(judge).predict(values["model input"], offsets, scales)

    def stitched(judge: str, values: Mapping[str, Any]) -> Any:
        offsets = setting.container(setting.backends[0]).global_offsets
        return setting.judge(judge).stitch(values["object patches"], offsets, _M)

    return [
        ("model input", model_input),
        ("object patches", predicted),
        ("stitched object", stitched),
    ]


def _stage(
    name: str, compute: Compute, rows: Mapping[str, Row], tolerances: Mapping[str, Tolerance]
) -> Stage:
    id = rows[name].cells["Tolerance"] if name in rows else "forward.pair"
    limit = None if id in ("equal", "shared") else tolerances[id].value
    return Stage(name, axes_of_stage(name), limit, compute, id)


def shared_stages(
    scenario: str, setting: Setting, tolerances: Mapping[str, Tolerance]
) -> list[Stage]:
    """Return the stages of a scenario that can be computed one by one, in order."""
    rows = {row.cells["Tap"]: row for row in load_specification().of_table("taps")}
    if scenario == "train":
        run = setting.model_run
        made = [*_data_stages(setting), *network_stages(run), *physics_stages(run)]
    elif scenario in ("infer", "stitch"):
        made = _inference_stages(setting)[: 2 if scenario == "infer" else 3]
    else:
        made = []
    return [_stage(name, compute, rows, tolerances) for name, compute in made]


# --------------------------------------------------------------------------- as programs run


def _reference_values(scenario: str, stages: Sequence[Stage], setting: Setting) -> dict[str, Any]:
    """Return the reference's values of a training, each from its own earlier ones."""
    values: dict[str, Any] = {}
    if scenario != "train":
        return values
    for stage in stages:
        own = stage.compute(REFERENCE, values)
        values[stage.name] = (
            stage.compute(setting.backends[0], values) if own is None else np.asarray(own)
        )
    return values


def free_walk(
    scenario: str,
    setting: Setting,
    stages: Sequence[Stage],
    tolerances: Mapping[str, Tolerance],
) -> Divergence:
    """Run the scenario in each backend, in a process of its own, and compare what the taps saw."""
    from parity.callchain.traces import trace

    traced = trace(setting.backends, [scenario])
    reference = _reference_values(scenario, stages, setting)
    results = []
    for row in tap_rows(scenario):
        name = row.cells["Tap"]
        stage = _stage(name, lambda judge, values: None, {name: row}, tolerances)
        values = {b: traced[b][scenario].taps.get(name) for b in setting.backends}
        missing = [b for b, value in values.items() if value is None]
        if missing:
            lines = [f"{backend} never came by {row.cells['Where']}" for backend in missing]
            results.append(StageResult(stage, {}, tuple(missing), differences=lines))
        elif row.cells["Tolerance"] == "shared":
            wanted = {b: expected_plain(name, b) for b in setting.backends}
            results.append(judge_plain(stage, values, wanted))
        else:
            if name in reference and name != "groups":
                values[REFERENCE] = reference[name]
            results.append(judge_values(stage, values))
    return Divergence("free", results)
