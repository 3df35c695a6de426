"""Z-1 to Z-3: what an edit of the specification means, and names that are on their way out."""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from pathlib import Path
from typing import Any

from parity.checks.observing import everyone
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from ptycho.config.config import KEY_MAPPINGS, InferenceConfig, ModelConfig, TrainingConfig

_TEXT = (
    "# Demo\n\nVersion: 0.1\n\n## 1. First\n\n"
    "- **[1-1]** Saving a bundle of weights MUST leave no temporary file behind.\n\n"
    "<!-- table: demo kind=keys target=ptycho.config.config:KEY_MAPPINGS -->\n"
    "| Field | Legacy key |\n|---|---|\n{rows}"
)


def _rows() -> str:
    return "".join(f"| `{name}` | `{key}` |\n" for name, key in KEY_MAPPINGS.items())


def _redline(old: str, new: str) -> tuple[int, str]:
    """Return the exit code and the output of a redline of two texts, the ledgers empty."""
    from parity.cli import build_parser
    from parity.specs_commands import redline_command

    out = io.StringIO()
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(out):
        root = Path(name)
        (root / "parity" / "ledger").mkdir(parents=True)
        (root / "specs").mkdir()
        for ledger in ("redline.toml", "deviations.toml"):
            (root / "parity" / "ledger" / ledger).write_text("")
        for file, text in (("old.md", old), ("new.md", new)):
            (root / file).write_text(text, newline="")
        given = ["--old", str(root / "old.md"), "--new", str(root / "new.md")]
        code = redline_command(build_parser().parse_args(["redline", "--root", str(root), *given]))
    return code, out.getvalue()


@check("Z-1", "What breaks somebody or contradicts the code: 1", ("backend",), framework=False)
def exit_codes(run: Recorder) -> None:
    """A guarantee taken back, a row that the code belies, and texts that harm nobody."""
    text = _TEXT.format(rows=_rows())
    for case, new, wanted, said in (
        ("nothing", text, 0, "0 semantic changes"),
        ("another clause", text + "\n- **[1-2]** Rest MUST follow.\n", 0, "clause-added-must"),
        ("a weaker clause", text.replace("MUST", "MAY"), 1, "clause-level-lowered"),
        ("another key", text.replace("`npseed`", "`zebra`"), 1, "ptycho/config/config.py:"),
    ):
        code, out = _redline(text, new)
        everyone(run, code == wanted and said in out, f"exit code {code}: {out[-300:]}", case)


@check("Z-2", "Layout and misspelt words are no change", ("backend",), framework=False)
def cosmetics(run: Recorder) -> None:
    """Each on its own, and the same edits in a clause that says something else."""
    text = "Nothing is temporary.\n\n" + _TEXT.format(rows=_rows())
    for case, old, new in (
        ("reflow", "MUST leave", "MUST\n  leave"),
        ("padding", "| `seed` | `", "|   `seed`   | `"),
        ("back-ticks", "`npseed`", "npseed"),
        ("line endings", "\n", "\r\n"),
        ("a misspelt word", "no temporary", "no temporray"),
    ):
        code, out = _redline(text, text.replace(old, new))
        everyone(run, code == 0 and "0 semantic changes" in out, out[-300:], case)
    _, out = _redline(text, text.replace("no temporary", "one temporary"))
    everyone(run, "1 semantic changes" in out, out[-300:], "another word")


@check("Z-3", "n_images counts where n_groups is not given", ("backend",), framework=False)
def deprecated_name(run: Recorder) -> None:
    """Alone, beside ``n_groups``, and not at all."""
    here = Path(__file__)
    holders: dict[type, dict[str, Any]] = {
        TrainingConfig: {},
        InferenceConfig: {"model_path": here, "test_data_file": here},
    }
    for holder, more in holders.items():
        for case, given, wanted, said in (
            ("alone", {"n_images": 7}, 7, True),
            ("beside n_groups", {"n_images": 7, "n_groups": 5}, 5, False),
            ("not at all", {"n_groups": 5}, 5, False),
        ):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found = holder(model=ModelConfig(), **more, **given).n_groups
            warned = any(
                issubclass(w.category, DeprecationWarning) and "n_groups" in str(w.message)
                for w in caught
            )
            name = f"{holder.__name__}, {case}"
            everyone(run, found == wanted, f"n_groups is {found}", name)
            everyone(run, warned == said, f"warned: {warned}", name)
