"""What loads what, and how fast: each check runs in a fresh interpreter."""

import resource
import shutil
import statistics
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

FRAMEWORKS = ("tensorflow", "keras", "torch", "lightning")

LIGHT = [
    "ptycho",
    "ptycho.config.config",
    "ptycho.params",
    "ptycho.raw_data",
    "ptycho.probe",
    "ptycho.loader",
    "ptycho.model_manager",
    "ptycho.tf_helper",
    "ptycho.workflows.components",
    "ptycho.workflows.backend_selector",
    "ptycho_torch",
    "ptycho_torch.dataloader",
    "ptycho_torch.helper",
    "ptycho_torch.model_manager",
    "ptycho_torch.workflows.components",
]

COMMANDS = sorted(
    point.name for point in distribution("ptychopinn").entry_points.select(group="console_scripts")
)


def _loaded_by(module: str) -> set[str]:
    code = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("module", LIGHT)
def test_import_loads_no_framework(module):
    assert not _loaded_by(module) & set(FRAMEWORKS)


def test_configuration_needs_the_standard_library_only():
    ours = _loaded_by("ptycho.config.config") - _loaded_by("sys")
    assert ours - set(sys.stdlib_module_names) == {"ptycho"}


def _cpu_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower() or command[-1] == "pass"
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("command", COMMANDS)
def test_help_answers_at_once(command):
    """``--help`` costs less than half a second of processor time beyond Python itself.

    Processor time, not wall time, since other test processes share the cores; the median of
    three, since a first run may compile bytecode; beyond bare Python, since site-packages alone
    differ between installations. Importing either framework costs two seconds and more.
    """
    script = shutil.which(command, path=str(Path(sys.executable).parent))
    assert script is not None, f"{command} is not installed beside {sys.executable}"
    helped = statistics.median(_cpu_seconds([sys.executable, script, "--help"]) for _ in range(3))
    bare = statistics.median(_cpu_seconds([sys.executable, "-c", "pass"]) for _ in range(3))
    assert helped - bare < 0.5
