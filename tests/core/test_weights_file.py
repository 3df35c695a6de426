"""``model.h5``: plain float32 datasets go through, everything else HDF5 can say is refused."""

from __future__ import annotations

import io

import h5py
import numpy as np
import pytest

from ptycho.core.archive import BadWeights
from ptycho.core.weights_file import WeightsFile, dump_weights, load_weights


def edited(data, edit):
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        edit(file)
    return buffer.getvalue()


def replaced(file, name, **kwargs):
    del file[name]
    file.create_dataset(name, **kwargs)


def external_link(file):
    del file["log_scale"]
    file["log_scale"] = h5py.ExternalLink("/etc/hostname", "/log_scale")


def soft_link(file):
    del file["log_scale"]
    file["log_scale"] = h5py.SoftLink("/probe")


def linked_group(file):
    del file["phase_head"]
    file["phase_head"] = h5py.ExternalLink("other.h5", "/phase_head")


def external_storage(file):
    replaced(
        file,
        "encoder/block1/conv1/bias",
        shape=(64,),
        dtype="<f4",
        external=[("/dev/zero", 0, 256)],
    )


def virtual_storage(file):
    layout = h5py.VirtualLayout(shape=(64,), dtype="<f4")
    layout[:] = h5py.VirtualSource("other.h5", "data", shape=(64,))
    del file["encoder/block1/conv1/bias"]
    file.create_virtual_dataset("encoder/block1/conv1/bias", layout)


def cycle(file):
    file["encoder/block1/again"] = file["encoder"]


def claim_huge(file):
    # Late allocation: the file stays small, reading would hand out 4 TB of zeros.
    space = h5py.h5s.create_simple((10**12,))
    del file["encoder/block1/conv1/bias"]
    h5py.h5d.create(file.id, b"encoder/block1/conv1/bias", h5py.h5t.IEEE_F32LE, space)


def references(file):
    values = np.array([file["probe"].ref] * 64, dtype=h5py.ref_dtype)
    replaced(file, "encoder/block1/conv1/bias", data=values, dtype=h5py.ref_dtype)


def named_type(file):
    file["encoder/type"] = np.dtype("<f4")


def attribute(name, value):
    def edit(file):
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    return edit


BIAS = "encoder/block1/conv1/bias"
FLOATS = np.zeros(64, np.float32)
HDF5 = {
    "an external link": (external_link, "'log_scale' is a link to another place"),
    "a soft link": (soft_link, "'log_scale' is a link to another place"),
    "a linked group": (linked_group, "'phase_head' is a link to another place"),
    "external storage": (external_storage, f"'{BIAS}' is not stored in one piece"),
    "virtual storage": (virtual_storage, f"'{BIAS}' is not stored in one piece"),
    "a cycle": (cycle, "more groups or datasets"),
    "a huge shape": (claim_huge, f"'{BIAS}' has shape .1000000000000,., more than the file holds"),
    "object references": (references, f"'{BIAS}' is not of type float32"),
    "a named type": (named_type, "'encoder/type' is neither a group nor a dataset"),
    "gzip": (lambda f: replaced(f, BIAS, data=FLOATS, compression="gzip"), "in one piece"),
    "chunks": (lambda f: replaced(f, BIAS, data=FLOATS, chunks=(8,)), "in one piece"),
    "doubles": (lambda f: replaced(f, BIAS, data=FLOATS, dtype="f8"), "not of type float32"),
    "big-endian": (lambda f: replaced(f, BIAS, data=FLOATS, dtype=">f4"), "not of type float32"),
    "text": (lambda f: replaced(f, BIAS, data=["a"] * 64), "not of type float32"),
    "a compound": (
        lambda f: replaced(f, BIAS, data=np.zeros(64, [("a", "<f4")])),
        "not of type float32",
    ),
    "an empty dataset": (lambda f: replaced(f, BIAS, data=h5py.Empty("<f4")), "is empty"),
    "another shape": (lambda f: replaced(f, BIAS, data=FLOATS[:8]), r"shape \(8,\); expected"),
    "not a number": (lambda f: replaced(f, BIAS, data=FLOATS * np.nan), "contains NaN or infinity"),
    "infinity": (lambda f: replaced(f, BIAS, data=FLOATS - np.inf), "contains NaN or infinity"),
    "one weight less": (lambda f: f.pop(BIAS), f"weight '{BIAS}' is missing"),
    "one weight more": (lambda f: f.create_dataset("more", data=FLOATS), "unknown weights: more"),
    "no backend": (attribute("backend", None), "attribute 'backend' is missing"),
    "backend of any length": (attribute("backend", "tensorflow"), "not a single value"),
    "another version": (attribute("format_version", np.bytes_("9")), "format_version is '9'"),
    "no scale": (attribute("intensity_scale", None), "'intensity_scale' is missing"),
    "a scale as text": (attribute("intensity_scale", "1"), "'intensity_scale' is not a single"),
    "two scales": (attribute("intensity_scale", [1.0, 2.0]), "is not a single value"),
    "a negative scale": (attribute("intensity_scale", -1.0), "intensity_scale is -1.0"),
    "a normalisation of NaN": (attribute("normalisation", np.nan), "normalisation is nan"),
}


def crafted(corpus, model, edit):
    data = edited(corpus.members[f"{model}/model.h5"], edit)
    return corpus.packed(corpus.sealed({**corpus.members, f"{model}/model.h5": data}))


@pytest.mark.parametrize("name", HDF5)
def test_weights_files(corpus, name):
    edit, text = HDF5[name]
    expected = f"autoencoder/model.h5: .*{text}.*save the model again"
    corpus.refuse_bytes(crafted(corpus, "autoencoder", edit), BadWeights, expected)


@pytest.mark.parametrize("name", ["an external link", "not a number", "one weight less"])
def test_the_second_weights_file_is_checked_too(corpus, name):
    edit, text = HDF5[name]
    expected = f"diffraction_to_obj/model.h5: .*{text}"
    corpus.refuse_bytes(crafted(corpus, "diffraction_to_obj", edit), BadWeights, expected)


def test_an_external_link_to_a_fitting_weight_is_not_followed(tmp_path, corpus):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["log_scale"] = np.float32(0.5)

    def link(file):
        del file["log_scale"]
        file["log_scale"] = h5py.ExternalLink(str(other), "/log_scale")

    data = edited(corpus.members["autoencoder/model.h5"], link)
    (tmp_path / "model.h5").write_bytes(data)
    with h5py.File(tmp_path / "model.h5", "r") as file:
        assert file["log_scale"][()] == 0.5  # h5py alone follows it
    with pytest.raises(BadWeights, match="it was not followed"):
        load_weights(data, corpus.config, "here")


def test_storage_in_another_file_is_not_read(tmp_path, corpus):
    (tmp_path / "secret").write_bytes(np.full(64, 7.0, "<f4").tobytes())

    def point(file):
        replaced(
            file, BIAS, shape=(64,), dtype="<f4", external=[(str(tmp_path / "secret"), 0, 256)]
        )

    data = edited(corpus.members["autoencoder/model.h5"], point)
    with h5py.File(io.BytesIO(data), "r") as file:
        assert file[BIAS][0] == 7.0  # h5py alone reads it
    with pytest.raises(BadWeights, match="not stored in one piece"):
        load_weights(data, corpus.config, "here")


@pytest.mark.parametrize("data", [b"", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(500)])
def test_what_is_no_hdf5(corpus, data):
    members = corpus.sealed({**corpus.members, "autoencoder/model.h5": data})
    corpus.refuse(members, BadWeights, "autoencoder/model.h5: .*save the model again")


def test_no_probe_anywhere(corpus):
    data = corpus.members["diffraction_to_obj/model.h5"]
    members = corpus.sealed({**corpus.members, "autoencoder/model.h5": data})
    corpus.refuse(members, BadWeights, "weight 'probe' is missing")


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda f: replaced(f, BIAS, data=FLOATS + 1), f"disagree on weight '{BIAS}'"),
        (attribute("normalisation", 0.5), "disagree on normalisation"),
        (attribute("backend", np.bytes_("pytorch")), "disagree on backend"),
    ],
)
def test_two_models_that_disagree(corpus, edit, text):
    data = crafted(corpus, "diffraction_to_obj", edit)
    corpus.refuse_bytes(data, BadWeights, f"the two models {text}")


def test_bytes_do_not_depend_on_the_order_of_the_weights(corpus):
    weights = corpus.make().weights
    content = WeightsFile(weights, "pytorch", 2.0, 3.0)
    shuffled = WeightsFile(dict(reversed(weights.items())), "pytorch", 2.0, 3.0)
    assert dump_weights(content) == dump_weights(shuffled)


def test_round_trip_in_memory(corpus):
    content = WeightsFile(corpus.make().weights, "pytorch", np.float32(2.5), 3.0)
    read = load_weights(dump_weights(content), corpus.config, "here")
    assert (read.backend, read.intensity_scale, read.normalisation) == ("pytorch", 2.5, 3.0)
    assert type(read.intensity_scale) is float
    for name, value in content.weights.items():
        np.testing.assert_array_equal(read.weights[name], value)
