"""Native payloads with code in them: refused from outside, by whoever reads the bundle."""

from __future__ import annotations

import io
import os
import pickle
import time
import zipfile

import h5py
import pytest

from ptycho.core.archive import UnsafePayload
from ptycho.core.native_payload import inspect_payload

KERAS, CHECKPOINT = "model.keras", "model.ckpt"


def layer(module, name, registered=None, /, **config):
    return {"module": module, "class_name": name, "registered_name": registered, "config": config}


LAMBDA = {"class_name": "__lambda__", "config": {"value": "4wEAAAAAAAAAAAAAAAEAAAADAAAAUwAAAA=="}}
LAYERS = {
    "a Lambda layer": layer("keras.layers", "Lambda", function=LAMBDA),
    "code in a configuration": layer("keras.layers", "Conv2D", activation=LAMBDA),
    "a layer of another package": layer("evil.layers", "Payload", "evil>Payload"),
    "an unregistered layer": layer("ptycho.layers", "Payload", "ptycho>Payload"),
    "a layer under another's name": layer("ptycho.layers", "BorderSum", "evil>BorderSum"),
    "another module's class": layer("os", "Conv2D"),
    "a function": layer("builtins", "function", "function", value="os.system"),
    "a layer that wraps a model of torch": layer("keras.layers", "TorchModuleWrapper", module="x"),
    "a layer that loads a saved model": layer("keras.layers", "TFSMLayer", filepath="/tmp/x"),
    "a tokeniser that reads files": layer("keras.layers", "StringLookup", vocabulary="/etc/passwd"),
    "an initialiser of one's own": layer("keras.layers", "Conv2D", init=layer("x", "Y")),
    "a class that is no name": layer("keras.layers", ["Conv2D"]),
    "an object without a class": {"module": "os", "registered_name": "system"},
}


def external_link(file):
    file["layers/other"] = h5py.ExternalLink("/etc/hostname", "/x")


def external_storage(file):
    file.create_dataset("layers/x", shape=(64,), dtype="<f4", external=[("/etc/passwd", 0, 256)])


def virtual(file):
    layout = h5py.VirtualLayout(shape=(64,), dtype="<f4")
    layout[:] = h5py.VirtualSource("other.h5", "data", shape=(64,))
    file.create_virtual_dataset("layers/x", layout)


def huge(file):
    h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((10**12,)))


WEIGHTS = {f.__name__: f for f in (external_link, external_storage, virtual, huge)}


class Call:
    def __init__(self, function, *arguments):
        self.parts = (function, arguments)

    def __reduce__(self):
        return self.parts


def touch(path):
    return Call(os.system, f"touch {path}")


PICKLES = {
    "a command": lambda path: pickle.dumps(touch(path), protocol=2),
    "a command, newer protocol": lambda path: pickle.dumps(touch(path), protocol=4),
    "a command, oldest protocol": lambda path: pickle.dumps(touch(path), protocol=0),
    "eval": lambda path: pickle.dumps(Call(eval, f"open({str(path)!r}, 'w')"), protocol=2),
    "getattr": lambda path: pickle.dumps(Call(getattr, {}, "get"), protocol=2),
    "torch.load": lambda path: b"\x80\x02ctorch\nload\nX\x01\x00\x00\x00a\x85R.",
    "a global of torch": lambda path: b"\x80\x02ctorch.serialization\nload\n.",
    "an instance": lambda path: b"(ios\nsystem\n.",
    "a built state": lambda path: b"\x80\x02}}b.",
    "an extension": lambda path: b"\x80\x02\x82\x01.",
    "cut": lambda path: b"\x80\x02}X\xff",
    "empty": lambda path: b"",
}


def refused(name, data, text):
    started = time.process_time()
    with pytest.raises(UnsafePayload, match=f"here: .*{text}.*not opened, do not use"):
        inspect_payload(name, data, "here")
    assert time.process_time() - started < 1


def test_sound_payloads_pass(corpus):
    inspect_payload(KERAS, corpus.keras_payload(), "here")
    inspect_payload(CHECKPOINT, corpus.checkpoint_payload(), "here")


@pytest.mark.parametrize("case", LAYERS)
def test_keras_configurations(corpus, case):
    refused(KERAS, corpus.keras_payload(LAYERS[case]), "")


@pytest.mark.parametrize("case", WEIGHTS)
def test_keras_weights(corpus, case):
    refused(KERAS, corpus.keras_payload(edit=WEIGHTS[case]), "")


@pytest.mark.parametrize("case", PICKLES)
def test_checkpoints(corpus, tmp_path, case):
    marker = tmp_path / "ran"
    refused(CHECKPOINT, corpus.checkpoint_payload(PICKLES[case](marker)), "")
    assert not marker.exists()


def test_the_pickles_would_run_elsewhere(tmp_path):
    pickle.loads(PICKLES["a command"](tmp_path / "ran"))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", [KERAS, CHECKPOINT])
@pytest.mark.parametrize("data", [b"", b"PK\x05\x06", b"native", b"\x80\x04N."])
def test_what_is_no_zip_file(name, data):
    refused(name, data, "zip")


def deflated(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def members(corpus, **changes):
    with zipfile.ZipFile(io.BytesIO(corpus.keras_payload())) as file:
        return {**{name: file.read(name) for name in file.namelist()}, **changes}


def test_a_bomb(corpus):
    bomb = deflated(members(corpus, **{"config.json": b" " * 50_000_000}))
    refused(KERAS, bomb, "compressed")


def test_too_many_members(corpus):
    refused(KERAS, corpus.stored({f"m{i}": b"" for i in range(1025)}), "more members")


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "assets/vocabulary.txt"])
def test_members_that_keras_would_unpack(corpus, name):
    refused(KERAS, corpus.stored(members(corpus, **{name: b"x"})), "")


@pytest.mark.parametrize("data", [b"[" * 100_000, b"{", b"\xff", b" " * 5_000_000])
def test_configurations_that_are_no_json(corpus, data):
    refused(KERAS, corpus.stored(members(corpus, **{"config.json": data})), "")


def test_a_checkpoint_with_two_pickles(corpus):
    data = corpus.checkpoint_payload(**{"archive/other.pkl": b"x"})
    refused(CHECKPOINT, data, "expected one data.pkl")


@pytest.mark.parametrize("role", ["autoencoder", "diffraction_to_obj"])
@pytest.mark.parametrize("name", [KERAS, CHECKPOINT])
def test_a_bundle_with_such_a_payload_is_refused(corpus, tmp_path, role, name):
    marker = tmp_path / "ran"
    hostile = {
        KERAS: corpus.keras_payload(LAYERS["a Lambda layer"]),
        CHECKPOINT: corpus.checkpoint_payload(PICKLES["a command"](marker)),
    }[name]
    crafted = corpus.sealed({**corpus.members, f"{role}/{name}": hostile})
    corpus.refuse(crafted, UnsafePayload, f"{role}/{name}: .*do not use this file")
    assert not marker.exists()


def test_what_a_real_configuration_holds_is_looked_at_to_the_end(corpus):
    nested = {"a": [{"b": {"c": LAYERS["a Lambda layer"]}}]}
    data = corpus.keras_payload(layer("keras.layers", "Conv2D", deep=nested))
    refused(KERAS, data, "Lambda")


def test_a_local_header_that_swallows_the_file_is_not_quoted_in_full(corpus):
    data = bytearray(corpus.keras_payload(*[layer("keras.layers", "Conv2D") for _ in range(500)]))
    data[26:28] = b"\xff\xff"  # the length of the first name
    with pytest.raises(UnsafePayload, match="not opened, do not use") as caught:
        inspect_payload(KERAS, bytes(data), "here")
    assert len(str(caught.value)) < 1000
