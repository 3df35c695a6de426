"""Rows and clauses held against the text of code: each kind, right, wrong and unreadable."""

from __future__ import annotations

import pytest

from parity.facts.static import source_path
from parity.redline.named import judge_clause
from parity.redline.static import judge_row, undescribed
from parity.spec.parse import parse_texts
from parity.spec.records import TABLE_COLUMNS, Clause, Place, Row, Spec
from ptycho.config.config import SUPPORTED_N

PLACE = Place("a.md", 7, 7, "1")
CONFIG = "madeup.config:Config"


def row(kind, target, text, table="t"):
    cells = [cell.strip() for cell in text.split(";")]
    columns = [*TABLE_COLUMNS[kind], "Where", "More"][: len(cells)]
    return Row(table, kind, target, dict(zip(columns, cells, strict=True)), PLACE)


def judged(madeup, *given):
    """Return (says, where, found) of each contradiction; lines as (file, text of the line)."""
    found = judge_row(row(*given))
    if found is None:
        return None
    assert all(c.spec == "specs/a.md:7" and c.record == row(*given).id for c in found)
    return [(c.says, _place(madeup, c.code), c.found) for c in found]


def _place(madeup, code):
    path, _, line = code.rpartition(":")
    if not line.isdigit():
        return code
    return (madeup.parent / path).read_text().splitlines()[int(line) - 1].strip()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("width; int; 2; [1, inf)", []),
        ("must; int; required; any", []),
        ("mode; str; 'a'; {'b', 'a'}", []),
        ("size; str; 's'; {'s', 'm'}", []),
        ("either; int; 4; [0, 9]", []),
        ("share; float; None; (0, 1] or None", []),
        ("place; path; Path('x'); any", []),
        ("names; list; [1]; any", []),
        ("zebra; int; 2; any", [("it exists", CONFIG, "no such field")]),
        ("width; int; 3; any", [("default 3", "width: int = 2", "default 2")]),
        ("width; int; '2'; any", [("default '2'", "width: int = 2", "default 2")]),
        ("width; int; 2.0; any", [("default 2.0", "width: int = 2", "default 2")]),
        ("must; int; 1; any", [("default 1", "must: int", "default required")]),
        ("place; path; Path('y'); any", [
            ("default Path('y')", 'place: Path = Path("x")', "default Path('x')")
        ]),
        ("width; str; 2; any", [("type str", "width: int = 2", "type int")]),
        ("share; int; None; any or None", [
            ("type int", "share: float | None = None", "type None or float")
        ]),
        ("share; float; None; (0, 1]", [
            ("None is not allowed", "share: float | None = None", "share: float | None = None")
        ]),
        ("width; int; 2; [1, inf) or None", [
            ("None is allowed", "width: int = 2", "width: int = 2")
        ]),
        ("mode; str; 'a'; {'a', 'c'}", [
            ("allowed {'a', 'c'}", 'CHOICES = {"mode": ("a", "b")}', "('a', 'b')")
        ]),
        ("mode; str; 'a'; any", [("allowed any", 'CHOICES = {"mode": ("a", "b")}', "('a', 'b')")]),
        ("size; str; 's'; {'s'}", [
            ("allowed {'s'}", 'size: Literal["s", "m"] = "s"', "('s', 'm')")
        ]),
        ("width; int; 2; [2, inf)", [
            ("allowed [2, inf)", '_check_int(config, "width", 1)', "_check_int(config, 'width', 1)")
        ]),
        ("share; float; None; [0, 1] or None", [
            (
                "allowed [0, 1] or None",
                '_check_real(config, "share", 0, 1, low_open=True)',
                "_check_real(config, 'share', 0, 1, low_open=True)",
            )
        ]),
        ("either; int; 4; [0, 9)", [
            (
                "allowed [0, 9)",
                '_check_real(config, "either", 0, 9)',
                "_check_real(config, 'either', 0, 9)",
            )
        ]),
        # What has bounds in the code may have none in the text.
        ("width; int; 2; any", []),
        # All that differs is told.
        ("width; str; 3; [2, 5] or None", [
            ("default 3", "width: int = 2", "default 2"),
            ("type str", "width: int = 2", "type int"),
            ("None is allowed", "width: int = 2", "width: int = 2"),
            (
                "allowed [2, 5] or None",
                '_check_int(config, "width", 1)',
                "_check_int(config, 'width', 1)",
            ),
        ]),
    ],
)  # fmt: skip
def test_fields(madeup, text, told):
    assert judged(madeup, "fields", CONFIG, text) == told
    # The class may be imported from elsewhere.
    assert [t[::2] for t in judged(madeup, "fields", "madeup.command:Config", text)] == [
        t[::2] for t in told
    ]


def test_the_sizes_of_patterns_are_listed_under_a_constants_name():
    target = "ptycho.config.config:ModelConfig"
    sizes = ", ".join(str(size) for size in SUPPORTED_N)
    assert judge_row(row("fields", target, f"N; int; 64; {{{sizes}}}")) == []
    (found,) = judge_row(row("fields", target, f"N; int; 64; {{{sizes}, 7}}"))
    assert found.found == f"({sizes})"
    path, _, line = found.code.rpartition(":")
    assert path == "ptycho/config/config.py"
    text = source_path("ptycho.config.config").read_text(encoding="utf-8").splitlines()
    assert text[int(line) - 1].startswith("SUPPORTED_N = ")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("keys", "madeup.config:KEYS", "width; net.w"), []),
        (("measures", "madeup.config:KEYS", "width; net.w; any"), []),
        (("keys", "madeup.config:KEYS", "width; w"), [
            ("'w'", 'KEYS = {"width": "net.w", "mode": "m"}', "'net.w'")
        ]),
        (("measures", "madeup.config:KEYS", "mode; pixels; any"), [
            ("'pixels'", 'KEYS = {"width": "net.w", "mode": "m"}', "'m'")
        ]),
        (("keys", "madeup.config:KEYS", "zebra; w"), [
            ("zebra exists", "madeup.config:KEYS", "no such entry")
        ]),
        (("keys", "madeup.config:MORE", "share; s"), []),
        (("keys", "madeup.config:MORE", "zebra; w"), None),
        (("keys", "madeup.config:FLOOR", "zebra; w"), None),
        (("constants", "", "floor; 1e-6; madeup.config:FLOOR"), []),
        (("constants", "", "floor; 1e-5; madeup.config:FLOOR"), [
            ("1e-5", "FLOOR = 1e-06", "1e-06")
        ]),
        (("constants", "", "name; 'x'; madeup.config:NAME"), []),
        (("constants", "", "name; x; madeup.config:NAME"), []),
        (("constants", "", "total; 2 * 3; madeup.config:TOTAL"), []),
        (("signatures", "ptycho", "f; a b"), [
            ("f | a b", "ptycho", "nothing to compare: 'a b' is not a parameter list")
        ]),
        (("flags", "madeup.command", "--dry-run; bool; False; none"), []),
        (("flags", "madeup.command", "--dry_run; bool; False; none"), []),
        (("flags", "madeup.command", "--count; int; 3; none"), []),
        (("flags", "madeup.command", "--count; str; 4; none"), [
            ("type str", 'parser.add_argument("--count", type=int, default=3)', "type int"),
            ("default 4", 'parser.add_argument("--count", type=int, default=3)', "default 3"),
        ]),
        (("flags", "madeup.command", "--zebra-herd; int; 3; none"), [
            ("--zebra_herd exists", "madeup.command", "no such flag")
        ]),
        (("flags", "madeup.config", "--dry-run; bool; False; none"), [
            ("--dry_run exists", "madeup.config", "no such flag")
        ]),
        (("flags", "madeup.command", "--net_either; bool; 4; none"), [
            ("type bool", 'either: int | Literal["auto"] = 4', "type int or str")
        ]),
        (("members", "", "x/y/training.h5; h5; both"), []),
        (("members", "", "x/zebra.h5; h5; both"), [
            ("member zebra.h5", "ptycho, ptycho_torch", "no such name")
        ]),
        (("npz", "", "probeGuess; (N, N); complex64; yes"), []),
        (("npz", "", "xcoords; (n,); float64; yes"), []),
        (("npz", "", "zebra; (n,); float64; yes"), [("key zebra", "ptycho", "no such key")]),
        (("shapes", "", "X; (N, N); float32"), None),
        (("layers", "", "head/bias"), None),
        (("decisions", "", "sign; plus"), None),
    ],
)  # fmt: skip
def test_the_other_kinds(madeup, given, told):
    assert judged(madeup, *given) == told


@pytest.mark.parametrize(
    ("where", "missing"),
    [
        ("ptycho.config.config:ModelConfig", []),
        ("ptycho.config.config:ModelConfig.N", []),
        ("ptycho.zebra:f", ["ptycho.zebra:f"]),
        ("workflows.components:load_inference_bundle", []),
        ("workflows.components:zebra", [
            "ptycho.workflows.components:zebra", "ptycho_torch.workflows.components:zebra"
        ]),
        ("zebra:a / workflows.components:load_inference_bundle", ["ptycho.zebra:a"]),
        ("workflows.components:load_inference_bundle / zebra:b", ["ptycho_torch.zebra:b"]),
        ("ptycho.config.config:ModelConfig / zebra:b", ["ptycho.zebra:b", "ptycho_torch.zebra:b"]),
        ("ptycho.a:b / ptycho.c:d", ["ptycho.a:b", "ptycho.c:d"]),
    ],
)  # fmt: skip
def test_a_place_is_one_for_each_backend_or_one_of_both(where, missing):
    for kind, text in (("stages", f"s; taps; {where}"), ("taps", f"t; (N,); m; {where}")):
        found = judge_row(row(kind, "", text))
        assert [(c.says, c.code, c.found) for c in found] == [
            (f"at {where}", code, "no such symbol") for code in missing
        ]


@pytest.mark.parametrize(
    ("target", "text", "told"),
    [
        # The function as one package of its own, or as it is in both backends.
        ("ptycho.workflows.components", "load_inference_bundle; path, execution_config=None", []),
        ("workflows.components", "load_inference_bundle; path, execution_config=None", []),
        ("workflows.components", "zebra; path", [
            ("zebra exists", "ptycho.workflows.components", "no such function"),
            ("zebra exists", "ptycho_torch.workflows.components", "no such function"),
        ]),
        ("ptycho.workflows.components", "zebra; path", [
            ("zebra exists", "ptycho.workflows.components", "no such function")
        ]),
    ],
)  # fmt: skip
def test_functions_are_looked_up_in_each_backend(madeup, target, text, told):
    assert judged(madeup, "signatures", target, text) == told


def test_a_signature_that_differs_is_cited_as_the_code_has_it():
    text = "load_inference_bundle; path, mode=None"
    found = judge_row(row("signatures", "workflows.components", text))
    assert [c.says for c in found] == ["load_inference_bundle(path, mode=None)"] * 2
    assert {c.found for c in found} == {"load_inference_bundle(path, execution_config=None)"}
    assert [c.code.rpartition("workflows")[0] for c in found] == ["ptycho/", "ptycho_torch/"]
    assert all(c.code.rpartition(":")[2].isdigit() for c in found)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("fields", "madeup.config:Nothing", "width; int; 2; any"), "no class"),
        (("fields", "madeup.nothing:Config", "width; int; 2; any"), "no source for module"),
        (("fields", "zebra:Config", "width; int; 2; any"), "no package 'zebra'"),
        (("fields", CONFIG, "width; int; 2; some"), "neither a set"),
        (("fields", CONFIG, "width; int; 2; {1 2}"), "syntax"),
        (("constants", "", "floor; 1; madeup.config:NOTHING"), "no constant"),
        (("keys", "madeup.config:NOTHING", "width; w"), "no constant"),
        (("flags", "madeup.nothing", "--a; int; 1; x"), "no source for module"),
    ],
)
def test_what_cannot_be_compared_contradicts(madeup, given, why):
    ((says, code, found),) = judged(madeup, *given)
    assert says == row(*given).text
    assert code == given[1] or (given[1] == "" and code == "t")
    assert found.startswith("nothing to compare: ")
    assert why in found


# --------------------------------------------------------------------------- the reverse

HEADS = {kind: " | ".join(columns) for kind, columns in TABLE_COLUMNS.items()}


def spec(*tables):
    text = "## 1. One\n\n"
    for name, kind, target, *rows in tables:
        rule = "|".join("---" for _ in HEADS[kind].split("|"))
        lines = [f"| {HEADS[kind]} |", f"|{rule}|", *(f"| {r} |" for r in rows)]
        text += f"<!-- table: {name} kind={kind} target={target} -->\n" + "\n".join(lines) + "\n\n"
    return parse_texts({"a.md": text})


def unsaid(madeup, found):
    assert {(c.spec, c.says) for c in found} <= {("the specification", "nothing")}
    return [(c.record, _place(madeup, c.code), c.found) for c in found]


def test_what_the_code_has_and_no_row_describes_is_told(madeup):
    keys = 'KEYS = {"width": "net.w", "mode": "m"}'
    both = ("k", "keys", "madeup.config:KEYS", "`width` | w"), (
        "f", "fields", "madeup.config:Flags", "`loud` | bool | `False` | any"
    )  # fmt: skip
    assert unsaid(madeup, undescribed(spec(*both))) == [
        ("k/mode", keys, "m"),
        ("f/out_dir", 'out_dir: Path = Path("out")', "out_dir: Path = Path('out')"),
    ]
    measures = ("m", "measures", "madeup.config:KEYS", "`mode` | m | any", "`width` | w | any")
    assert undescribed(spec(measures)) == []
    # Two tables of one dictionary are two descriptions of it.
    again = ("l", "keys", "madeup.config:KEYS", "`mode` | m")
    assert unsaid(madeup, undescribed(spec(both[0], again))) == [
        ("k/mode", keys, "m"),
        ("l/width", keys, "net.w"),
    ]


def test_tables_of_the_other_text_are_looked_for_too(madeup):
    gone = ("f", "fields", "madeup.config:Flags"), ("k", "keys", "madeup.config:KEYS")
    found = undescribed(spec(("k", "keys", "madeup.config:KEYS", "`width` | w")), gone)
    assert [c.record for c in found] == ["k/mode", "f/out_dir", "f/loud"]


def test_tables_of_other_kinds_or_of_nothing_are_left_out(madeup):
    assert (
        undescribed(
            spec(
                ("a", "fields", "madeup.config:Nothing", "`x` | int | `1` | any"),
                ("b", "flags", "madeup.nothing", "`--x` | int | `1` | x"),
                ("c", "shapes", "madeup.config:Flags", "`x` | (N,) | int"),
            )
        )
        == []
    )
    found = undescribed(
        spec(
            ("a", "fields", "madeup.config:Nothing", "`x` | int | `1` | any"),
            ("b", "flags", "madeup.nothing", "`--x` | int | `1` | x"),
            ("k", "keys", "madeup.config:KEYS", "`width` | w"),
            ("g", "flags", "madeup.command", "`--count` | int | `3` | x", *SHARED),
        )
    )
    assert [c.record for c in found] == ["k/mode", "g/--dry_run"]


#: What every command has.
SHARED = [f"`--{name}` | x | `None` | x" for name in ("config", "quiet", "verbose")]


def test_a_command_has_flags_of_its_own_and_of_configurations_from_elsewhere(madeup):
    rows = ("`--dry-run` | bool | `False` | x", "`--loud` | bool | `False` | x", *SHARED)
    found = undescribed(spec(("g", "flags", "madeup.command", *rows)))
    # Both classes are imported, so their fields are described where the classes are.
    assert unsaid(madeup, found) == [
        ("g/--count", 'parser.add_argument("--count", type=int, default=3)', found[0].found)
    ]


def test_each_command_is_looked_at(madeup):
    flags = ("g", "flags", "madeup.command", "`--dry-run` | bool | `False` | x", *SHARED[:2])
    found = undescribed(spec(flags, ("h", "flags", "madeup.config", SHARED[0])))
    assert [c.record for c in found] == ["g/--verbose", "g/--count", "h/--quiet", "h/--verbose"]


# --------------------------------------------------------------------------- clauses


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("Work MUST end after 3 days.", None),
        ("`a b` and `--no-<field>` MUST end.", None),
        ("Files `*.h5` MUST end.", None),
        ("`load_inference_bundle(path)` MUST end.", []),
        ("`zebra.load_inference_bundle` MUST end.", []),
        ("`zebra_herd(a, b)` MUST end.", ["zebra_herd"]),
        ("`ptycho.zebra_herd` and `N` MUST end.", ["ptycho.zebra_herd"]),
        ("`ptycho.zh` MUST end.", []),  # too short to be looked for
        ("`zhb` MUST end.", ["zhb"]),
        ("A ZebraError or KeyError MUST come.", ["ZebraError"]),
        ("A ptycho.ZebraError and `bad` MUST come.", ["ZebraError"]),
        ("`--nepochs`, `--no-enable_checkpointing`, `--torch-accelerator` MUST be.", []),
        ("`--zebra-nepochs` and `--torch-<field>` MUST be.", ["--zebra-nepochs"]),
        ("`--torch-inference_batch_size`, `--accum-steps` and `--torch-momentum` MUST be.", []),
        ("`a/training.h5`, `b/zebra.h5` and `zebra/*.h5` MUST be.", ["zebra.h5"]),
        (
            "`zebra_one` MUST raise ZebraError for `--zebra-herd` and zebra.json.",
            ["zebra_one", "ZebraError", "--zebra-herd", "zebra.json"],
        ),
    ],
)  # fmt: skip
def test_a_clause_is_contradicted_by_names_that_the_code_lacks(text, missing):
    found = judge_clause(Clause("1-1", "MUST", text, PLACE))
    if missing is None:
        assert found is None
        return
    assert [c.says for c in found] == missing
    assert {(c.record, c.spec, c.code, c.found) for c in found} <= {
        ("1-1", "specs/a.md:7", "ptycho, ptycho_torch, parity", "no such name")
    }


def test_an_empty_specification_is_described():
    assert undescribed(Spec((), (), (), {})) == []
