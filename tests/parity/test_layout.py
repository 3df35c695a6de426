"""The logical tree of archives: what a snapshot holds and how two are compared."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from parity import process
from parity.layout import archive_tree, differences, render, shared_tree
from ptycho.core.bundle import read_bundle, write_bundle

process.pin()


def test_differences_name_the_leaf_and_both_values():
    left = {"a": {"shape": [1, 2], "same": 1}, "only": 1}
    right = {"a": {"shape": [1, 3], "same": 1}, "new": {"x": 1}}
    assert differences(left, right) == [
        "a > shape: [1, 2] vs [1, 3]",
        "new: only in the second",
        "only: only in the first",
    ]
    assert differences(left, left) == []
    assert differences({"a": {}}, {"a": 1}) == ["a: {} vs 1"]


def test_shared_tree_leaves_out_the_native_payload_and_its_checksums():
    tree = {
        "autoencoder/model.keras": {"kind": "keras"},
        "autoencoder/model.h5": {"kind": "hdf5"},
        "manifest.json": {
            "kind": "json",
            "content": {"checksums": ["autoencoder/model.h5", "autoencoder/model.keras"]},
        },
    }
    shared = shared_tree(tree)
    assert list(shared) == ["autoencoder/model.h5", "manifest.json"]
    assert shared["manifest.json"]["content"]["checksums"] == ["autoencoder/model.h5"]
    assert tree["manifest.json"]["content"]["checksums"] != ["autoencoder/model.h5"]


def test_rendering_indents_levels():
    assert render({"a": {"b": 1}, "c": 2}) == "a\n  b: 1\nc: 2"


@pytest.mark.parity
@pytest.mark.xdist_group("parity")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("model_type", ["pinn", "supervised"])
@pytest.mark.parametrize("gridsize", [1, 2])
@pytest.mark.parametrize("name", ["tensorflow", "pytorch"])
def test_archive_layout_snapshot(name, gridsize, model_type, tmp_path, snapshot):
    from parity.backends import load_backends
    from parity.checks.samples import scan_container, small_model, training

    backend = load_backends()[name]
    reason = backend.available()
    if reason is not None:
        pytest.skip(reason)
    fields = {"batch_size": 4, "nepochs": 1}
    if model_type == "supervised":
        fields |= {"realspace_weight": 1.0, "realspace_mae_weight": 1.0}
    config = training(small_model(gridsize=gridsize, model_type=model_type), **fields)
    run = backend.train_steps(config, scan_container(gridsize, 0, groups=4), 1)
    path = backend.write_bundle(run, tmp_path)
    assert archive_tree(path) == snapshot
    _judge_hashes(path, tmp_path)


def _judge_hashes(path, tmp_path):
    """The tree with hashes is the same for an unpacked archive, and says which tensor differs."""
    hashed = archive_tree(path, hashes=True)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "unpacked")
    (tmp_path / "unpacked" / "my notes").write_text("not a member")
    assert archive_tree(tmp_path / "unpacked", hashes=True) == hashed
    bundle = read_bundle(path)
    bundle.weights["log_scale"] = bundle.weights["log_scale"] + np.float32(1)
    other = archive_tree(write_bundle(tmp_path / "other.zip", bundle, {}), hashes=True)
    lines = [line for line in differences(hashed, other) if "sha256" in line]
    assert {line.split(":")[0] for line in lines} == {
        f"{model}/model.h5 > tensors > log_scale" for model in ("autoencoder", "diffraction_to_obj")
    }
