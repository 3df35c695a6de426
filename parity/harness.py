"""Does the harness tell right from wrong? Made-up cases with known answers, in every gate run.

Checks elsewhere have been found that could not fail: NaN set to zero on both sides, shapes
compared with a tolerance, values paired without their names, an exception counted as a pass, an
empty list that agrees. Here each of these has a case, which takes milliseconds.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from parity.backends import NotOffered
from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import Check, CheckResult
from parity.clauses import judge
from parity.compare import compare, compare_named
from parity.ledger import Noise, Tolerance, below_noise
from parity.ledger.bindings import Binding
from parity.ledger.tolerances import loosened
from parity.spec.parse import parse_text

__all__ = ["RunCheck", "complaints"]

RunCheck = Callable[..., tuple[CheckResult, Any]]

_LIMIT = 1e-3
_TEXT = "## 1. Demo\n\n- **[1-1]** Work MUST end.\n- **[1-2]** Rest MUST follow.\n"


def _tolerance(value: float = _LIMIT, maximum: float = 0.0) -> Tolerance:
    day = datetime.date(2026, 1, 1)
    return Tolerance("made.up", value, 0.0, 0.0, maximum, 1, day, "made up", "harness")


def _pairs() -> Iterator[tuple[str, Any, Any]]:
    """Yield arrays that differ, and how; all are far apart but for one trait."""
    image = np.arange(1.0, 13.0).reshape(3, 4)
    broken = image.copy()
    broken[1, 2] = math.nan
    yield "NaN on one side", image, broken
    yield "NaN everywhere on one side", image, np.full_like(image, math.nan)
    yield "infinity on one side", image, np.where(image == 5, math.inf, image)
    yield "infinities of opposite sign", np.array([1.0, math.inf]), np.array([1.0, -math.inf])
    yield "another order of the axes", image.reshape(2, 6), image.reshape(6, 2).T
    yield "one column more", np.ones((3, 100000)), np.ones((3, 100001))
    yield "one axis more", image, image[None]
    yield "another dtype", image, image.astype(np.float32)
    yield "complex for real", image, image.astype(np.complex128)
    yield "another sign", image, -image
    yield "twice the tolerance at one element", image, image + 24 * _LIMIT * (image == 12)
    yield "numbers below one for numbers below one", np.array([0.2]), np.array([0.4])


def _of_comparison() -> Iterator[str]:
    for what, left, right in _pairs():
        for a, b in ((left, right), (right, left)):
            if compare(a, b).within(_LIMIT):
                yield f"the comparison is blind to {what}"
    image = np.arange(12.0)
    if not compare(image, image + _LIMIT / 2).within(_LIMIT):
        yield "the comparison does not allow what the tolerance allows"
    if not compare(np.zeros(3), np.zeros(3)).vacuous:
        yield "the comparison of zeros with zeros counts as one"
    names = {"weight": image, "bias": -image}
    for what, other in (
        ("a missing name", {"weight": image}),
        ("another name", {"weight": image, "offset": -image}),
        ("values under each other's names", {"weight": -image, "bias": image}),
    ):
        for a, b in ((names, other), (other, names)):
            if all(found.within(_LIMIT) for found in compare_named(a, b)):
                yield f"the comparison by name is blind to {what}"


class _Backend:
    def __init__(self, name: str) -> None:
        self.name = name


def _statuses(run_check: RunCheck, function: Callable[[Recorder], None]) -> dict[str, str]:
    backends = {name: _Backend(name) for name in ("tensorflow", "pytorch")}
    check = Check("made-up", "made up", function, frozenset({"backend", PAIR}))
    result, _ = run_check(check, backends, {}, {"made.up": _tolerance()})
    return {subject: verdict.status for subject, verdict in result.verdicts.items()}


def _offers_nothing(run: Recorder) -> None:
    raise NotOffered("made up")


def _raises(run: Recorder) -> None:
    def refuse(backend: Any) -> None:
        raise NotOffered("made up")

    run.collect(refuse)


def _asserts_nothing(run: Recorder) -> None:
    for _ in run.backends:
        compare(1.0, 2.0)


def _leaves_early(run: Recorder) -> None:
    for subject in run.backends:
        run.require(subject, True, "made up")
        return


def _compares_zeros(run: Recorder) -> None:
    for subject in (*run.backends, PAIR):
        run.judge(subject, [compare(0.0, 0.0)], "made.up")


def _differs(run: Recorder) -> None:
    for subject in (*run.backends, PAIR):
        run.judge(subject, [compare(0.2, 0.4)], "made.up")


def _of_verdicts(run_check: RunCheck) -> Iterator[str]:
    cases: tuple[tuple[str, Callable[[Recorder], None], set[str]], ...] = (
        ("is not offered", _offers_nothing, set()),
        ("raises", _raises, set()),
        ("loops over an empty list", lambda run: None, set()),
        ("does not look at its result", _asserts_nothing, set()),
        ("leaves its loop early", _leaves_early, {"tensorflow"}),
        ("compares zeros with zeros", _compares_zeros, set()),
        ("finds a difference", _differs, set()),
    )
    for what, function, green in cases:
        found = {s for s, status in _statuses(run_check, function).items() if status == "pass"}
        if found - green:
            yield f"a check that {what} passes for {', '.join(sorted(found - green))}"


def _of_clauses() -> Iterator[str]:
    spec = parse_text("made_up.md", _TEXT)
    if [clause.id for clause in spec.clauses] != ["1-1", "1-2"]:
        yield "the clauses of a text are not read"
        return
    binding = Binding("1-1", "000000000000", ("X-1",))
    verdicts = judge(spec, {"1-1": binding}, {}, ["tensorflow", "pytorch"])
    wanted = {"1-1": "suspect", "1-2": "unbound"}
    for verdict in verdicts:
        found = (verdict.worst, verdict.red)
        if found != (wanted.pop(verdict.record.id, ""), True):
            yield f"a clause that is to be suspect or unbound is {found[0]}"
    yield from (f"clause {id} has no verdict" for id in wanted)


def _of_tolerances() -> Iterator[str]:
    if not loosened(_tolerance(0.25, maximum=1e-6)):
        yield "a tolerance of a quarter over noise of a millionth is in order"
    known = {"made.up": _tolerance()}
    for what, noise in (
        ("below the noise of one backend", {"made.up": Noise("made.up", 2 * _LIMIT, 1, "")}),
        ("whose noise nobody knows", {}),
    ):
        if not below_noise(known, noise):
            yield f"a tolerance {what} is in order"
    if below_noise(known, {"made.up": Noise("made.up", _LIMIT, 1, "")}):
        yield "a tolerance as large as the noise of one backend is not"


def complaints(run_check: RunCheck) -> list[str]:
    """Return what the harness gets wrong; ``run_check`` is the gate's."""
    return [*_of_comparison(), *_of_verdicts(run_check), *_of_clauses(), *_of_tolerances()]
