"""The demo's report: one self-contained HTML page and ``report.json``."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
from pathlib import Path
from typing import Any

from parity import process
from parity.demo import figures
from parity.demo.score import Scores
from parity.demo.settings import BACKENDS
from ptycho.raw_data import RawData

_SCORE_KEYS = (
    "amplitude_ssim",
    "phase_ssim",
    "amplitude_correlation",
    "phase_correlation",
    "diffraction_error",
    "diffraction_error_of_the_mean_pattern",
)


def _environment() -> dict[str, Any]:
    packages = ("ptychopinn", "tensorflow", "torch", "lightning", "numpy")
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def _plain(value: Any) -> Any:
    """Return ``value`` as JSON has it: what is not a finite number becomes null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _verdict(verdicts: dict[str, Any] | None) -> str:
    if verdicts is None:
        return "not-run"
    return "pass" if verdicts["exit_code"] == 0 else "fail"


def assemble(
    raw: RawData,
    scan: Path,
    fields: dict[str, Any],
    trainings: dict[str, dict[str, Any]],
    scores: Scores,
    verdicts: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return the content of ``report.json``."""
    backends: dict[str, dict[str, Any]] = {}
    for name in BACKENDS:
        training = trainings[name]
        backends[name] = {
            **scores.of[name],
            "train_seconds": training["train_seconds"],
            "save_seconds": training["save_seconds"],
            "final_loss": training["history"]["loss"][-1],
            "history": training["history"],
            "settings": training["settings"],
        }
    return {
        "parity": _verdict(verdicts),
        "backends": backends,
        "pair": scores.pair,
        "reference": "truth" if scores.has_reference else "none",
        "scan": {"name": scan.name, "patterns": len(raw), "N": fields["model"]["N"]},
        "config": fields,
        "environment": _environment(),
        "settings": process.in_force(),
        "checks": [] if verdicts is None else verdicts["checks"],
        "clauses": [] if verdicts is None else verdicts["clauses"],
    }


def summary_lines(result: dict[str, Any]) -> str:
    """Return the scores as a small text table for the terminal."""
    lines = [" " * 38 + "".join(f"{name:>14}" for name in BACKENDS)]
    for key in (*_SCORE_KEYS, "final_loss", "train_seconds"):
        values = [result["backends"][name].get(key) for name in BACKENDS]
        if None not in values:
            lines.append(f"{key:<38}" + "".join(f"{value:>14.4f}" for value in values))
    for key, value in result["pair"].items():
        lines.append(f"{key:<38}{value:>14.3g}")
    return "\n".join(lines)


def write(output: Path, result: dict[str, Any], scores: Scores) -> Path:
    """Write ``report.json`` and ``report.html`` into ``output``; return the page's path."""
    import jinja2

    (output / "report.json").write_text(json.dumps(_plain(result), indent=1), encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("parity.demo"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    page = output / "report.html"
    histories = {name: result["backends"][name]["history"] for name in BACKENDS}
    html = environment.get_template("report.html.j2").render(
        result=result,
        backends=BACKENDS,
        score_keys=_SCORE_KEYS,
        images=figures.as_data_uri(figures.reconstructions(scores)),
        losses=figures.as_data_uri(figures.loss_curves(histories)),
    )
    page.write_text(html, encoding="utf-8")
    return page
