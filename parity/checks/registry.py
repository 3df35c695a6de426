"""Checks by id, and what running one yields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from parity.checks.recorder import Finding, Recorder

Status = Literal["pass", "fail", "deviates", "not-run"]
CheckFunction = Callable[[Recorder], None]


@dataclass(frozen=True)
class Check:
    """A registered check. ``judges`` names the verdicts that it must be able to give.

    A check without ``framework`` needs neither TensorFlow nor torch: it runs where a backend
    cannot, and counts for that backend too. One that is not ``quick`` is left out of the fast tier
    all the same. What ``prepare`` starts, given the seed, the check gets by ``Recorder.prepared``:
    all are started before the first check runs.
    """

    id: str
    title: str
    function: CheckFunction
    judges: frozenset[str]
    framework: bool = True
    quick: bool = True
    prepare: Callable[[int], Any] | None = None

    @property
    def framework_free(self) -> bool:
        """Whether the check is about what both backends share and runs without either."""
        return "backend" not in self.judges


@dataclass(frozen=True)
class Verdict:
    """What a check says about one backend, or about the pair."""

    status: Status
    reason: str = ""


@dataclass
class CheckResult:
    """Verdicts, findings and cost of one check. ``error`` is set where the check itself broke.

    ``unnamed`` has the compared arrays of which a difference would be reported without the names
    of its axes.
    """

    id: str
    title: str
    verdicts: dict[str, Verdict]
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0
    comparisons: int = 0
    error: str = ""
    unnamed: frozenset[str] = frozenset()


_CHECKS: dict[str, Check] = {}


def check(
    id: str,
    title: str,
    judges: tuple[str, ...] = ("backend", "pair"),
    *,
    framework: bool = True,
    quick: bool = True,
    prepare: Callable[[int], Any] | None = None,
) -> Callable[[CheckFunction], CheckFunction]:
    """Register a check function under ``id``.

    ``judges`` says which verdicts it gives: ``backend`` (one for each backend), ``pair``, or both;
    ``framework`` whether it needs the backends' frameworks; ``quick`` whether it belongs to the
    fast tier where it needs none; ``prepare`` starts what takes a while, given the seed.
    Raises ``ValueError`` for an id that is taken.
    """

    def register(function: CheckFunction) -> CheckFunction:
        if id in _CHECKS:
            raise ValueError(f"two parity checks have the id {id!r}")
        _CHECKS[id] = Check(id, title, function, frozenset(judges), framework, quick, prepare)
        return function

    return register


def registered_checks() -> dict[str, Check]:
    """Return all checks by id, in the order of registration."""
    from parity.checks import catalogue

    catalogue.load()
    return dict(_CHECKS)
