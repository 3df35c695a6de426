"""The walk names the stage and the backend of planted defects, and nobody in a sound tree."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from parity.selftest.defects import Edit, load_defects
from parity.selftest.tree import DamagedTree, checkout

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    pytest.importorskip("tensorflow")
    pytest.importorskip("torch")
    return DamagedTree(checkout(), tmp_path_factory.mktemp("diverge"))


def _diverge(tree, scenario, *flags):
    done = subprocess.run(
        [sys.executable, "-m", "parity", "diverge", scenario, *flags],
        cwd=tree.folder,
        env={**os.environ, "PYTHONPATH": str(tree.folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize("scenario", ["train", "infer", "stitch", "save", "load"])
def test_a_sound_tree_has_no_divergence(tree, scenario):
    code, said = _diverge(tree, scenario)
    assert code == 0, said
    assert "nothing differs" in said


@pytest.mark.parametrize(
    ("defect", "scenario", "stage", "backend", "meaning"),
    [
        ("shift-sign", "train", "merged object", "pytorch", "given the same inputs"),
        ("offsets-swapped", "train", "merged object", "tensorflow", "given the same inputs"),
        ("fft-unnormalised", "train", "predicted amplitude", "pytorch", "given the same inputs"),
        ("phase-half", "train", "phase head", "tensorflow", "given the same inputs"),
        ("likelihood-sums", "train", "loss", "pytorch", "given the same inputs"),
        ("conjugate", "infer", "object patches", "pytorch", "given the same inputs"),
        ("positions-mirrored", "stitch", "stitched object", "pytorch", "given the same inputs"),
        ("epoch-reversed", "train", "grouped diffraction", "tensorflow", "running free only"),
        ("another-key", "save", "configuration snapshot", "pytorch", "running free only"),
    ],
)
def test_a_planted_defect_is_named(tree, defect, scenario, stage, backend, meaning):
    (planted,) = [each for each in load_defects() if each.id == defect]
    with tree.damaged(planted.edits):
        code, said = _diverge(tree, scenario)
    assert code == 1, said
    assert f"the first divergence is at {stage!r}, in {backend} ({meaning}" in said, said


def test_a_wrong_second_batch_of_a_prediction_is_named(tree):
    find = "patches[part] = self._function(batch).numpy()"
    edit = Edit("ptycho/model_manager.py", find, f"{find} * (1.001 if start else 1)")
    with tree.damaged((edit,)):
        code, said = _diverge(tree, "infer", "--shared-only")
    assert code == 1, said
    assert "the first divergence is at 'object patches', in tensorflow" in said
