"""Both texts against the code, what a change touches, and what may stand."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

import pytest

from parity.ledger import LedgerError, load_deviations
from parity.ledger.bindings import Binding, load_bindings
from parity.ledger.deviations import Deviation
from parity.ledger.redline import Acceptance, load_acceptances, stub
from parity.redline.impact import Surroundings
from parity.redline.judged import redline
from parity.redline.static import judge_row, undescribed
from parity.spec.parse import load_specification, specification_folder

ROOT = Path(__file__).parents[3]
API = "ptychodus_api_spec.md"
TEXTS = {
    path.name: path.read_text(encoding="utf-8")
    for path in sorted(specification_folder().glob("*.md"))
    if path.name != "README.md"
}
DAY = datetime.date(2026, 11, 25)


@pytest.fixture(scope="module")
def around():
    return Surroundings(ROOT, load_bindings(), load_deviations())


def edited(*pairs, name=API):
    text = TEXTS[name]
    for old, new in pairs:
        assert text.count(old) == 1, (text.count(old), old)
        text = text.replace(old, new)
    return {**TEXTS, name: text}


def line_of(path, text):
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    return f"{path}:{next(i for i, line in enumerate(lines, 1) if text in line)}"


# Each edit of the text contradicts the code at a place that a reader can find by searching.
CONTRADICTIONS = [
    (
        "default",
        ("| `nepochs` | int | `50` |", "| `nepochs` | int | `60` |"),
        ("ptycho/config/config.py", "    nepochs: int = 50"),
        ("60", "50"),
    ),
    (
        "type",
        ("| `nepochs` | int |", "| `nepochs` | float |"),
        ("ptycho/config/config.py", "    nepochs: int = 50"),
        ("float", "int"),
    ),
    (
        "settled default",
        ("| `n_groups` | int | `512` | [1, inf) or None |", "| `n_groups` | int | `None` | any |"),
        ("ptycho/config/config.py", "    n_groups: int | None = None"),
        ("None", "512"),
    ),
    (
        "enumeration",
        ("{'pinn', 'supervised'}", "{'pinn', 'supervised', 'guided'}"),
        ("ptycho/config/config.py", '"model_type": ("pinn", "supervised")'),
        ("guided", "pinn"),
    ),
    (
        "enumeration of the execution configuration",
        ("{'32-true', '16-mixed', 'bf16-mixed'}", "{'32-true', '16-mixed'}"),
        ("ptycho/config/execution.py", '"precision": ('),
        ("32-true", "bf16-mixed"),
    ),
    (
        "interval",
        ("| `0.05` | [0, 0.5] |", "| `0.05` | [0, 0.6] |"),
        ("ptycho/config/config.py", '_check_real(config, "validation_fraction"'),
        ("0.6", "0.5"),
    ),
    (
        "bound of an integer",
        ("| `batch_size` | int | `16` | [1, inf) |", "| `batch_size` | int | `16` | [0, inf) |"),
        ("ptycho/config/config.py", '_check_int(config, "batch_size", 1)'),
        ("[0, inf)", "1"),
    ),
    (
        "None",
        ("| `0.05` | [0, 0.5] |", "| `0.05` | [0, 0.5] or None |"),
        ("ptycho/config/config.py", "    validation_fraction: float"),
        ("None is allowed", "float"),
    ),
    (
        "legacy key",
        ("| `seed` | `npseed` |", "| `seed` | `rngseed` |"),
        ("ptycho/config/config.py", '"seed": "npseed"'),
        ("rngseed", "npseed"),
    ),
    (
        "constant",
        ("| intensity floor | `1e-6` |", "| intensity floor | `1e-5` |"),
        ("ptycho/core/scaling.py", "INTENSITY_FLOOR = 1e-6"),
        ("1e-5", "1e-06"),
    ),
    (
        "signature",
        (
            "| `load_inference_bundle` | `path, execution_config=None` |",
            "| `load_inference_bundle` | `path, mode=None` |",
        ),
        ("ptycho/workflows/components.py", "def load_inference_bundle("),
        ("mode", "path"),
    ),
    (
        "unit",
        ("| `spacing` | pixels |", "| `spacing` | metres |"),
        ("ptycho/core/overlap.py", '"spacing": "pixels"'),
        ("metres", "pixels"),
    ),
    (
        "field without a row",
        ("| `debug` | bool | `False` | any | client's flag, kept in `params.cfg` |\n", ""),
        ("ptycho/config/config.py", "    debug: bool = False"),
        ("nothing", "debug"),
    ),
    (
        "flag without a row",
        (
            "| `--comparison_plot` | bool | `False` | picture beside `objectGuess` |\n"
            "\n- **[7.2-2]**",
            "\n- **[7.2-2]**",
        ),
        ("ptycho/cli/inference.py", "comparison_plot: bool = False"),
        ("nothing", "comparison_plot"),
    ),
]


@pytest.mark.parametrize(
    ("edit", "place", "values"), [c[1:] for c in CONTRADICTIONS], ids=lambda c: ""
)
def test_a_contradiction_cites_both_places_and_both_values(around, edit, place, values):
    name = "overlap_metrics.md" if "spacing" in edit[0] else API
    found = redline(TEXTS, edited(edit, name=name), around, today=DAY)
    (contradiction, *_) = [c for c in found.contradictions if c.code == line_of(*place)]
    says, has = values
    assert says in contradiction.says
    assert has in contradiction.found
    assert contradiction.spec == "the specification" or contradiction.spec.startswith(
        f"specs/{name}:"
    )
    assert found.exit_code == 1
    assert any(j.impact.outcome == "ok→bad" for j in found.changes)


def test_the_place_in_the_text_is_that_of_the_row(around):
    new = edited(("| `nepochs` | int | `50` |", "| `nepochs` | int | `60` |"))
    (contradiction,) = redline(TEXTS, new, around, today=DAY).contradictions
    line = (
        new[API]
        .splitlines()
        .index(next(x for x in new[API].splitlines() if "`nepochs` | int" in x))
    )
    assert contradiction.spec == f"specs/{API}:{line + 1}"


def test_the_specification_as_it_stands_is_not_contradicted():
    spec = load_specification()
    judged = {row.id: judge_row(row) for row in spec.rows}
    assert {id: found for id, found in judged.items() if found} == {}
    assert undescribed(spec) == []
    assert sum(found is not None for found in judged.values()) > 200


@pytest.mark.parametrize(
    ("edit", "name"),
    [
        (("`save_outputs(None", "`store_outputs(None"), "store_outputs"),
        (("unless told to by `--force`", "unless told to by `--trample`"), "--trample"),
        (("through `model.h5`, and predict", "through `zebra.h5`, and predict"), "zebra.h5"),
        (("with an `ArchiveError` naming", "with a `ZebraError` naming"), "ZebraError"),
    ],
)
def test_a_clause_that_names_what_the_code_lacks_contradicts_it(around, edit, name):
    found = redline(TEXTS, edited(edit), around, today=DAY)
    (contradiction,) = found.contradictions
    assert contradiction.says == name
    assert contradiction.code.rpartition(":")[2].isdigit()


def test_each_pair_of_verdicts(around):
    right = "| `nepochs` | int | `50` | [1, inf) | epochs |"
    wrong, worse = right.replace("50", "60"), right.replace("50", "70")
    for old, new, outcome in (
        (right, right.replace("| epochs", "| rounds"), "ok→ok"),
        (right, wrong, "ok→bad"),
        (wrong, right, "bad→ok"),
        (wrong, worse, "bad→bad"),
    ):
        before = {**TEXTS, API: TEXTS[API].replace(right, old)}
        after = {**TEXTS, API: TEXTS[API].replace(right, new)}
        (judged,) = redline(before, after, around, today=DAY).changes
        assert judged.impact.outcome == outcome


def test_a_row_for_a_field_that_had_none_puts_the_text_right(around):
    row = "| `debug` | bool | `False` | any | client's flag, kept in `params.cfg` |\n"
    found = redline(edited((row, "")), TEXTS, around, today=DAY)
    (judged,) = found.changes
    assert (judged.change.rule.id, judged.impact.outcome) == ("field-added", "bad→ok")
    assert found.exit_code == 0


def test_a_change_lists_checks_deviations_goldens_docs_and_plans(tmp_path, write):
    texts = {
        "docs/a.md": "Set `nepochs` to 5.\n",
        "README.md": "one\ntwo nepochs\n",
        "tests/parity/__snapshots__/t.ambr": "x\n'nepochs': 50\n",
        "plans/active/X-1/plan.md": "- training-config/nepochs goes up\n",
    }
    write(texts)
    entry = Deviation("D-1", "training-config/nepochs", "pytorch", "s", "r", "o", DAY)
    around = Surroundings(tmp_path, {}, [entry])
    new = edited(("| `nepochs` | int | `50` |", "| `nepochs` | int | `60` |"))
    (judged,) = redline(TEXTS, new, around, today=DAY).changes
    impact = judged.impact
    assert impact.checks == ("training-config/nepochs",)
    assert impact.deviations == ("D-1 (training-config/nepochs, pytorch)",)
    assert impact.touched["goldens"] == ("tests/parity/__snapshots__/t.ambr:2",)
    # An ordinary word counts in quotes alone.
    assert impact.touched["docs"] == ("docs/a.md:1",)
    assert impact.touched["plans"] == ("plans/active/X-1/plan.md:1",)


def test_a_clause_whose_text_changed_makes_its_checks_suspect(around):
    new = edited(
        ("and no temporary file behind.\n- **[4.6-4]**", "and no file behind.\n- **[4.6-4]**")
    )
    (judged,) = redline(TEXTS, new, around, today=DAY).changes
    assert judged.change.id == "4.6-3"
    assert judged.impact.suspect
    assert judged.impact.checks == load_bindings()["4.6-3"].checks


def test_what_the_codes_text_does_not_tell_is_judged_by_running_it(around):
    from parity.redline_full import judge_by_running

    edit = ("| `spacing` | pixels | [0, inf) or None |", "| `spacing` | pixels | [0, 1] or None |")
    new = edited(edit, name="overlap_metrics.md")
    (judged,) = redline(TEXTS, new, around, today=DAY).changes
    assert judged.impact.outcome == "ok→ok"
    found = redline(TEXTS, new, around, judge=judge_by_running(), today=DAY)
    (judged,) = found.changes
    assert judged.impact.outcome == "ok→bad"
    (contradiction,) = found.contradictions
    assert contradiction.code == "check overlap-measures/spacing"
    assert "the text allows [0, 1]" in contradiction.found


def test_running_a_clauses_checks_needs_the_text_that_they_were_written_for(around):
    from parity.redline_full import judge_by_running

    judge = judge_by_running()
    spec = load_specification()
    clause = next(c for c in spec.clauses if c.id == "7.3-2")
    assert judge(clause) == []
    assert judge(dataclasses.replace(clause, text=clause.text + " Else.")) is None


# --------------------------------------------------------------------------- accepting

BASE = {"demo.md": "# Demo\n\nVersion: 0.1\n\n## 1. First\n\n- **[1-1]** Work MUST end.\n"}
LOWER = {"demo.md": BASE["demo.md"].replace("MUST", "SHOULD")}
RAISED = {"demo.md": LOWER["demo.md"].replace("0.1", "0.2")}
ENTRY = Acceptance("clause-level-lowered", "1-1", "nobody works so long", version="0.2")


@pytest.fixture
def nowhere(tmp_path):
    return Surroundings(tmp_path, {"1-1": Binding("1-1", "0", ("W-1",))}, [])


def complaints(old, new, accepted, nowhere, today=DAY):
    found = redline(old, new, nowhere, accepted, today=today)
    assert found.exit_code == bool(found.complaints)
    return found.complaints


def test_a_breaking_change_needs_an_entry_and_a_version(nowhere):
    lines = complaints(BASE, LOWER, [], nowhere)
    assert len(lines) == 2
    assert "specs/demo.md:7: clause-level-lowered: 1-1" in lines[0]
    assert "version" in lines[1]
    (line,) = complaints(BASE, RAISED, [], nowhere)
    assert "clause-level-lowered" in line
    assert complaints(BASE, RAISED, [ENTRY], nowhere) == []


def test_an_entry_with_a_date_holds_until_the_day_is_over(nowhere):
    entry = Acceptance(ENTRY.rule, ENTRY.clause, ENTRY.reason, expires=DAY)
    assert complaints(BASE, RAISED, [entry], nowhere) == []
    lines = complaints(BASE, RAISED, [entry], nowhere, DAY + datetime.timedelta(days=1))
    assert any("expired" in line for line in lines)
    assert len(lines) == 2


@pytest.mark.parametrize(
    "entry",
    [
        Acceptance("clause-level-lowered", "1-2", "r", version="0.2"),
        Acceptance("clause-removed-must", "1-1", "r", version="0.2"),
        Acceptance("clause-level-lowered", "1-1", "r", version="0.3"),
        Acceptance("no-such-rule", "1-1", "r", version="0.2"),
    ],
)
def test_an_entry_for_something_else_accepts_nothing_and_is_unused(nowhere, entry):
    lines = complaints(BASE, RAISED, [entry], nowhere)
    assert any("matches no breaking change" in line for line in lines)
    assert any("specs/demo.md:7: clause-level-lowered" in line for line in lines)


def test_an_entry_stays_while_its_version_is_the_present_one(nowhere):
    assert complaints(RAISED, RAISED, [ENTRY], nowhere) == []
    later = {"demo.md": RAISED["demo.md"].replace("0.2", "0.3")}
    (line,) = complaints(RAISED, later, [ENTRY], nowhere)
    assert "matches no breaking change" in line
    dated = Acceptance(ENTRY.rule, ENTRY.clause, ENTRY.reason, expires=DAY)
    (line,) = complaints(RAISED, RAISED, [dated], nowhere)
    assert "matches no breaking change" in line


def test_what_breaks_nobody_needs_nothing(nowhere):
    new = {"demo.md": BASE["demo.md"] + "- **[1-2]** Rest MUST follow.\n"}
    assert complaints(BASE, new, [], nowhere) == []


def test_the_printed_entry_is_read_back_once_it_has_a_reason(nowhere, tmp_path):
    found = redline(BASE, LOWER, nowhere, today=DAY)
    (text,) = found.stubs
    assert text == stub("clause-level-lowered", "1-1", "0.2")
    (tmp_path / "redline.toml").write_text(text)
    (entry,) = load_acceptances(tmp_path / "redline.toml")
    assert (entry.rule, entry.clause, entry.version) == (ENTRY.rule, ENTRY.clause, "0.2")


@pytest.mark.parametrize(
    "entry",
    [
        'rule = "a"\nclause = "b"\nreason = "c"',
        'rule = "a"\nclause = "b"\nreason = "c"\nversion = "1"\nexpires = 2027-01-01',
        'rule = "a"\nclause = "b"\nreason = " "\nversion = "1"',
        'rule = "a"\nclause = "b"\nversion = "1"',
        'rule = "a"\nclause = "b"\nreason = "c"\nexpires = "soon"',
        'rule = 1\nclause = "b"\nreason = "c"\nversion = "1"',
        'rule = "a"\nclause = "b"\nreason = "c"\nversion = "1"\nmore = 1',
    ],
)
def test_a_malformed_entry_is_refused(tmp_path, entry):
    path = tmp_path / "redline.toml"
    path.write_text(f"[[accepted]]\n{entry}\n")
    with pytest.raises(LedgerError, match="entry 1"):
        load_acceptances(path)


def test_an_entry_listed_twice_is_refused(tmp_path):
    path = tmp_path / "redline.toml"
    path.write_text(2 * stub("clause-removed-must", "1-1", "0.2"))
    with pytest.raises(LedgerError, match="twice"):
        load_acceptances(path)


def test_the_projects_own_ledger_reads():
    load_acceptances()
