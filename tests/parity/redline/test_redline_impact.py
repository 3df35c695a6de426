"""What a change touches, and what may stand, at the edges of each."""

from __future__ import annotations

import datetime

import pytest

from parity.facts.members import mentioned
from parity.ledger.redline import Acceptance, stub
from parity.redline.impact import Surroundings
from parity.redline.judged import redline

DAY = datetime.date(2026, 11, 25)
HEAD = "# Demo\n\nVersion: {}\n\n## 1. First\n\n"
TABLES = {
    "fields": "Field | Type | Default | Allowed",
    "keys": "Field | Legacy key",
    "measures": "Measure | Unit | Range",
    "shapes": "Name | Shape | Dtype",
    "signatures": "Function | Parameters",
}


def demo(*lines, version="0.1"):
    return {"demo.md": HEAD.format(version) + "".join(f"{line}\n" for line in lines)}


def clause(text, id="1-1"):
    return f"- **[{id}]** {text}"


def table(kind, target, *rows):
    columns = TABLES[kind]
    rule = "|".join("---" for _ in columns.split("|"))
    head = f"<!-- table: t kind={kind} target={target} -->"
    return [head, f"| {columns} |", f"|{rule}|", *(f"| {row} |" for row in rows)]


def judged(root, old, new, accepted=()):
    return redline(old, new, Surroundings(root, {}, []), accepted, today=DAY)


@pytest.mark.parametrize(
    ("kind", "target", "row", "record"),
    [
        ("fields", "madeup.config:Flags", "`loud` | bool | `False` | any", "t/out_dir"),
        ("keys", "madeup.config:KEYS", "`width` | net.w", "t/mode"),
        ("measures", "madeup.config:KEYS", "`width` | net.w | any", "t/mode"),
    ],
)
def test_a_table_that_only_one_text_has_is_held_against_the_code_on_both_sides(
    tmp_path, madeup, kind, target, row, record
):
    with_it, without = demo(*table(kind, target, row)), demo()
    gone = judged(tmp_path, with_it, without)
    assert [j.impact.outcome for j in gone.changes] == ["ok→bad"]
    come = judged(tmp_path, without, with_it)
    assert [j.impact.outcome for j in come.changes] == ["bad→ok"]
    name = gone.changes[0].change.id
    assert {c.record for c in gone.contradictions} == {name, record}
    assert {c.record for c in come.contradictions} == {record}


def test_other_tables_have_no_reverse(tmp_path, madeup):
    with_it = demo(*table("shapes", "madeup.config:Flags", "`loud` | (N,) | int"))
    found = judged(tmp_path, with_it, demo())
    assert [j.impact.outcome for j in found.changes] == ["not judged→ok"]
    assert found.contradictions == []


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        # A word of ordinary sentences counts in quotes alone; what is telling counts anywhere.
        ("loss", "a loss\n`loss`\n'loss'\n\"loss\"\nt/loss", (2, 3, 4, 5)),
        ("net_w", "a net_w\nnet_ww\nx.net_w\nnet_w-1\nt/net_w", (1, 5)),
        ("a.bc", "an a.bc", (1,)),
        ("head/b", "the head/b", (1,)),
        ("no-op", "a no-op", (1,)),
        ("Guess", "a Guess", (1,)),
        # A short one counts with its table's name.
        ("Abc", "Abc `Abc`\nt/Abc", (2,)),
        ("Abcd", "Abcd `Abcd`\nt/Abcd", (1, 2)),
    ],
)
def test_texts_that_mention_a_row_are_listed(tmp_path, name, text, lines):
    (tmp_path / "README.md").write_text(text)
    old, new = (demo(*table("shapes", "m:C", f"`{name}` | (N,) | {t}")) for t in ("int", "float"))
    (found,) = judged(tmp_path, old, new).changes
    assert found.impact.touched["docs"] == tuple(f"README.md:{line}" for line in lines)


@pytest.mark.parametrize(("count", "more"), [(11, []), (12, []), (13, ["and 1 more"])])
def test_twelve_places_are_listed(tmp_path, count, more):
    (tmp_path / "README.md").write_text("1-1\n" * count)
    old, new = demo(clause("Work MUST end.")), demo(clause("Work SHOULD end."))
    (found,) = judged(tmp_path, old, new).changes
    lines = [f"README.md:{i}" for i in range(1, min(count, 12) + 1)]
    assert list(found.impact.touched["docs"]) == lines + more


def test_a_name_that_the_code_lacks_is_cited_where_it_has_the_old_one(tmp_path):
    text = "Each of the backends MUST take {} and keep it for ever."
    for old, new, name in (
        ("`zebra_a` and `save_outputs`", "`zebra_a` and `zebra_herd`", "save_outputs"),
        ("`zebra_a`, `load_data`, `save_outputs`", "`zebra_herd`", "load_data"),
        ("`--accum-steps`", "`--zebra-herd`", "accum_steps"),
    ):
        found = judged(tmp_path, demo(clause(text.format(old))), demo(clause(text.format(new))))
        (c,) = [c for c in found.contradictions if "herd" in c.says]
        place = mentioned(name)
        assert (c.record, c.spec) == ("1-1", "specs/demo.md:7")
        assert (c.code, c.found) == (place.anchor, place.text)


def test_a_row_that_was_renamed_is_cited_where_the_code_has_the_old_name(tmp_path):
    row = "`{}` | `path, execution_config=None`"
    old, new = (
        demo(*table("signatures", "ptycho.workflows.components", row.format(name)))
        for name in ("load_inference_bundle", "load_inference_bundles")
    )
    (found,) = judged(tmp_path, old, new).changes
    assert found.change.rule.id == "function-renamed"
    (c,) = found.impact.contradictions
    assert c.code == mentioned("load_inference_bundle").anchor


def test_contradictions_of_clauses_are_told_in_order_and_once(tmp_path):
    text = "Each of the backends MUST take {} and keep {} for ever."
    old = demo(clause(text.format("`zebra_a`", "1")))
    new = demo(clause(text.format("`zebra_z`, `zebra_b`", "2")))
    found = judged(tmp_path, old, new)
    assert len(found.changes) > 1
    assert [c.says for c in found.contradictions] == ["zebra_b", "zebra_z"]
    assert {c.found for c in found.contradictions} == {"no such name"}
    # A value that changed too is no name, and the change of the name tells where the old one is.
    old = demo(clause(text.format("`save_outputs`", "1")))
    (c,) = judged(tmp_path, old, demo(clause(text.format("`zebra_b`", "2")))).contradictions
    assert (c.says, c.code) == ("zebra_b", mentioned("save_outputs").anchor)


def test_words_of_the_documents_are_spelt_right(tmp_path):
    old, new = (demo(clause(f"Work MUST end at {word}.")) for word in ("positions", "postions"))
    assert len(judged(tmp_path, old, new).changes) == 1
    (tmp_path / "README.md").write_text("All positions.\n")
    assert judged(tmp_path, old, new).changes == []


# --------------------------------------------------------------------------- versions

LOWER = clause("Work MUST end."), clause("Work SHOULD end.")


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [("0.1", "0.1", "0.2"), ("3", "3", "3.1"), ("1.9.4", "1.9.4", "1.10"), ("0.1", "2.0", "2.0")],
)
def test_the_printed_entry_is_for_the_version_that_brings_the_change(tmp_path, old, new, wanted):
    found = judged(tmp_path, demo(LOWER[0], version=old), demo(LOWER[1], version=new))
    assert found.stubs == [stub("clause-level-lowered", "1-1", wanted)]
    assert found.versions == {"demo.md": (old, new)}


def test_a_text_without_a_version_gets_its_first(tmp_path):
    old, new = ({"demo.md": f"{line}\n"} for line in LOWER)
    found = judged(tmp_path, old, new)
    assert found.stubs == [stub("clause-level-lowered", "1-1", "0.1")]
    assert found.versions == {}
    assert len(found.complaints) == 1


def test_a_text_that_is_new_has_had_no_version(tmp_path):
    assert judged(tmp_path, {}, demo(version="1.0")).versions == {"demo.md": ("", "1.0")}


def test_a_version_that_sinks_is_none_that_brings_a_change(tmp_path):
    found = judged(tmp_path, demo(LOWER[0], version="0.2"), demo(LOWER[1], version="0.1"))
    assert "specs/demo.md: a breaking change needs a higher version than 0.2" in found.complaints


def test_the_text_that_had_the_clause_is_the_one_whose_version_counts(tmp_path):
    head = HEAD.format("1.0")
    text = "What a reader takes MUST be kept as it is for {}."
    old = {"a.md": head + clause(text.format("ever")) + "\n", "b.md": head}
    weaker = text.replace("MUST", "SHOULD").format("ever")
    new = {"a.md": head, "b.md": HEAD.format("1.1") + clause(weaker) + "\n"}
    found = judged(tmp_path, old, new)
    assert [c for c in found.complaints if "higher" in c] == [
        "specs/a.md: a breaking change needs a higher version than 1.0"
    ]


def test_an_entry_of_this_version_stays_while_nothing_breaks(tmp_path):
    entry = Acceptance("clause-level-lowered", "9-9", "r", version="0.1")
    old, fine = demo(LOWER[0]), demo(LOWER[0], clause("Tea MAY be hot.", "1-2"))
    assert judged(tmp_path, old, fine, [entry]).complaints == []
    lines = judged(tmp_path, old, demo(LOWER[1]), [entry]).complaints
    assert f"{entry} matches no breaking change: remove it" in lines
