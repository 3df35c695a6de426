"""Golden chains: the text that is stored, and the log of why one was replaced.

A golden has the canonical chain, which has to stay, and the hash of each function's body, which
may change: it tells, once the chain has changed too, where somebody worked.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parity.callchain.chain import CanonicalCall, symbols_of
from parity.callchain.changes import describe
from parity.callchain.symbols import SourceFunction

__all__ = ["LOG_NAME", "dump", "golden", "log_update"]

#: Lies beside the folder of goldens, in which syrupy tolerates nothing else.
LOG_NAME = "golden_chain_updates.md"

_HEAD = (
    "# Why golden chains were replaced\n\n| UTC | Golden | Reason | Changes |\n|---|---|---|---|\n"
)


def golden(
    chain: Sequence[CanonicalCall], functions: Mapping[str, SourceFunction]
) -> dict[str, Any]:
    """Return the golden of a chain: the chain, and the hash of each body."""
    symbols = sorted(set(symbols_of(chain)) & set(functions))
    return {"chain": list(chain), "bodies": {name: functions[name].body for name in symbols}}


def dump(content: Mapping[str, Any]) -> str:
    """Return a golden's text: sorted, one value a line."""
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def log_update(
    folder: Path, name: str, reason: str, old: dict[str, Any] | None, new: dict[str, Any]
) -> None:
    """Add a row to the log ``folder/LOG_NAME``; ``ValueError`` without a reason."""
    if not reason.strip():
        raise ValueError(f"golden {name} is not replaced without a reason")
    lines = ["new"] if old is None else describe(old, new) or ["bodies only"]
    log = folder / LOG_NAME
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    shown = "; ".join(lines[:5]) + (f"; {len(lines) - 5} more" if len(lines) > 5 else "")
    text = log.read_text(encoding="utf-8") if log.exists() else _HEAD
    row = " | ".join(part.replace("|", "/") for part in (now, name, reason.strip(), shown))
    log.write_text(f"{text}| {row} |\n", encoding="utf-8")
