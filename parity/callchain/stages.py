"""Stages of a chain: which it passes, in which order, how often, and what the order has to be.

Tables ``stages`` and ``chains`` of the specification (section 10) say what is expected.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from parity.callchain.watching import CFG_READ, IMPORT

__all__ = [
    "Expected",
    "first_entries_of",
    "misplaced",
    "read_stages",
    "stage_events",
    "unconfigured",
    "unrestored",
    "untimely_imports",
]

_ITEM = re.compile(r"([a-z]+)(\?|\+|\*|\{(\d+)(,(\d*))?\})?$")
_SHORT = {"?": (0, 1), "+": (1, math.inf), "*": (0, math.inf), None: (1, 1)}

_CONFIGURE = "ptycho.config.config:update_legacy_dict"
_ADOPT = "ptycho.core.workflow:adopt_bundle"


@dataclass(frozen=True)
class Expected:
    """A stage of a scenario and how often it may be entered."""

    stage: str
    least: int
    most: float


def read_stages(text: str) -> list[Expected]:
    """Read ``configure{1,3} load group?``; ``ValueError`` for anything else.

    A stage alone is entered once; ``?`` at most once, ``+`` at least once, ``*`` any number of
    times, ``{m}``, ``{m,}`` and ``{m,n}`` as in regular expressions.
    """
    found = []
    for item in text.split():
        match = _ITEM.match(item)
        if match is None:
            raise ValueError(f"{item!r} is no stage with a range, such as scale{{1,2}} or forward+")
        least, most = _SHORT.get(match.group(2), (0, 0))
        if match.group(3):
            least = int(match.group(3))
            upper = match.group(5)
            most = least if match.group(4) is None else int(upper) if upper else math.inf
        found.append(Expected(match.group(1), least, most))
    return found


def stage_events(events: Iterable[str], stage_of: Mapping[str, str]) -> list[str]:
    """Return the stages that events belong to, in order, each as often as it is entered."""
    return [stage_of[event] for event in events if event in stage_of]


def first_entries_of(stages: Iterable[str]) -> list[str]:
    """Return each stage once, in the order of its first entry."""
    return list(dict.fromkeys(stages))


def misplaced(stages: Sequence[str], expected: Sequence[Expected]) -> list[str]:
    """Return what is wrong with the stages of a chain: missing, extra, too often, out of order."""
    counts = Counter(stages)
    known = {each.stage for each in expected}
    found = [f"{stage} is no stage of this scenario" for stage in counts if stage not in known]
    for each in expected:
        if not each.least <= counts[each.stage] <= each.most:
            allowed = f"{each.least} to {each.most}"
            found.append(f"{each.stage} is entered {counts[each.stage]} times, not {allowed}")
    order = [each.stage for each in expected if counts[each.stage]]
    entered = [stage for stage in first_entries_of(stages) if stage in known]
    if entered != order:
        found.append(f"the order is {' '.join(entered)}, not {' '.join(order)}")
    return found


def _before(events: Sequence[str], marker: str) -> Sequence[str]:
    return events[: events.index(marker)] if marker in events else events


def unconfigured(events: Sequence[str], touched: Iterable[str]) -> list[str]:
    """Return what was touched before ``update_legacy_dict``: symbols, and reads of params."""
    names = {*touched, CFG_READ}
    return [event for event in _before(events, _CONFIGURE) if event in names]


def unrestored(events: Sequence[str], builds: str) -> list[str]:
    """Return builds of a model that were made before a bundle's configuration was adopted."""
    return [event for event in _before(events, _ADOPT) if event == builds]


def untimely_imports(events: Sequence[str], decides: str) -> list[str]:
    """Return imports of frameworks from before the backend was decided on."""
    return [event for event in _before(events, decides) if event.startswith(IMPORT)]
