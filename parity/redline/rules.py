"""The rules by which changes are classified; ``docs/redline.md`` is this table.

BREAKING: a caller, backend or archive that conformed may fail. REVIEW: somebody has to look.
COMPATIBLE: everybody who conformed still does.
"""

from __future__ import annotations

from dataclasses import dataclass

BREAKING, REVIEW, COMPATIBLE = LEVELS = ("BREAKING", "REVIEW", "COMPATIBLE")

CALLERS, BACKENDS, READERS = "callers", "backend authors", "archive readers"


@dataclass(frozen=True)
class Rule:
    """One kind of change: id, level, whom it concerns, what it is."""

    id: str
    level: str
    audience: str
    title: str


_TABLE = (
    # clauses
    ("clause-added-must", REVIEW, BACKENDS, "a requirement is new"),
    ("clause-added-should", COMPATIBLE, BACKENDS, "a recommendation is new"),
    ("clause-added-may", COMPATIBLE, CALLERS, "a permission is new"),
    ("clause-removed-must", BREAKING, CALLERS, "a guarantee is gone"),
    ("clause-removed-should", REVIEW, CALLERS, "a recommendation is gone"),
    ("clause-removed-may", REVIEW, BACKENDS, "a permission is gone"),
    ("clause-moved", COMPATIBLE, CALLERS, "a clause stands in another section or file"),
    ("clause-renamed", REVIEW, BACKENDS, "a clause has another id: bindings name the old one"),
    ("clause-replaced", BREAKING, CALLERS, "an id is used for another requirement"),
    ("clause-level-raised", REVIEW, BACKENDS, "a recommendation or permission got stronger"),
    ("clause-level-lowered", BREAKING, CALLERS, "a requirement got weaker"),
    ("clause-level-reversed", BREAKING, CALLERS, "what was required is forbidden, or the reverse"),
    ("clause-value-changed", BREAKING, CALLERS, "a number or quoted text in a clause differs"),
    ("clause-error-changed", BREAKING, CALLERS, "a clause names another error type"),
    ("clause-flag-changed", BREAKING, CALLERS, "a clause names another flag"),
    ("clause-member-changed", BREAKING, READERS, "a clause names another file of the archive"),
    ("clause-symbol-changed", REVIEW, CALLERS, "a clause names another symbol"),
    ("clause-subject-changed", REVIEW, BACKENDS, "a clause is about something else"),
    ("clause-text-changed", REVIEW, BACKENDS, "the words of a clause differ"),
    # fields of configurations
    ("field-added", COMPATIBLE, CALLERS, "a field with a default is new"),
    ("field-added-required", BREAKING, CALLERS, "a field without a default is new"),
    ("field-removed", BREAKING, CALLERS, "a field is gone"),
    ("field-renamed", BREAKING, CALLERS, "a field has another name"),
    ("field-moved", BREAKING, CALLERS, "a field belongs to another configuration"),
    ("field-type-widened", COMPATIBLE, CALLERS, "an integer became a real number"),
    ("field-type-changed", BREAKING, CALLERS, "a field has another type"),
    ("field-default-changed", BREAKING, CALLERS, "a field has another default"),
    ("field-became-required", BREAKING, CALLERS, "a field lost its default"),
    ("field-became-optional", COMPATIBLE, CALLERS, "a field got a default"),
    ("field-enum-narrowed", BREAKING, CALLERS, "a listed value is gone"),
    ("field-enum-widened", REVIEW, BACKENDS, "a listed value is new: backends have to have it"),
    ("field-enum-changed", BREAKING, CALLERS, "listed values are gone and others are new"),
    ("field-range-narrowed", BREAKING, CALLERS, "an interval got smaller"),
    ("field-range-widened", REVIEW, BACKENDS, "an interval got larger: backends have to take it"),
    ("field-range-moved", BREAKING, CALLERS, "an interval lost one end and grew at the other"),
    ("field-allowed-changed", BREAKING, CALLERS, "values are allowed by another kind of rule"),
    ("field-none-allowed", COMPATIBLE, CALLERS, "None is allowed"),
    ("field-none-refused", BREAKING, CALLERS, "None is no longer allowed"),
    ("field-meaning-changed", REVIEW, CALLERS, "a field is described otherwise"),
    # flags
    ("flag-added", COMPATIBLE, CALLERS, "a flag is new"),
    ("flag-removed", BREAKING, CALLERS, "a flag is gone"),
    ("flag-renamed", BREAKING, CALLERS, "a flag has another name"),
    ("flag-moved", BREAKING, CALLERS, "a flag belongs to another command"),
    ("flag-type-changed", BREAKING, CALLERS, "a flag takes another type"),
    ("flag-default-changed", BREAKING, CALLERS, "a flag has another default"),
    ("flag-meaning-changed", REVIEW, CALLERS, "a flag is described otherwise"),
    # legacy keys
    ("key-added", REVIEW, CALLERS, "a field is written under another key than its name"),
    ("key-removed", BREAKING, CALLERS, "a field is no longer written under its own key"),
    ("key-changed", BREAKING, CALLERS, "a field is written under another key"),
    ("key-renamed", BREAKING, CALLERS, "a key stands for a field of another name"),
    # tensors
    ("shape-added", REVIEW, BACKENDS, "a tensor is new"),
    ("shape-removed", BREAKING, CALLERS, "a tensor is gone"),
    ("shape-renamed", BREAKING, CALLERS, "a tensor has another name"),
    ("shape-rank-changed", BREAKING, CALLERS, "a tensor has more or fewer axes"),
    ("shape-changed", BREAKING, CALLERS, "an axis of a tensor has another length"),
    ("shape-dtype-changed", BREAKING, CALLERS, "a tensor has another dtype"),
    ("shape-meaning-changed", REVIEW, CALLERS, "a tensor is described otherwise"),
    # archive members
    ("member-added", COMPATIBLE, READERS, "a member of one backend's archives is new"),
    (
        "member-added-required",
        BREAKING,
        READERS,
        "a member of all archives is new: old ones lack it",
    ),
    ("member-removed", BREAKING, READERS, "a member is gone"),
    ("member-renamed", BREAKING, READERS, "a member has another name"),
    ("member-kind-changed", BREAKING, READERS, "a member is another kind of file"),
    ("member-required-raised", BREAKING, READERS, "a member is in more archives: old ones lack it"),
    ("member-required-lowered", BREAKING, READERS, "a member is in fewer archives"),
    ("member-content-changed", REVIEW, READERS, "a member is described otherwise"),
    # functions
    ("function-added", REVIEW, BACKENDS, "a function is new"),
    ("function-removed", BREAKING, CALLERS, "a function is gone"),
    ("function-renamed", BREAKING, CALLERS, "a function has another name"),
    ("parameter-added", COMPATIBLE, CALLERS, "an optional parameter is new, at the end"),
    ("parameter-added-required", BREAKING, CALLERS, "a required parameter is new"),
    ("parameter-removed", BREAKING, CALLERS, "a parameter is gone"),
    ("parameter-renamed", BREAKING, CALLERS, "a parameter has another name"),
    ("parameter-moved", BREAKING, CALLERS, "parameters are in another order"),
    ("parameter-kind-changed", BREAKING, CALLERS, "a parameter is passed another way"),
    ("parameter-default-changed", BREAKING, CALLERS, "a parameter has another default"),
    ("parameter-became-required", BREAKING, CALLERS, "a parameter lost its default"),
    ("parameter-became-optional", COMPATIBLE, CALLERS, "a parameter got a default"),
    # errors
    ("error-added", COMPATIBLE, CALLERS, "an error is described"),
    ("error-removed", BREAKING, CALLERS, "an error is no longer described"),
    ("error-renamed", REVIEW, CALLERS, "an error's situation is described otherwise"),
    ("error-type-changed", BREAKING, CALLERS, "a situation gives another error type"),
    ("error-phrase-changed", REVIEW, CALLERS, "an error says something else"),
    # scan files
    ("npz-added", COMPATIBLE, CALLERS, "an optional key of scan files is new"),
    ("npz-added-required", BREAKING, CALLERS, "a required key of scan files is new"),
    ("npz-removed", BREAKING, CALLERS, "a key of scan files is gone"),
    ("npz-renamed", BREAKING, CALLERS, "a key of scan files has another name"),
    ("npz-shape-changed", BREAKING, CALLERS, "a key holds another shape"),
    ("npz-dtype-changed", BREAKING, CALLERS, "a key holds another dtype"),
    ("npz-became-required", BREAKING, CALLERS, "a key of scan files became required"),
    ("npz-became-optional", COMPATIBLE, CALLERS, "a key of scan files became optional"),
    ("npz-meaning-changed", REVIEW, CALLERS, "a key is described otherwise"),
    # stages
    ("stage-added", REVIEW, BACKENDS, "a stage is new"),
    ("stage-removed", BREAKING, BACKENDS, "a stage is gone"),
    ("stage-renamed", BREAKING, BACKENDS, "a stage has another name"),
    ("stage-moved", BREAKING, BACKENDS, "stages are in another order"),
    ("stage-taps-changed", REVIEW, BACKENDS, "a stage records other values"),
    ("stage-place-changed", BREAKING, BACKENDS, "a stage is entered at another function"),
    # constants, measures, layers
    ("constant-added", COMPATIBLE, CALLERS, "a constant is new"),
    ("constant-removed", BREAKING, CALLERS, "a constant is gone"),
    ("constant-renamed", REVIEW, CALLERS, "a constant is called otherwise"),
    ("constant-changed", BREAKING, CALLERS, "a constant has another value"),
    ("constant-place-changed", REVIEW, CALLERS, "a constant stands elsewhere"),
    ("measure-added", COMPATIBLE, CALLERS, "a measure is new"),
    ("measure-removed", BREAKING, CALLERS, "a measure is gone"),
    ("measure-renamed", BREAKING, CALLERS, "a measure has another name"),
    ("measure-unit-changed", BREAKING, CALLERS, "a measure has another unit"),
    ("measure-range-narrowed", COMPATIBLE, CALLERS, "a measure takes fewer values"),
    ("measure-range-widened", BREAKING, CALLERS, "a measure takes values that it never took"),
    ("measure-meaning-changed", REVIEW, CALLERS, "a measure is described otherwise"),
    ("layer-added", BREAKING, READERS, "a weight is new: old archives lack it"),
    ("layer-removed", BREAKING, READERS, "a weight is gone"),
    ("layer-renamed", BREAKING, READERS, "a weight has another name"),
    ("layer-shape-changed", BREAKING, READERS, "a weight has another shape"),
    # text around
    ("decision-added", COMPATIBLE, CALLERS, "a decision is recorded"),
    ("decision-removed", REVIEW, CALLERS, "a decision is no longer recorded"),
    ("decision-changed", REVIEW, CALLERS, "a decision is taken otherwise"),
    ("row-added", REVIEW, BACKENDS, "a row of another kind of table is new"),
    ("row-removed", BREAKING, CALLERS, "a row of another kind of table is gone"),
    ("row-renamed", BREAKING, CALLERS, "a row of another kind of table has another name"),
    ("row-moved", COMPATIBLE, CALLERS, "a row stands in another table or section"),
    ("row-changed", REVIEW, CALLERS, "another cell of a row differs"),
    ("table-target-changed", REVIEW, BACKENDS, "a table describes another symbol"),
    ("section-renumbered", REVIEW, CALLERS, "a section has another number: references to it break"),
    ("version-raised", COMPATIBLE, CALLERS, "a text has a higher version"),
    ("version-lowered", BREAKING, CALLERS, "a text has a lower version"),
)

RULES: dict[str, Rule] = {entry[0]: Rule(*entry) for entry in _TABLE}


def rule_lines() -> list[str]:
    """Return the table of rules in markdown."""
    head = ["| Rule | Level | Audience | What |", "|---|---|---|---|"]
    return head + [f"| `{r.id}` | {r.level} | {r.audience} | {r.title} |" for r in RULES.values()]
