"""The logical tree of archives: what a snapshot holds and how two are compared."""

from __future__ import annotations

import pytest

from parity import process
from parity.layout import archive_tree, differences, render, shared_tree

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
@pytest.mark.parametrize("name", ["tensorflow", "pytorch"])
def test_archive_layout_snapshot(name, tmp_path, snapshot):
    from parity.backends import load_backends
    from parity.checks.samples import scan_container, small_model, training

    backend = load_backends()[name]
    reason = backend.available()
    if reason is not None:
        pytest.skip(reason)
    config = training(small_model(gridsize=2), batch_size=4, nepochs=1)
    run = backend.train_steps(config, scan_container(2, 0, groups=4), 1)
    assert archive_tree(backend.write_bundle(run, tmp_path)) == snapshot
