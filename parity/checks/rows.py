"""Registers one check for each row of the specification's tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from parity.checks import rows_chains, rows_config, rows_files, rows_measures, rows_run, rows_text
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.spec.parse import load_specification
from parity.spec.records import INFORMATIVE_KINDS, Row, Spec

RowCheck = Callable[[Row, Recorder], None]

#: How rows of a kind are judged: function, verdicts, whether frameworks are needed.
_KINDS: dict[str, tuple[RowCheck, tuple[str, ...], bool]] = {
    "fields": (rows_config.check_field, ("backend",), False),
    "keys": (rows_config.check_key, ("backend",), False),
    "constants": (rows_config.check_constant, ("backend",), False),
    "measures": (rows_measures.check_measure, ("backend",), False),
    "layers": (rows_config.check_layer, ("backend",), False),
    "signatures": (rows_text.check_signature, ("backend",), False),
    "flags": (rows_text.check_flag, ("backend",), False),
    "shapes": (rows_run.check_shape, ("backend",), True),
    "members": (rows_run.check_member, ("backend",), True),
    "errors": (rows_files.check_error, ("backend",), True),
    "npz": (rows_files.check_npz_key, ("backend",), False),
    "stages": (rows_run.check_stage, ("backend",), True),
    "chains": (rows_chains.check_chain, ("backend",), True),
    "taps": (rows_chains.check_tap, ("backend", "pair"), True),
}


#: What comes of a cell that cannot be read, or that names what does not exist.
_UNREADABLE = (ValueError, LookupError, AttributeError, ImportError, SyntaxError)


def _check_row(function: RowCheck, row: Row, run: Recorder) -> None:
    """Judge a row; one that cannot be tried is a finding about its text."""
    try:
        function(row, run)
    except _UNREADABLE as error:
        for subject in run.backends:
            run.fail(subject, f"the row cannot be tried: {type(error).__name__}: {error}")


def check_row(row: Row, run: Recorder) -> None:
    """Judge a row of any text, by the check of its kind."""
    _check_row(_KINDS[row.kind][0], row, run)


def register_rows(spec: Spec) -> None:
    """Register a check ``table/first cell`` for every row that states a fact.

    Of rows with one id the first is checked; the reader of the text reports the others.
    """
    registered: set[str] = set()
    for row in spec.rows:
        if row.kind in INFORMATIVE_KINDS or row.id in registered:
            continue
        registered.add(row.id)
        function, judges, framework = _KINDS[row.kind]
        title = f"{row.table}: {row.text[:80]}"
        check(row.id, title, judges, framework=framework)(partial(_check_row, function, row))


def _tables(spec: Spec, kind: str, column: str) -> dict[str, set[str]]:
    tables: dict[str, set[str]] = {}
    for row in spec.rows:
        if row.kind == kind:
            tables.setdefault(row.target, set()).add(row.cells[column])
    return tables


def _register_reverse(spec: Spec) -> None:
    """Register the reverse direction: nothing exists that the tables do not list."""
    fields = _tables(spec, "fields", "Field")
    keys = _tables(spec, "keys", "Field")

    @check("R-1", "Every field of the configuration has a row", ("backend",), framework=False)
    def _fields(run: Recorder) -> None:
        rows_config.check_unspecified_fields(fields, run)

    @check("R-2", "Every key mapping has a row", ("backend",), framework=False)
    def _keys(run: Recorder) -> None:
        rows_config.check_unspecified_keys(set().union(*keys.values()), run)

    @check("R-3", "Every flag has a row or a field", ("backend",), framework=False)
    def _flags(run: Recorder) -> None:
        rows_text.check_unspecified_flags(spec, run)

    @check("R-4", "Every archive member has a row", ("backend",))
    def _members(run: Recorder) -> None:
        rows_run.check_unspecified_members(spec.of_table("archive"), run)

    @check("R-5", "Every measure that is reported has a row", ("backend",), framework=False)
    def _measures(run: Recorder) -> None:
        rows_measures.check_unspecified_measures(_tables(spec, "measures", "Measure"), run)


def _register_refusals(spec: Spec) -> None:
    """Register the clauses on refusal: they are about the Allowed columns and nothing else."""
    validated = ("model-config", "training-config", "inference-config")

    def refusals(tables: tuple[str, ...]) -> Callable[[Recorder], None]:
        rows = [row for table in tables for row in spec.of_table(table)]

        def run_all(run: Recorder) -> None:
            for row in rows:
                _check_row(rows_config.check_boundaries, row, run)

        return run_all

    for id, title, tables in (
        ("E-1", "Values that the tables do not allow are refused by both doors", validated),
        ("E-2", "Values that the table does not allow are refused on sight", ("execution-config",)),
    ):
        check(id, title, ("backend",), framework=False)(refusals(tables))


_SPEC = load_specification()
register_rows(_SPEC)
_register_reverse(_SPEC)
_register_refusals(_SPEC)
