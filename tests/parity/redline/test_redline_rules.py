"""A case for every rule of the redline, and what is no change at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.redline.classify import classify
from parity.redline.rules import LEVELS, RULES, rule_lines

HEAD = "# Demo\n\nVersion: 1.0\n\n## 1. First\n\n"
COLUMNS = {
    "fields": "Field | Type | Default | Allowed | Meaning",
    "flags": "Flag | Type | Default | Field",
    "keys": "Field | Legacy key",
    "shapes": "Name | Shape | Dtype | Meaning",
    "members": "Member | Kind | Required | Content",
    "signatures": "Function | Parameters",
    "errors": "Situation | Error | Phrase",
    "npz": "Key | Shape | Dtype | Required | Meaning",
    "stages": "Stage | Taps | Where",
    "constants": "Name | Value | Where",
    "measures": "Measure | Unit | Range | Meaning",
    "layers": "Layer | Shape",
    "decisions": "Topic | Decision | Why",
    "chains": "Scenario | Chain",
}


def table(kind, *rows, name="", target="m:C"):
    columns = COLUMNS[kind]
    rule = "|".join("---" for _ in columns.split("|"))
    lines = [f"| {columns} |", f"|{rule}|", *(f"| {row} |" for row in rows)]
    return f"<!-- table: {name or kind} kind={kind} target={target} -->\n" + "\n".join(lines) + "\n"


def clause(text, id="1-1"):
    return f"- **[{id}]** {text}\n"


def rules_of(old, new):
    found = classify({"demo.md": HEAD + old}, {"demo.md": HEAD + new})
    return [change.rule.id for change in found]


def rows(rule, kind, old, new):
    """Return a case in which one row among others differs; an empty text is no row."""
    other = {
        "fields": "`other` | str | `'q'` | any | of no importance",
        "flags": "`--other` | str | `'q'` | of no importance",
        "keys": "`other` | `other.key`",
        "shapes": "`other` | (Q,) | int64 | of no importance",
        "members": "`other.bin` | json | both | of no importance",
        "signatures": "`other` | `self`",
        "errors": "of no importance | OSError | anything",
        "npz": "`other` | (q,) | int | no | of no importance",
        "stages": "`other` | nothing | `m:other`",
        "constants": "other | `99` | `m:OTHER`",
        "measures": "`other` | q | [5, 6] | of no importance",
        "layers": "`other` | (7, 7)",
        "decisions": "other | none | of no importance",
        "chains": "other | none",
    }[kind]
    return rule, table(kind, other, *filter(None, [old])), table(kind, other, *filter(None, [new]))


SAVING = "Saving a bundle of weights MUST leave no temporary file behind."
FIELD = "`width` | int | `2` | [1, 8] | width of the network"
ENUM = "`mode` | str | `'a'` | {{{}}} | what it does"

CASES = [
    ("clause-added-must", "", clause(SAVING)),
    ("clause-added-should", "", clause(SAVING.replace("MUST", "SHOULD"))),
    ("clause-added-may", "", clause(SAVING.replace("MUST", "MAY"))),
    ("clause-removed-must", clause(SAVING), ""),
    ("clause-removed-should", clause(SAVING.replace("MUST", "SHOULD")), ""),
    ("clause-removed-may", clause(SAVING.replace("MUST", "MAY")), ""),
    (
        "clause-moved",
        clause(SAVING) + "\n## 2. Second\n\n" + clause("Work MUST end.", "2-1"),
        "\n## 2. Second\n\n" + clause("Work MUST end.", "2-1") + clause(SAVING),
    ),
    ("clause-renamed", clause(SAVING), clause(SAVING, "1-7")),
    (
        "clause-replaced",
        clause(SAVING),
        clause("Grouping MUST draw from the seed of the configuration alone."),
    ),
    ("clause-level-raised", clause("Work SHOULD end soon."), clause("Work MUST end soon.")),
    ("clause-level-lowered", clause(SAVING), clause(SAVING.replace("MUST", "MAY"))),
    ("clause-level-reversed", clause(SAVING), clause(SAVING.replace("MUST", "MUST NOT"))),
    (
        "clause-value-changed",
        clause("The true object MUST come back with a correlation above 0.999."),
        clause("The true object MUST come back with a correlation above 0.99."),
    ),
    (
        "clause-value-changed",
        clause("The manifest MUST carry the version `'2.0'` of the layout."),
        clause("The manifest MUST carry the version `'2.1'` of the layout."),
    ),
    (
        "clause-error-changed",
        clause("An unknown backend MUST be refused with `ValueError` at once."),
        clause("An unknown backend MUST be refused with `KeyError` at once."),
    ),
    (
        "clause-flag-changed",
        clause("Conversion MUST keep a file that exists unless `--force` is given."),
        clause("Conversion MUST keep a file that exists unless `--overwrite` is given."),
    ),
    (
        "clause-member-changed",
        clause("Each backend MUST load either bundle through `model.h5` alone."),
        clause("Each backend MUST load either bundle through `weights.h5` alone."),
    ),
    (
        "clause-symbol-changed",
        clause("The steps of every training MUST come from `core.schedule` alone."),
        clause("The steps of every training MUST come from `core.sampling` alone."),
    ),
    (
        "clause-subject-changed",
        clause("Training MUST leave no temporary file behind."),
        clause("Inference MUST leave no temporary file behind."),
    ),
    (
        "clause-text-changed",
        clause(SAVING),
        clause(SAVING.replace("no temporary file", "at most one temporary file")),
    ),
    rows("field-added", "fields", "", FIELD),
    rows("field-added-required", "fields", "", FIELD.replace("`2`", "required")),
    rows("field-removed", "fields", FIELD, ""),
    rows("field-renamed", "fields", FIELD, FIELD.replace("`width`", "`breadth`")),
    (
        "field-moved",
        table("fields", FIELD, name="a") + "\n" + table("fields", ENUM.format("'a'"), name="b"),
        table("fields", name="a") + "\n" + table("fields", ENUM.format("'a'"), FIELD, name="b"),
    ),
    rows("field-type-widened", "fields", FIELD, FIELD.replace("int", "float")),
    rows("field-type-changed", "fields", FIELD, FIELD.replace("int", "str")),
    rows("field-default-changed", "fields", FIELD, FIELD.replace("`2`", "`3`")),
    rows("field-became-required", "fields", FIELD, FIELD.replace("`2`", "required")),
    rows("field-became-optional", "fields", FIELD.replace("`2`", "required"), FIELD),
    rows("field-enum-narrowed", "fields", ENUM.format("'a', 'b'"), ENUM.format("'a'")),
    rows("field-enum-widened", "fields", ENUM.format("'a'"), ENUM.format("'a', 'b'")),
    rows("field-enum-changed", "fields", ENUM.format("'a', 'b'"), ENUM.format("'a', 'c'")),
    rows("field-range-narrowed", "fields", FIELD, FIELD.replace("[1, 8]", "[1, 8)")),
    rows("field-range-narrowed", "fields", FIELD, FIELD.replace("[1, 8]", "(1, 8]")),
    rows("field-range-widened", "fields", FIELD, FIELD.replace("[1, 8]", "[1, inf)")),
    rows("field-range-moved", "fields", FIELD, FIELD.replace("[1, 8]", "[2, 9]")),
    rows("field-allowed-changed", "fields", FIELD, FIELD.replace("[1, 8]", "{1, 2, 8}")),
    rows("field-none-allowed", "fields", FIELD, FIELD.replace("[1, 8]", "[1, 8] or None")),
    rows("field-none-refused", "fields", FIELD.replace("[1, 8]", "[1, 8] or None"), FIELD),
    rows("field-meaning-changed", "fields", FIELD, FIELD.replace("width of", "filters in")),
    rows("flag-added", "flags", "", "`--loud` | bool | `False` | say more"),
    rows("flag-removed", "flags", "`--loud` | bool | `False` | say more", ""),
    rows(
        "flag-renamed",
        "flags",
        "`--loud` | bool | `False` | say more",
        "`--noisy` | bool | `False` | say more",
    ),
    (
        "flag-moved",
        table("flags", "`--loud` | bool | `False` | say more", name="a")
        + "\n"
        + table("flags", "`--q` | int | `1` | q", name="b"),
        table("flags", name="a")
        + "\n"
        + table("flags", "`--q` | int | `1` | q", "`--loud` | bool | `False` | say more", name="b"),
    ),
    rows(
        "flag-type-changed",
        "flags",
        "`--loud` | int | `None` | say more",
        "`--loud` | str | `None` | say more",
    ),
    rows(
        "flag-default-changed",
        "flags",
        "`--loud` | int | `1` | say more",
        "`--loud` | int | `2` | say more",
    ),
    rows(
        "flag-meaning-changed",
        "flags",
        "`--loud` | int | `1` | say more",
        "`--loud` | int | `1` | say how much",
    ),
    rows("key-added", "keys", "", "`width` | `w`"),
    rows("key-removed", "keys", "`width` | `w`", ""),
    rows("key-changed", "keys", "`width` | `w`", "`width` | `net.w`"),
    rows("key-renamed", "keys", "`probe_width` | `w`", "`probe_widths` | `w`"),
    rows("shape-added", "shapes", "", "`X` | (B, N) | float32 | input"),
    rows("shape-removed", "shapes", "`X` | (B, N) | float32 | input", ""),
    rows(
        "shape-renamed",
        "shapes",
        "`X` | (B, N) | float32 | input",
        "`Z` | (B, N) | float32 | input",
    ),
    rows(
        "shape-rank-changed",
        "shapes",
        "`X` | (B, N) | float32 | input",
        "`X` | (B, N, 1) | float32 | input",
    ),
    rows(
        "shape-changed",
        "shapes",
        "`X` | (B, N, C) | float32 | input",
        "`X` | (B, C, N) | float32 | input",
    ),
    rows(
        "shape-dtype-changed",
        "shapes",
        "`X` | (B, N) | float32 | input",
        "`X` | (B, N) | float64 | input",
    ),
    rows(
        "shape-meaning-changed",
        "shapes",
        "`X` | (B, N) | float32 | input",
        "`X` | (B, N) | float32 | input, rooted",
    ),
    rows("member-added", "members", "", "`m.keras` | keras | tensorflow | payload"),
    rows("member-added-required", "members", "", "`m.json` | json | both | settings"),
    rows("member-removed", "members", "`m.json` | json | both | settings", ""),
    rows(
        "member-renamed",
        "members",
        "`m.json` | json | both | settings",
        "`n.json` | json | both | settings",
    ),
    rows(
        "member-kind-changed",
        "members",
        "`m.json` | json | both | settings",
        "`m.json` | pickle | both | settings",
    ),
    rows(
        "member-required-raised",
        "members",
        "`m.json` | json | pytorch | settings",
        "`m.json` | json | both | settings",
    ),
    rows(
        "member-required-lowered",
        "members",
        "`m.json` | json | both | settings",
        "`m.json` | json | pytorch | settings",
    ),
    rows(
        "member-content-changed",
        "members",
        "`m.json` | json | both | settings",
        "`m.json` | json | both | everything",
    ),
    rows("function-added", "signatures", "", "`train` | `data, config`"),
    rows("function-removed", "signatures", "`train` | `data, config`", ""),
    rows("function-renamed", "signatures", "`train_it` | `data`", "`train_all` | `data`"),
    rows("parameter-added", "signatures", "`f` | `a`", "`f` | `a, b=1`"),
    rows("parameter-added-required", "signatures", "`f` | `a`", "`f` | `a, b`"),
    rows("parameter-removed", "signatures", "`f` | `a, b=1`", "`f` | `a`"),
    rows("parameter-renamed", "signatures", "`f` | `a, b=1`", "`f` | `a, c=1`"),
    rows("parameter-moved", "signatures", "`f` | `a, b`", "`f` | `b, a`"),
    rows("parameter-moved", "signatures", "`f` | `a, b=1`", "`f` | `a, c=2, b=1`"),
    rows("parameter-kind-changed", "signatures", "`f` | `a, b=1`", "`f` | `a, *, b=1`"),
    rows("parameter-default-changed", "signatures", "`f` | `a, b=1`", "`f` | `a, b=2`"),
    rows("parameter-became-required", "signatures", "`f` | `a, b=1`", "`f` | `a, b`"),
    rows("parameter-became-optional", "signatures", "`f` | `a, b`", "`f` | `a, b=1`"),
    rows("error-added", "errors", "", "no scan | KeyError | scan"),
    rows("error-removed", "errors", "no scan | KeyError | scan", ""),
    rows("error-renamed", "errors", "no scan | KeyError | scan", "a scan lacks | KeyError | scan"),
    rows("error-type-changed", "errors", "no scan | KeyError | scan", "no scan | OSError | scan"),
    rows("error-phrase-changed", "errors", "no scan | KeyError | scan", "no scan | KeyError | it"),
    rows("npz-added", "npz", "", "`Z` | (n,) | int | no | labels"),
    rows("npz-added-required", "npz", "", "`Z` | (n,) | int | yes | labels"),
    rows("npz-removed", "npz", "`Z` | (n,) | int | no | labels", ""),
    rows(
        "npz-renamed",
        "npz",
        "`Z` | (n,) | int | no | labels",
        "`W` | (n,) | int | no | labels",
    ),
    rows(
        "npz-shape-changed",
        "npz",
        "`Z` | (n,) | int | no | labels",
        "`Z` | (n, 2) | int | no | labels",
    ),
    rows(
        "npz-dtype-changed",
        "npz",
        "`Z` | (n,) | int | no | labels",
        "`Z` | (n,) | float64 | no | labels",
    ),
    rows(
        "npz-became-required",
        "npz",
        "`Z` | (n,) | int | no | labels",
        "`Z` | (n,) | int | yes | labels",
    ),
    rows(
        "npz-became-optional",
        "npz",
        "`Z` | (n,) | int | yes | labels",
        "`Z` | (n,) | int | no | labels",
    ),
    rows(
        "npz-meaning-changed",
        "npz",
        "`Z` | (n,) | int | no | labels",
        "`Z` | (n,) | int | no | order",
    ),
    rows("stage-added", "stages", "", "`save` | members | `m:save`"),
    rows("stage-removed", "stages", "`save` | members | `m:save`", ""),
    rows(
        "stage-renamed",
        "stages",
        "`save` | members | `m:save`",
        "`store` | members | `m:save`",
    ),
    (
        "stage-moved",
        table("stages", "`a` | x | `m:a`", "`b` | y | `m:b`"),
        table("stages", "`b` | y | `m:b`", "`a` | x | `m:a`"),
    ),
    rows(
        "stage-taps-changed",
        "stages",
        "`save` | members | `m:save`",
        "`save` | members, hashes | `m:save`",
    ),
    rows(
        "stage-place-changed",
        "stages",
        "`save` | members | `m:save`",
        "`save` | members | `m:write`",
    ),
    rows("constant-added", "constants", "", "floor | `1e-6` | `m:FLOOR`"),
    rows("constant-removed", "constants", "floor | `1e-6` | `m:FLOOR`", ""),
    rows(
        "constant-renamed",
        "constants",
        "floor | `1e-6` | `m:FLOOR`",
        "lowest intensity | `1e-6` | `m:FLOOR`",
    ),
    rows(
        "constant-changed",
        "constants",
        "floor | `1e-6` | `m:FLOOR`",
        "floor | `1e-5` | `m:FLOOR`",
    ),
    rows(
        "constant-place-changed",
        "constants",
        "floor | `1e-6` | `m:FLOOR`",
        "floor | `1e-6` | `n:FLOOR`",
    ),
    rows("measure-added", "measures", "", "`gap` | pixels | [0, inf) | largest"),
    rows("measure-removed", "measures", "`gap` | pixels | [0, inf) | largest", ""),
    rows(
        "measure-renamed",
        "measures",
        "`gap` | pixels | [0, inf) | largest",
        "`hole` | pixels | [0, inf) | largest",
    ),
    rows(
        "measure-unit-changed",
        "measures",
        "`gap` | pixels | [0, inf) | largest",
        "`gap` | m | [0, inf) | largest",
    ),
    rows(
        "measure-range-narrowed",
        "measures",
        "`gap` | pixels | [0, inf) | largest",
        "`gap` | pixels | (0, inf) | largest",
    ),
    rows(
        "measure-range-widened",
        "measures",
        "`gap` | pixels | [0, inf) | largest",
        "`gap` | pixels | [0, inf) or None | largest",
    ),
    rows(
        "measure-meaning-changed",
        "measures",
        "`gap` | pixels | [0, inf) | largest",
        "`gap` | pixels | [0, inf) | mean",
    ),
    rows("layer-added", "layers", "", "`head/bias` | (1,)"),
    rows("layer-removed", "layers", "`head/bias` | (1,)", ""),
    rows("layer-renamed", "layers", "`head/bias` | (1,)", "`head/biases` | (1,)"),
    rows("layer-shape-changed", "layers", "`head/bias` | (1,)", "`head/bias` | (2,)"),
    rows("decision-added", "decisions", "", "sign | plus | the object comes back"),
    rows("decision-removed", "decisions", "sign | plus | the object comes back", ""),
    rows(
        "decision-changed",
        "decisions",
        "sign | plus | the object comes back",
        "sign | minus | the object comes back",
    ),
    (
        "row-moved",
        table("errors", "no scan | KeyError | scan") + "\n## 2. Second\n",
        "\n## 2. Second\n\n" + table("errors", "no scan | KeyError | scan"),
    ),
    (
        "table-target-changed",
        table("keys", "`width` | `w`", target="m:A"),
        table("keys", "`width` | `w`", target="m:B"),
    ),
    ("section-renumbered", "## 2. Second\n", "## 3. Second\n"),
]
#: Rules of kinds that the reader of this version does not know are reached through rows of others.
GENERIC = {"row-added", "row-removed", "row-renamed", "row-changed"}


@pytest.mark.parametrize(
    ("rule", "old", "new"), CASES, ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)]
)
def test_a_change_falls_under_its_rule_and_no_other(rule, old, new):
    assert rules_of(old, new) == [rule]


def told(old, new):
    found = classify({"demo.md": HEAD + old}, {"demo.md": HEAD + new})
    return [
        f"{c.level} {c.rule.id} | {c.line} | {c.audience} | {c.place} | by {c.pair.how}"
        for c in found
    ]


def test_each_change_tells_its_values_its_readers_and_its_place(snapshot):
    """Of every case, there and back; what is told is for people, so that they look it over."""
    lines = [line for _, old, new in CASES for line in (*told(old, new), *told(new, old))]
    assert list(dict.fromkeys(lines)) == snapshot


@pytest.mark.parametrize(
    ("old", "new", "rule"), [("1.0", "1.1", "raised"), ("1.0", "0.9", "lowered")]
)
def test_a_version_goes_up_or_down(old, new, rule):
    found = classify({"a.md": f"Version: {old}\n"}, {"a.md": f"Version: {new}\n"})
    assert [change.rule.id for change in found] == [f"version-{rule}"]


def test_1_10_is_a_higher_version_than_1_9():
    found = classify({"a.md": "Version: 1.9\n"}, {"a.md": "Version: 1.10\n"})
    assert [change.rule.id for change in found] == ["version-raised"]


def test_every_rule_has_a_case_a_level_and_a_line_in_the_manual():
    tried = {case[0] for case in CASES} | {"version-raised", "version-lowered"} | GENERIC
    assert tried == set(RULES)
    assert len(RULES) >= 40
    assert all(rule.level in LEVELS and rule.title for rule in RULES.values())
    manual = (Path(__file__).parents[3] / "docs" / "redline.md").read_text(encoding="utf-8")
    assert "\n".join(rule_lines()) in manual


def test_rows_of_kinds_without_rules_of_their_own_have_the_general_ones(monkeypatch):
    from parity.redline import rows as module

    monkeypatch.setattr(module, "_PREFIX", {})
    _, old, new = rows("", "errors", "", "no scan | KeyError | scan")
    assert rules_of(old, new) == ["row-added"]
    assert rules_of(new, old) == ["row-removed"]
    _, renamed, _ = rows("", "errors", "a scan lacks | KeyError | scan", "")
    assert rules_of(new, renamed) == ["row-renamed"]
    monkeypatch.setattr(module, "_PLAIN", {})
    _, other, _ = rows("", "errors", "no scan | OSError | scan", "")
    assert rules_of(new, other) == ["row-changed"]


BODY = clause(
    "Saving a bundle of weights MUST leave no temporary file behind, in one process or two, with "
    "whatever `backend` it was written."
) + table("fields", FIELD, ENUM.format("'a', 'b'"))


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("behind, in one", "behind,\n  in one"),
        lambda text: text.replace("| int |", "|  int   |"),
        lambda text: text.replace("`2`", "2"),
        lambda text: text.replace("`backend`", "backend"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("|---|", "|:------|"),
        lambda text: text.replace("# Demo", "# Demo\n\nA paragraph that demands nothing."),
        lambda text: text.replace("'b'}", "'b' }"),
        lambda text: text.replace("no temporary", "no temporay"),
        lambda text: text.replace("written.", "written"),
        lambda text: text + "\n\n",
    ],
)
def test_layout_and_misspelt_words_are_no_change(edit):
    # The word is known from elsewhere, so that the one unlike it is the misspelt one.
    old = HEAD + "Nothing is temporary.\n\n" + BODY
    assert classify({"demo.md": old}, {"demo.md": edit(old)}) == []
    assert classify({"demo.md": edit(old)}, {"demo.md": old}) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("included", "excluded"),
        ("increases", "decreases"),
        ("before", "after"),
        ("largest", "larger"),
        ("inner", "outer"),
        ("first", "last"),
        ("finite", "infinite"),
        ("values", "value"),
        ("stored", "sorted"),
    ],
)
def test_another_word_is_a_change_even_if_it_looks_like_the_old_one(old, new):
    text = "What a reader takes from it MUST be {} in all that follows here."
    assert rules_of(clause(text.format(old)), clause(text.format(new))) == ["clause-text-changed"]
    for known in (f"Once {old}, once {new}.\n\n", f"Once {old}.\n\n", f"Once {new}.\n\n"):
        assert rules_of(known + clause(text.format(old)), known + clause(text.format(new))) == [
            "clause-text-changed"
        ]


def test_audience_of_the_archives_section_is_who_reads_archives():
    old = "# Demo\n\nVersion: 1.0\n\n### 4.6 Persistence\n\n" + clause(SAVING, "4.6-1")
    (found,) = classify({"demo.md": old}, {"demo.md": "# Demo\n\nVersion: 1.0\n"})
    assert (found.rule.id, found.audience) == ("clause-removed-must", "archive readers")


def test_one_clause_can_change_in_two_ways():
    old = clause("An unknown name of a backend MUST be refused with `ValueError`.")
    new = clause("An unknown name of a backend SHOULD be refused with `KeyError`.")
    assert rules_of(old, new) == ["clause-level-lowered", "clause-error-changed"]


def test_a_clause_that_went_to_another_file_under_another_id_is_found_by_its_text():
    old = {"a.md": HEAD + clause(SAVING), "b.md": HEAD}
    new = {"a.md": HEAD, "b.md": HEAD + clause(SAVING, "B-1")}
    assert [c.rule.id for c in classify(old, new)] == ["clause-renamed", "clause-moved"]


def test_two_new_rows_like_the_old_one_are_not_its_new_name():
    old = table("keys", "`alpha_beta` | `w`")
    new = table("keys", "`alpha_beth` | `w`", "`alpha_bets` | `w`")
    assert sorted(rules_of(old, new)) == ["key-added", "key-added", "key-removed"]
