"""Taps: named values at stages, taken while a scenario runs.

The table ``taps`` of the specification (section 10) says where they are, their shapes, units and
how near each other the backends have to be; this module, how each is taken from a call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.callchain.scenario import own_symbol, package_of
from parity.spec.records import Row
from ptycho import params

__all__ = ["TAPS", "Tap", "TapCollector", "Value", "in_common", "owner_of"]

#: An array, or plain values that JSON can hold.
Value = Any
Pick = Callable[[Mapping[str, Any], Any], Any]

_CHANNELS = {"tensorflow": -1, "pytorch": 1}
#: Endings of members that only one backend writes.
_NATIVE = (".keras", ".ckpt", "custom_objects.dill")


def _returned(given: Mapping[str, Any], value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Tap:
    """How a value is taken from a call of its owner, given the locals and what is returned.

    ``pick`` does it, on entry where ``entering``; ``own`` has the backends that need another way.
    ``occurrence`` counts the calls from 0. Channels come last: ``channels`` says that the
    backends keep them in different places.
    """

    purpose: str
    pick: Pick = _returned
    own: Mapping[str, Pick] = field(default_factory=dict)
    entering: bool = False
    occurrence: Mapping[str, int] = field(default_factory=dict)
    channels: bool = False


def _published(given: Mapping[str, Any], value: Any) -> Any:
    """Return what ``params.cfg`` says, without the arrays and places."""
    plain = (bool, int, float, str, type(None))
    return {key: params.cfg[key] for key in params.cfg if isinstance(params.cfg[key], plain)}


TAPS: dict[str, Tap] = {
    "groups": Tap("which positions the network sees together"),
    "normalisation factor": Tap("brings the scan's amplitude to the model's units"),
    "grouped diffraction": Tap("normalised amplitude of the first batch"),
    "scaled input": Tap(
        "what enters the network: s0 times normalised amplitude",
        lambda given, value: given["x"],
        entering=True,
        channels=True,
    ),
    "amplitude head": Tap(
        "amplitude of the object patches, before anything physical",
        own={"tensorflow": lambda given, value: given["polar"][0]},
        channels=True,
    ),
    "phase head": Tap(
        "phase of the object patches",
        own={"tensorflow": lambda given, value: given["polar"][1]},
        occurrence={"pytorch": 1},
        channels=True,
    ),
    "merged object": Tap(
        "each group's object, before it is stitched",
        lambda given, value: value.object,
        own={"tensorflow": lambda given, value: value[..., 0]},
    ),
    "exit wave": Tap("probe times extracted patch"),
    "predicted amplitude": Tap(
        "what the model expects on the detector",
        lambda given, value: given["amplitude"],
        entering=True,
        channels=True,
    ),
    "loss": Tap("what the first step descends"),
    "configuration snapshot": Tap(
        "the legacy configuration that goes into params.dill and params.json",
        lambda given, value: given["bundle"].params,
        entering=True,
    ),
    "manifest": Tap(
        "names, format, backend and checksums of the members",
        lambda given, value: json.loads(given["members"]["manifest.json"]),
        entering=True,
    ),
    "member inventory": Tap(
        "what is in the archive", lambda given, value: sorted(given["members"]), entering=True
    ),
    "extracted files": Tap("what was taken out of the archive", lambda given, value: sorted(value)),
    "params before restore": Tap(
        "what params.cfg held before the bundle was adopted", _published, entering=True
    ),
    "params after restore": Tap("what params.cfg tells of the loaded model", _published),
    "model input": Tap(
        "scaled amplitude as the loaded model takes it", lambda given, value: value[0]
    ),
    "object patches": Tap("what the loaded model predicts"),
    "stitched object": Tap("the reconstruction"),
}


def owner_of(row: Row, backend: str) -> str:
    """Return the symbol that owns a tap in a backend; ``NotOffered`` for one without a package.

    Where the backends differ, the cell has TensorFlow's symbol, a slash and PyTorch's.
    """
    places = [place.strip() for place in row.cells["Where"].split(" / ")]
    place = places[-1] if backend == "pytorch" else places[0]
    return own_symbol(place, package_of(backend))


def _concrete(value: Any) -> Value | None:
    """Return a copy of a value as NumPy or plain; ``None`` for one that is only symbolic."""
    if isinstance(value, (dict, list)):
        return json.loads(json.dumps(value, default=str, sort_keys=True))
    if hasattr(value, "detach"):
        value = value.detach()
    try:
        array = np.array(value.numpy() if hasattr(value, "numpy") else value)
    except (AttributeError, NotImplementedError, TypeError, ValueError):
        return None
    return array if array.dtype != object else None


def in_common(value: Value) -> Value:
    """Return what of a plain value is the same whichever backend wrote it.

    The backend's name, native members and checksums of what was trained are not.
    """
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if key != "backend"}
        if "checksums" in kept:
            kept["checksums"] = in_common(sorted(kept["checksums"]))
        return kept
    if isinstance(value, list):
        return [each for each in value if not str(each).endswith(_NATIVE)]
    return value


class TapCollector:
    """An observer that keeps the first concrete value of each tap of one scenario."""

    def __init__(self, scenario: str, backend: str, rows: Iterable[Row]) -> None:
        self.values: dict[str, Value] = {}
        self._backend = backend
        self._at: dict[str, list[str]] = {}
        self._seen: dict[str, int] = {}
        for row in rows:
            if row.cells["Scenario"] == scenario and row.cells["Tap"] in TAPS:
                self._at.setdefault(owner_of(row, backend), []).append(row.cells["Tap"])

    @property
    def symbols(self) -> frozenset[str]:
        """The owners of the taps."""
        return frozenset(self._at)

    def __call__(self, symbol: str, frame: FrameType, returns: bool, value: Any) -> None:
        """Take what belongs to a tap."""
        for name in self._at.get(symbol, ()):
            if name not in self.values and returns != TAPS[name].entering:
                self._take(name, TAPS[name], frame.f_locals, value)

    def _take(self, name: str, tap: Tap, given: Mapping[str, Any], value: Any) -> None:
        found = _concrete(tap.own.get(self._backend, tap.pick)(given, value))
        if found is None:
            return
        seen = self._seen.get(name, 0)
        self._seen[name] = seen + 1
        if seen == tap.occurrence.get(self._backend, 0):
            self.values[name] = self._laid_out(tap, found)

    def _laid_out(self, tap: Tap, value: Value) -> Value:
        if not tap.channels:
            return value
        array: NDArray[Any] = np.moveaxis(value, _CHANNELS[self._backend], -1)
        return array
