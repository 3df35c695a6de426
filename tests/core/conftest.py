"""A small saved model, and the tools to craft broken and malicious ones from it."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import pickle
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptycho.config.config import ModelConfig
from ptycho.core.archive import ArchiveError
from ptycho.core.bundle import Bundle, read_bundle, write_bundle
from ptycho.core.weights import Weights, initial_weights

CONFIG = ModelConfig(
    N=32, n_filters_scale=1, gridsize=2, amp_activation="swish", probe_scale=3.5, probe_mask=True
)


def stored(members: dict[str, bytes]) -> bytes:
    """Return a zip file whose members are not compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members.items():
            file.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def keras_payload(*layers: object, edit: Callable[[h5py.File], None] | None = None) -> bytes:
    """Return a small ``model.keras`` with these layers in its configuration."""
    inner = {"module": "keras.layers", "class_name": "InputLayer", "registered_name": None}
    config = {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "registered_name": "Functional",
        "config": {"layers": [inner, *layers]},
    }
    weights = io.BytesIO()
    with h5py.File(weights, "w", libver=("earliest", "v110")) as file:
        file["layers/conv2d/vars/0"] = np.zeros((2, 3), np.float32)
        if edit is not None:
            edit(file)
    return stored(
        {
            "config.json": json.dumps(config).encode(),
            "metadata.json": b'{"keras_version": "3.15.1"}',
            "model.weights.h5": weights.getvalue(),
        }
    )


def checkpoint_payload(pickled: bytes | None = None, **members: bytes) -> bytes:
    """Return a small ``model.ckpt``; ``pickled`` is its ``data.pkl``."""
    plain = pickle.dumps({"epoch": 0, "state_dict": {}}, protocol=2)
    content = {"archive/data.pkl": plain if pickled is None else pickled, "archive/version": b"3"}
    return stored({**content, **members})


NATIVE = {
    "autoencoder/model.keras": keras_payload(),
    "diffraction_to_obj/model.keras": keras_payload(),
}


def _probe(N: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, N, N)) + 1j


@functools.cache
def _weights(text: str, seed: int) -> Weights:
    config = ModelConfig(**json.loads(text))
    return initial_weights(config, seed, _probe(config.N, seed), 123.0)


def make(backend="tensorflow", config=CONFIG, seed=3, **changes) -> Bundle:
    """Return a bundle of the smallest network, with every kind of entry in its params."""
    text = json.dumps({k: getattr(v, "tolist", lambda v=v: v)() for k, v in vars(config).items()})
    weights = {name: value.copy() for name, value in _weights(text, seed).items()}
    params = {
        "nphotons": np.float64(1e6),
        "output_prefix": Path("runs/first"),
        "sizes": (1, np.int32(2), [3.5, None]),
        "probe": _probe(32, seed),
        "label": "Ångström",
    }
    return replace(Bundle(backend, config, weights, 123.0, 0.25, params), **changes)


def files_below(path: Path) -> list[str]:
    """Return what lies below a directory, relative to it."""
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


def assert_same(read: Bundle, written: Bundle) -> None:
    """Check that a bundle came back as it was saved."""
    assert read.backend == written.backend
    assert read.config == written.config
    assert read.intensity_scale == written.intensity_scale
    assert read.normalisation == written.normalisation
    assert set(read.weights) == set(written.weights)
    for name, value in written.weights.items():
        assert read.weights[name].dtype == np.float32
        np.testing.assert_array_equal(read.weights[name], value)


def packed(members: dict[str, bytes]) -> bytes:
    """Return a zip file with these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def sealed(members: dict[str, bytes], **fields: object) -> dict[str, bytes]:
    """Return ``members`` with manifests that vouch for them; a field of None is left out."""
    manifest = json.loads(members["manifest.json"])
    manifest["checksums"] = {
        name: hashlib.sha256(data).hexdigest()
        for name, data in members.items()
        if not name.startswith("manifest")
    }
    manifest = {k: v for k, v in {**manifest, **fields}.items() if v is not None}
    return {
        **members,
        "manifest.dill": pickle.dumps(manifest, protocol=4),
        "manifest.json": json.dumps(manifest).encode(),
    }


@dataclass
class Corpus:
    """A sound archive, its members, and what must be true when a changed one is read."""

    directory: Path
    archive: bytes
    members: dict[str, bytes]

    make = staticmethod(make)
    packed = staticmethod(packed)
    sealed = staticmethod(sealed)
    assert_same = staticmethod(assert_same)
    files_below = staticmethod(files_below)
    native = NATIVE
    stored = staticmethod(stored)
    keras_payload = staticmethod(keras_payload)
    checkpoint_payload = staticmethod(checkpoint_payload)
    config = CONFIG

    def unpack(self, directory: Path) -> None:
        """Unpack the sound archive."""
        with zipfile.ZipFile(io.BytesIO(self.archive)) as file:
            file.extractall(directory)

    def read(self, members: dict[str, bytes]) -> Bundle:
        """Read an archive of these members."""
        (self.directory / "wts.h5.zip").write_bytes(packed(members))
        return read_bundle(self.directory)

    def refuse_path(self, path: Path, error: type[ArchiveError], text: str) -> None:
        """Check that what lies at ``path`` is refused at once, clearly, and untouched."""
        before = files_below(path)
        started = time.process_time()
        with pytest.raises(error, match=text) as caught:
            read_bundle(path)
        assert time.process_time() - started < 1
        assert type(caught.value) is error
        assert str(path) in str(caught.value)
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
        assert files_below(path) == before

    def refuse_bytes(self, data: bytes, error: type[ArchiveError], text: str) -> None:
        """Check that a file with this content is refused."""
        directory = self.directory / "packed"
        directory.mkdir(exist_ok=True)
        (directory / "wts.h5.zip").write_bytes(data)
        self.refuse_path(directory, error, text)

    def refuse(self, members: dict[str, bytes], error: type[ArchiveError], text: str) -> None:
        """Check that the members are refused, as an archive and unpacked."""
        self.refuse_bytes(packed(members), error, text)
        for name, data in members.items():
            file = self.directory / "unpacked" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        self.refuse_path(self.directory / "unpacked", error, text)


@pytest.fixture(scope="session")
def _sound_archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("sound")
    return write_bundle(directory, make(), NATIVE, custom_objects=["ptycho>Probe"]).read_bytes()


@pytest.fixture(scope="session")
def _sound_members(_sound_archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(_sound_archive)) as file:
        return {name: file.read(name) for name in file.namelist()}


@pytest.fixture
def corpus(tmp_path: Path, _sound_archive: bytes, _sound_members: dict[str, bytes]) -> Corpus:
    """Return the tools, with ``tmp_path`` as their directory."""
    return Corpus(tmp_path, _sound_archive, dict(_sound_members))


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Bundle]:
    """Return the function that makes a bundle of the smallest network."""
    return make


@pytest.fixture(scope="session")
def native() -> dict[str, bytes]:
    """Return native payloads that are as good as those of TensorFlow."""
    return dict(NATIVE)
