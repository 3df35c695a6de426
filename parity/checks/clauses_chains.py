"""X: temporal clauses, judged on the traces of all scenarios."""

from __future__ import annotations

import dataclasses
import itertools

from parity.callchain.scenario import package_of, stage_symbols
from parity.callchain.stages import (
    first_entries_of,
    unconfigured,
    unrestored,
    untimely_imports,
)
from parity.callchain.watching import IMPORT
from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from parity.checks.rows_chains import stages_in, traces
from parity.spec.parse import load_specification
from ptycho.config.execution import TRAINING_FIELDS, PyTorchExecutionConfig

_CONFIGURE = "ptycho.config.config:update_legacy_dict"
_CHECKED = "ptycho.config.config:validate_training_config"


def _symbols(subject: str) -> dict[str, str]:
    return stage_symbols(load_specification().of_table("stages"), package_of(subject))


@check("X-1", "Configured before anything is loaded, grouped, built or read", ("backend",))
def configured_first(run: Recorder) -> None:
    """On the trace of every scenario that configures."""
    for subject, found in traces(run).items():
        symbols = _symbols(subject)
        touched = [symbols[stage] for stage in ("load", "group", "build")]
        scenarios = {name: t.events for name, t in found.items() if _CONFIGURE in t.events}
        run.require(subject, len(scenarios) >= 4, f"only {sorted(scenarios)} configure")
        for name, events in scenarios.items():
            early = unconfigured(events, touched)
            run.require(subject, not early, f"before update_legacy_dict: {early}", name)


@check("X-2", "The execution configuration stays out of params.cfg", ("backend",))
def execution_apart(run: Recorder) -> None:
    """By the class of what is configured, and by every key of its own that is written."""
    fields = {each.name for each in dataclasses.fields(PyTorchExecutionConfig)}
    fields -= set(TRAINING_FIELDS)
    known = {"TrainingConfig", "InferenceConfig"}
    for subject, found in traces(run).items():
        seen = {name for trace in found.values() for name in trace.configured}
        run.require(subject, bool(seen) and seen <= known, f"{sorted(seen - known)} is configured")
        for name, trace in found.items():
            written = sorted(fields & set(trace.written))
            run.require(subject, not written, f"{written} were written", name)


@check("X-3", "A bundle's configuration is restored before its model is built", ("backend",))
def restored_first(run: Recorder) -> None:
    """On the trace of every scenario that reads a bundle."""
    for subject, found in traces(run).items():
        symbols = _symbols(subject)
        for name in ("load", "infer", "cli-infer"):
            events = found[name].events
            reads = symbols["restore"] in events and "ptycho.core.workflow:adopt_bundle" in events
            run.require(subject, reads, "no bundle is read and adopted", name)
            early = unrestored(events, symbols["build"])
            run.require(subject, not early, f"built before it was restored: {early}", name)


@check("X-4", "No framework is imported before dispatch has decided", ("backend",))
def imported_late(run: Recorder) -> None:
    """In a fresh process, whose first scenario is the dispatcher's."""
    for subject, found in traces(run).items():
        events = found["dispatch"].events
        imports = [event for event in events if event.startswith(IMPORT)]
        run.require(subject, imports == [f"{IMPORT}{subject}"], f"imports: {imports}", "dispatch")
        for decides in ("ptycho.workflows.backend_selector:get_backend", _CHECKED):
            early = untimely_imports(events, decides)
            run.require(subject, not early, f"before {decides}: {early}", "dispatch")


@check("X-5", "Both backends enter the stages of every scenario in one order")
def one_order(run: Recorder) -> None:
    """By first entry; the lengths of loops may differ. Each backend has every scenario."""
    specified = {row.cells["Scenario"] for row in load_specification().of_table("chains")}
    found = {
        subject: {name: first_entries_of(stages_in(trace)) for name, trace in each.items()}
        for subject, each in traces(run).items()
    }
    for subject, each in found.items():
        missing = sorted(specified ^ set(each))
        run.require(subject, not missing, f"traced or specified only: {missing}")
    for left, right in itertools.combinations(found.values(), 2):
        for name in left:
            what = f"{' '.join(left[name])} in one, {' '.join(right[name])} in the other"
            run.require(PAIR, left[name] == right[name], what, name)
