"""Seconds until a reconstruction is good: both backends beside rPIE and LSQML of ptychi.

    python -m benchmarks.time_to_quality
    python -m benchmarks.time_to_quality --data FILE.npz --epochs 64
    python -m benchmarks.time_to_quality --contenders pytorch --set batch_size=4 nepochs=2

Each contender starts from nothing but the patterns, the positions and the probe, in a process of
its own with ``--threads`` threads, and is sampled after every epoch; scoring does not count. Then
each gets a second scan of the same kind: a network only predicts, the others begin again. The
scans are the built-in one with two seeds, or the upper and the lower half of ``--data`` (by
``ycoords``), which needs an objectGuess to compare with. The peers belong to the optional extra
``peers``; where ptychi is not installed they are skipped, which is reported.

Writes results.json, table.md and quality.png into ``--output``. Exit code: 0 every contender that
ran reached the quality, 1 one did not, 2 bad input.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.contenders import ITERATIVE, NETWORKS
from benchmarks.halves import part
from benchmarks.machine import facts, with_threads
from parity.demo.settings import default_epochs, stitched_side, training_fields
from ptycho.config.config import ModelConfig
from ptycho.raw_data import RawData

#: (phase correlation, complex NRMSE) to be reached; the measured reference's amplitude is noise.
QUALITY = {"built-in": (0.95, 0.10), "measured": (0.83, None)}
#: Patterns per update of the peers: what served them best here.
PEER_BATCH = {"rpie": 50, "lsqml": 50}


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.time_to_quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    every = (*NETWORKS, *ITERATIVE)
    parser.add_argument("--contenders", nargs="+", choices=every, default=every)
    parser.add_argument("--data", type=Path, help="a measured scan instead of the built-in one")
    parser.add_argument("--epochs", type=int, help="of the networks (default: the demo's)")
    parser.add_argument("--iterations", type=int, default=30, help="epochs of the peers")
    parser.add_argument("--M", type=int, help="stitched patch centres (default: the demo's)")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE",
                        help="fields of the training configuration, model's included")  # fmt: skip
    parser.add_argument("--precision", default="32-true", help="of PyTorch (bf16-mixed, ...)")
    parser.add_argument("--threads", type=int, default=1, help="of each contender")
    parser.add_argument("--minutes", type=float, default=10, help="limit for each contender")
    parser.add_argument("--phase-correlation", type=float, help="quality to reach")
    parser.add_argument("--nrmse", type=float, help="complex NRMSE to reach as well")
    parser.add_argument("--output", type=Path, default=Path("outputs/bench/time_to_quality"))
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser


def scans(args: argparse.Namespace) -> tuple[RawData, RawData]:
    """Return the first scan and the next one of its kind."""
    if args.data is None:
        from ptycho.simulation.simulate import built_in_scan

        return built_in_scan(seed=0), built_in_scan(seed=1)
    scan = RawData.from_file(args.data)
    if scan.objectGuess is None or scan.diff3d is None or scan.probeGuess is None:
        raise ValueError(f"{args.data}: needs patterns, probeGuess and objectGuess")
    upper = scan.ycoords < np.median(scan.ycoords)
    return part(scan, upper), part(scan, ~upper)


def with_changes(fields: dict[str, Any], changes: list[str]) -> dict[str, Any]:
    """Return training fields with ``FIELD=VALUE`` replaced, in the model where it has them."""
    changed = {**fields, "model": dict(fields["model"])}
    known = {field.name for field in dataclasses.fields(ModelConfig)}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"--set {change}: expected FIELD=VALUE")
        (changed["model"] if name in known else changed)[name] = yaml.safe_load(text)
    return changed


def of_contenders(threads: int) -> dict[str, str]:
    """Return the environment in which each contender runs."""
    return {**with_threads(threads), "TF_NUM_INTEROP_THREADS": "1"}


def run(name: str, settings: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Run one contender; return its samples, or why there are none."""
    if name in ITERATIVE and importlib.util.find_spec("ptychi") is None:
        return {"skipped": "ptychi is not installed (pip install -e '.[peers]')"}
    one = {**settings, "name": name, "peer_batch": PEER_BATCH.get(name)}
    setting, result = args.output / f"{name}.settings.json", args.output / f"{name}.jsonl"
    setting.write_text(json.dumps(one), encoding="utf-8")
    environment = of_contenders(args.threads)
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.contenders"]
    found: dict[str, Any] = {}
    try:
        done = subprocess.run(
            [*command, str(setting), str(result)], env=environment, check=False,
            timeout=60 * args.minutes, stdout=sys.stderr,
        )  # fmt: skip
        if done.returncode:
            found["failed"] = f"exit code {done.returncode}"
    except subprocess.TimeoutExpired:
        found["stopped"] = f"after {args.minutes:g} minutes"
    lines = [json.loads(line) for line in result.read_text(encoding="utf-8").splitlines()]
    found["samples"] = [line for line in lines if "epoch" in line and "scan" not in line]
    found["next"] = [line for line in lines if line.get("scan") == "next"]
    for line in lines:
        found |= {key: line[key] for key in ("peak_mib", "loss") if key in line}
    return found


def reached(samples: list[dict[str, Any]], quality: tuple[float, float | None]) -> dict[str, Any]:
    """Return the first sample with the quality, empty where there is none."""
    phase, error = quality
    for sample in samples:
        if sample.get("phase_correlation", 0) >= phase and (
            error is None or sample["complex_nrmse"] <= error
        ):
            return sample
    return {}


def table(results: dict[str, Any]) -> str:
    """Return the outcome as a Markdown table."""
    phase, error = results["quality"]
    aim = f"phase correlation {phase}" + (f" and complex NRMSE {error}" if error else "")
    head = f"CPU-seconds (wall seconds) to {aim}, {results['threads']} thread(s) each"
    rows = [
        f"{head}\n",
        "| | first scan | best of it | next scan | of it |",
        "|---|---|---|---|---|",
    ]
    for name, found in results["contenders"].items():
        if "skipped" in found:
            rows.append(f"| {name} | skipped: {found['skipped']} | | | |")
            continue
        first, following = (reached(found[k], results["quality"]) for k in ("samples", "next"))
        rows.append(
            f"| {name} | {_time(first)} | {_scores(found['samples'])} | "
            f"{_time(following)} | {_scores(found['next'])} |"
        )
    return "\n".join(rows) + "\n"


def _time(sample: dict[str, Any]) -> str:
    return f"{sample['cpu_seconds']:.1f} ({sample['seconds']:.1f})" if sample else "not reached"


def _scores(samples: list[dict[str, Any]]) -> str:
    scored = [sample for sample in samples if "phase_correlation" in sample]
    if not scored:
        return "-"
    best = max(scored, key=lambda sample: sample["phase_correlation"])
    return (
        f"{best['phase_correlation']:.3f} / {best['complex_nrmse']:.3f} at "
        f"{best['cpu_seconds']:.1f} s"
    )


def draw(results: dict[str, Any], file: Path) -> None:
    """Plot both scores against CPU seconds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, key, label in zip(
        axes, ("phase_correlation", "complex_nrmse"), ("phase correlation", "complex NRMSE")
    ):
        for name, found in results["contenders"].items():
            samples = [each for each in found.get("samples", ()) if key in each]
            times = [each["cpu_seconds"] for each in samples]
            (line,) = axis.plot(times, [each[key] for each in samples], "o-", ms=3, label=name)
            last = [each for each in found.get("next", ()) if key in each]
            if last and name in NETWORKS:
                axis.plot(
                    last[-1]["cpu_seconds"], last[-1][key], "*", ms=12, color=line.get_color()
                )
        aim = results["quality"][0 if key == "phase_correlation" else 1]
        if aim is not None:
            axis.axhline(aim, color="0.6", lw=1, ls="--")
        axis.set(xscale="log", xlabel=f"CPU-seconds, {results['threads']} thread(s)", ylabel=label)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axis.xaxis.set_minor_formatter("{x:g}")
        axis.grid(alpha=0.3, which="both", axis="x")
        axis.grid(alpha=0.3, axis="y")
    axes[0].set_ylim(0, 1)
    axes[0].legend(title="dots: first scan\nstar: next scan, predicted")
    figure.savefig(file, dpi=120)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    args = build_parser().parse_args(argv)
    try:
        first, following = scans(args)
        epochs = args.epochs or default_epochs(len(first))
        fields = training_fields(first, epochs, seed=0, gridsize=1)
        fields = with_changes(fields, args.set)
    except (ValueError, KeyError, OSError) as error:
        sys.stderr.write(f"time_to_quality: {error}\n")
        return 2
    args.output.mkdir(parents=True, exist_ok=True)
    files = [
        str(scan.to_file(args.output / f"{name}.npz"))
        for name, scan in (("first", first), ("next", following))
    ]
    phase, error = QUALITY["built-in" if args.data is None else "measured"]
    side = stitched_side(first.diff3d.shape[-1], fields["model"]["pad_object"])
    settings = {
        "scans": files, "fields": fields, "M": args.M or side,
        "precision": args.precision, "iterations": args.iterations,
    }  # fmt: skip
    results: dict[str, Any] = {
        "machine": facts(of_contenders(args.threads)),
        "quality": (args.phase_correlation or phase, args.nrmse or error),
        "threads": args.threads,
        "fields": fields,
        "M": settings["M"],
        "contenders": {},
    }
    for name in args.contenders:
        print(f"{name} ...", file=sys.stderr, flush=True)
        results["contenders"][name] = run(name, settings, args)
    (args.output / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    (args.output / "table.md").write_text(table(results), encoding="utf-8")
    draw(results, args.output / "quality.png")
    print(json.dumps(results) if args.json else table(results))
    ran = [found for found in results["contenders"].values() if "skipped" not in found]
    return 0 if all(reached(found["samples"], results["quality"]) for found in ran) else 1


if __name__ == "__main__":
    sys.exit(main())
