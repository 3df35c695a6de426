"""What the command line shows: a line per check, and for a failing one what to look at."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from parity import process
from parity.checks.recorder import PAIR
from parity.checks.registry import Check, CheckResult
from parity.failures import red_lines
from parity.gate import GateReport
from parity.ledger.bindings import stub
from parity.standing import LEDGER_ID, SPEC_ID

_STYLES = {"pass": "green", "fail": "bold red", "deviates": "yellow", "not-run": "yellow"}
#: Columns that are always there; third backends come after them.
_COLUMNS = ("tensorflow", "pytorch", PAIR)
_SHOWN_FINDINGS = 8
_WIDTH = 12


class Terminal:
    """Writes reports to standard output; ``seed`` goes into the lines that reproduce a failure."""

    def __init__(self, seed: int) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._seed = seed
        self._columns: list[str] = []
        self._said: set[str] = set()

    def say(self, text: str) -> None:
        """Write plain text."""
        self._console.print(Text(text))

    def show_checks(self, checks: Iterable[Check]) -> None:
        """List checks with their titles."""
        for check in checks:
            self._console.print(Text(f"{check.id:<8}{check.title}"))

    def show_result(self, result: CheckResult) -> None:
        """Write one line for a check, and what a failing one found.

        Rows of the specification are many; one is shown only if it does not hold.
        """
        if "/" in result.id and not result.error and _all_pass(result):
            return
        self._head(result)
        line = Text(f"{result.id:<8}")
        for name in self._columns:
            verdict = result.verdicts.get(name)
            status = verdict.status if verdict else "·"
            line.append(f"{status:<{_WIDTH}}", _STYLES.get(status, "dim"))
        line.append(f"{result.seconds:6.1f} s  {result.title}")
        self._console.print(line)
        for name, verdict in result.verdicts.items():
            reason = f"{name}: {verdict.reason}"
            # An absent backend has one reason for all checks.
            if verdict.reason and not (verdict.status == "not-run" and reason in self._said):
                self._console.print(Text(f"          {reason}", "yellow"))
            self._said.add(reason)
        if result.error:
            self._console.print(Text(result.error, "red"))
        if result.id not in (LEDGER_ID, SPEC_ID):
            self._show_findings(result)

    def _head(self, result: CheckResult) -> None:
        """Write the names of the columns; again where a further backend appears."""
        new = [name for name in result.verdicts if name not in (*_COLUMNS, *self._columns)]
        if not self._columns or new:
            self._columns = [*(self._columns or _COLUMNS), *new]
            names = "".join(f"{name:<{_WIDTH}}" for name in self._columns)
            self._console.print(Text(f"{'check':<8}{names}", "bold"))

    def _show_findings(self, result: CheckResult) -> None:
        failing = [f for f in result.findings if _fails(result, f.subject)]
        for finding in failing[:_SHOWN_FINDINGS]:
            self._console.print(Text(f"          {finding.subject}: {finding.what}", "red"))
            if finding.case:
                self._console.print(Text(f"            in {finding.case}"))
        if len(failing) > _SHOWN_FINDINGS:
            self.say(f"          and {len(failing) - _SHOWN_FINDINGS} more")
        for subject in sorted({finding.subject for finding in failing}):
            only = "" if subject == PAIR else f" --backend {subject}"
            again = f"parity check --id {result.id}{only} --seed {self._seed}"
            self.say(f"          reproduce: {again}")

    def show_summary(self, report: GateReport) -> None:
        """Write the counts of verdicts."""
        summary = report.summary
        counts = ", ".join(
            f"{summary[s]} {s}" for s in ("pass", "fail", "deviates", "not-run") if summary[s]
        )
        style = "green" if report.exit_code == 0 else "bold red"
        results = {result.id: result for result in report.checks}
        for line in red_lines(report.clauses, results, self._seed):
            self._console.print(Text(line, "red"))
        for verdict in report.clauses:
            if verdict.worst == "unbound":
                self.say(stub(verdict.record.id, verdict.record.hash, verdict.record.text))
        self.say(
            f"{summary['clauses']} clauses and rows of the specification, "
            f"{summary['clauses_red']} red"
        )
        self._console.print(
            Text(
                f"{summary['checks']} checks, {summary['comparisons']} comparisons: {counts} "
                f"({report.seconds:.0f} s)",
                style,
            )
        )
        self._console.print(Text(process.in_force_line(), "dim"))


def _all_pass(result: CheckResult) -> bool:
    return all(verdict.status == "pass" for verdict in result.verdicts.values())


def _fails(result: CheckResult, subject: str) -> bool:
    verdict = result.verdicts.get(subject)
    return verdict is not None and verdict.status in ("fail", "not-run")
