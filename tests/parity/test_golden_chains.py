"""Sixteen golden call chains: eight scenarios in either backend.

Replace them with ``make goldens REASON="..."``; the reason lands in golden_chain_updates.md.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from syrupy.extensions.json import JSONSnapshotExtension

from parity.callchain.changes import describe
from parity.callchain.golden import dump, golden, log_update
from parity.callchain.jobs import DESCRIPTIONS
from parity.callchain.symbols import source_functions
from parity.callchain.traces import missing_framework, traces_of

pytestmark = pytest.mark.parity

BACKENDS = ("tensorflow", "pytorch")
FOLDER = Path(__file__).parent / "__snapshots__" / Path(__file__).stem
NAMES = [f"{scenario}-{backend}" for backend in BACKENDS for scenario in DESCRIPTIONS]


class GoldenChain(JSONSnapshotExtension):
    """A JSON file for each chain; equal is what calls the same, whatever the bodies are."""

    def serialize(self, data, **kwargs):
        return dump(data)

    def matches(self, *, serialized_data, snapshot_data):
        return json.loads(serialized_data)["chain"] == json.loads(snapshot_data)["chain"]

    @classmethod
    def write_snapshot_collection(cls, *, snapshot_collection, **options):
        path = Path(snapshot_collection.location)
        old = json.loads(path.read_text()) if path.exists() else None
        new = json.loads(next(iter(snapshot_collection)).data)
        reason = os.environ.get("PARITY_GOLDEN_REASON", "")
        log_update(Path(__file__).parent, path.stem, reason, old, new)
        super().write_snapshot_collection(snapshot_collection=snapshot_collection, **options)


def _changes(name, found):
    path = FOLDER / f"{name}.json"
    return describe(json.loads(path.read_text()), found) if path.exists() else ["no golden yet"]


@pytest.fixture(scope="module")
def traces():
    missing = [why for why in map(missing_framework, BACKENDS) if why]
    if missing:
        pytest.skip("; ".join(missing))
    return traces_of(BACKENDS)


@pytest.mark.parametrize("name", NAMES)
def test_chain(name, traces, snapshot):
    scenario, _, backend = name.rpartition("-")
    found = golden(traces[backend][scenario].chain, source_functions())
    same = found == snapshot(extension_class=GoldenChain)
    assert same, "\n".join(["the chain has changed:", *_changes(f"test_chain[{name}]", found)])


def test_no_golden_is_missing_and_none_is_unused():
    stored = {path.name for path in FOLDER.iterdir()}
    assert stored == {f"test_chain[{name}].json" for name in NAMES}


def test_every_scenario_is_quick(traces):
    slow = {(b, n): t.cpu_seconds for b, each in traces.items() for n, t in each.items()}
    assert {key: seconds for key, seconds in slow.items() if seconds > 20} == {}
