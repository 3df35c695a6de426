"""Saved models that are refused: a corpus of broken and malicious archives."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import zipfile

import dill
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptycho.core.archive import (
    ArchiveError,
    ArchiveTooLarge,
    BadManifest,
    BadParams,
    BadWeights,
    ChecksumMismatch,
    MissingMember,
    NotAnArchive,
    UnknownBackend,
    UnsafeMember,
    UnsafePickle,
    UnsupportedVersion,
    read_archive,
    write_archive,
)
from ptycho.core.bundle import read_bundle, write_bundle


def test_the_corpus_starts_from_a_sound_archive(corpus):
    read = corpus.read(corpus.sealed(corpus.members))
    corpus.assert_same(read, corpus.make())


class Command:
    """Pickles to a shell command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


PICKLES = [
    "manifest.dill",
    "autoencoder/params.dill",
    "autoencoder/custom_objects.dill",
    "diffraction_to_obj/params.dill",
    "diffraction_to_obj/custom_objects.dill",
]


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("protocol", [0, 4])
def test_a_command_in_a_pickle_is_refused_and_not_run(tmp_path, corpus, name, protocol):
    marker = tmp_path / "ran"
    payload = pickle.dumps({"models": Command(f"touch {marker}")}, protocol=protocol)
    crafted = corpus.sealed({**corpus.members, name: payload})
    if name == "manifest.dill":
        crafted["manifest.dill"] = payload
    corpus.refuse(crafted, UnsafePickle, f"{name} is not a pickle of plain values")
    assert not marker.exists()


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_bomb_is_refused(tmp_path, corpus, name):
    bomb = b"\x80\x04]\x94" + b"".join(b"]\x94(h%ch%ce" % (i, i) for i in range(60)) + b"."
    crafted = corpus.sealed({**corpus.members, name: bomb})
    if name == "manifest.dill":
        crafted["manifest.dill"] = bomb
    corpus.refuse(crafted, UnsafePickle, name)


def test_truncated_archives(corpus):
    for part in (0, 1, 1000, len(corpus.archive) // 2, len(corpus.archive) - 1):
        corpus.refuse_bytes(corpus.archive[:part], NotAnArchive, "not a sound zip file")


def boundaries(data):
    """Return where the members of a zip file begin, and where its directory does."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return [*(info.header_offset for info in file.infolist()), file.start_dir]


def test_archives_cut_at_every_member_boundary(corpus):
    places = boundaries(corpus.archive)
    assert len(places) == len(corpus.members) + 1
    for place in places:
        for part in {max(0, place + shift) for shift in (-1, 0, 1, 30)}:
            corpus.refuse_bytes(corpus.archive[:part], NotAnArchive, "not a sound zip file")


def test_a_flipped_byte_in_every_member(corpus):
    with zipfile.ZipFile(io.BytesIO(corpus.archive)) as file:
        infos = file.infolist()
    for info in infos:
        flipped = bytearray(corpus.archive)
        # The local header is 30 bytes and the name.
        flipped[info.header_offset + 30 + len(info.filename) + info.compress_size // 2] ^= 0x10
        corpus.refuse_bytes(bytes(flipped), ChecksumMismatch, f"'{info.filename}' is damaged")


def test_a_flipped_byte_in_a_member(corpus):
    flipped = bytearray(corpus.archive)
    flipped[len(flipped) // 3] ^= 0x10
    corpus.refuse_bytes(bytes(flipped), ChecksumMismatch, "model.h5' is damaged")


def test_a_flipped_byte_under_a_fresh_zip_checksum(corpus):
    data = bytearray(corpus.members["autoencoder/model.h5"])
    data[-1000] ^= 1
    crafted = {**corpus.members, "autoencoder/model.h5": bytes(data)}
    corpus.refuse(crafted, ChecksumMismatch, "'autoencoder/model.h5' is not what was saved")


def test_the_manifest_of_another_model(tmp_path, corpus):
    write_bundle(tmp_path / "other", corpus.make(seed=4), corpus.native)
    manifests = {
        name: data
        for name, data in read_archive(tmp_path / "other/wts.h5.zip").items()
        if name.startswith("manifest")
    }
    corpus.refuse({**corpus.members, **manifests}, ChecksumMismatch, "is not what was saved")


def test_an_extra_member(corpus):
    crafted = corpus.packed({**corpus.members, "autoencoder/extra": b""})
    corpus.refuse_bytes(crafted, ChecksumMismatch, "does not list: autoencoder/extra")


MANIFESTS = {
    "another backend": ({"backend": "jax"}, UnknownBackend, "backend 'jax' is not known"),
    "no backend": ({"backend": None}, UnknownBackend, "backend None"),
    "a list of backends": ({"backend": ["pytorch"]}, UnknownBackend, "is not known"),
    "the wrong backend": (
        {"backend": "pytorch"},
        UnknownBackend,
        "manifest says 'pytorch', model.h5 says 'tensorflow'",
    ),
    "a newer version": ({"version": "3.0"}, UnsupportedVersion, "version '3.0'.*reads '2.0'"),
    "an older version": ({"version": "1.0"}, UnsupportedVersion, "version '1.0'.*reads '2.0'"),
    "no version": ({"version": None}, UnsupportedVersion, "version None"),
    "a number": ({"version": 2.0}, UnsupportedVersion, "version 2.0"),
    "one model": ({"models": ["autoencoder"]}, BadManifest, "lists the models"),
    "odd models": ({"models": [["autoencoder"], 3]}, BadManifest, "lists the models"),
    "no models": ({"models": None}, BadManifest, "lists the models None"),
    "no checksums": ({"checksums": None}, BadManifest, "no checksums"),
    "checksums of nothing": ({"checksums": {}}, MissingMember, "model.h5' is missing"),
    "names that leave": ({"checksums": {"../../etc/passwd": ""}}, UnsafeMember, "unsafe name"),
    "absolute names": ({"checksums": {"/etc/passwd": ""}}, UnsafeMember, "unsafe name"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests(tmp_path, corpus, name):
    fields, error, text = MANIFESTS[name]
    corpus.refuse(corpus.sealed(corpus.members, **fields), error, text)


def test_a_harmless_field_may_be_missing(corpus):
    for name in ("custom_objects.dill", "model.keras"):
        del corpus.members[f"autoencoder/{name}"]
    read = corpus.read(corpus.sealed(corpus.members, created_by=None))
    corpus.assert_same(read, corpus.make())


@pytest.mark.parametrize("version", ["1.0", "2.0-pytorch"])
def test_the_archive_of_another_program_is_told_by_its_version(corpus, tmp_path, version):
    manifest = {"models": ["autoencoder", "diffraction_to_obj"], "version": version}
    write_archive(tmp_path, {"manifest.dill": dill.dumps(manifest), "autoencoder/model.pth": b"x"})
    corpus.refuse_path(tmp_path, UnsupportedVersion, f"version '{version}'.*reads '2.0'")


def test_manifests_that_disagree(corpus):
    text = json.loads(corpus.members["manifest.json"])
    crafted = {**corpus.members, "manifest.json": json.dumps({**text, "created_by": "me"}).encode()}
    corpus.refuse(crafted, BadManifest, "manifest.dill and manifest.json disagree")


@pytest.mark.parametrize(
    "data",
    [b"", b"[1]", b"{", b"\xff", b"[" * 100_000, b'{"version": ' + b"9" * 5000 + b"}"],
    ids=["empty", "list", "cut", "no text", "deep", "digits"],
)
def test_manifests_that_are_no_json(tmp_path, corpus, data):
    corpus.refuse({**corpus.members, "manifest.json": data}, BadManifest, "manifest.json")


def test_a_manifest_that_is_no_dictionary(corpus):
    crafted = {**corpus.members, "manifest.dill": pickle.dumps(["2.0"])}
    corpus.refuse(crafted, BadManifest, "manifest.dill holds a list")


NEEDED = [
    "manifest.dill",
    "manifest.json",
    "autoencoder/model.h5",
    "autoencoder/params.dill",
    "autoencoder/params.json",
    "diffraction_to_obj/model.h5",
    "diffraction_to_obj/params.dill",
    "diffraction_to_obj/params.json",
]


@pytest.mark.parametrize("name", [*NEEDED, "autoencoder/model.keras"])
def test_a_listed_member_that_is_missing(tmp_path, corpus, name):
    del corpus.members[name]
    corpus.refuse_bytes(corpus.packed(corpus.members), MissingMember, f"'{name}' is missing")


@pytest.mark.parametrize("name", NEEDED[2:])
def test_a_needed_member_that_the_manifest_leaves_out(tmp_path, corpus, name):
    del corpus.members[name]
    corpus.refuse(corpus.sealed(corpus.members), MissingMember, f"'{name}' is missing")


def with_params(corpus, **changes):
    params = {**pickle.loads(corpus.members["autoencoder/params.dill"]), **changes}
    params = {k: v for k, v in params.items() if v != "drop"}
    parts = {"dill": pickle.dumps(params, protocol=4), "json": json.dumps(params).encode()}
    crafted = dict(corpus.members)
    for model in ("autoencoder", "diffraction_to_obj"):
        for kind, data in parts.items():
            crafted[f"{model}/params.{kind}"] = data
    return corpus.sealed(crafted)


def test_crafted_params_are_read_where_they_are_sound(corpus):
    assert corpus.read(with_params(corpus, more=[1, "two"])).params["more"] == [1, "two"]


PARAMS = {
    "no N": ({"N": "drop"}, "no 'N'"),
    "no gridsize": ({"gridsize": "drop"}, "no 'gridsize'"),
    "no object.big": ({"object.big": "drop"}, "no 'object.big'"),
    "another N": ({"N": 48}, "ModelConfig.N is 48"),
    "N as text": ({"N": "32"}, "ModelConfig.N is '32'"),
    "a huge gridsize": ({"gridsize": 10**9}, "gridsize is 1000000000"),
    "a huge number": ({"probe_scale": 2**1024 - 1}, "describe no network"),
    "an infinite number": ({"probe_scale": float("inf")}, "probe_scale is inf"),
    "an unknown activation": ({"amp_activation": "exec"}, "amp_activation is 'exec'"),
    "a list": ({"amp_activation": ["sigmoid"]}, "amp_activation is"),
    "a flag as text": ({"probe.big": "yes"}, "probe_big is 'yes'"),
    "another scale": ({"intensity_scale": 5.0}, "disagree on intensity_scale"),
    "no scale": ({"intensity_scale": "drop"}, "disagree on intensity_scale"),
}


@pytest.mark.parametrize("name", PARAMS)
def test_params(tmp_path, corpus, name):
    changes, text = PARAMS[name]
    corpus.refuse(with_params(corpus, **changes), BadParams, text)


@pytest.mark.parametrize("name", ["autoencoder/params.json", "diffraction_to_obj/params.dill"])
def test_params_that_disagree(tmp_path, corpus, name):
    params = {**pickle.loads(corpus.members["autoencoder/params.dill"]), "gridsize": 1}
    data = json.dumps(params).encode() if name.endswith("json") else pickle.dumps(params)
    corpus.refuse(corpus.sealed({**corpus.members, name: data}), BadParams, f"{name} disagrees")


def test_a_network_of_another_width_than_its_weights(corpus):
    crafted = with_params(corpus, n_filters_scale=10**6)
    corpus.refuse(crafted, BadWeights, "has shape .* expected")


def test_params_too_long(corpus):
    crafted = {**corpus.members, "autoencoder/params.json": b" " * 600_000 + b"{}"}
    corpus.refuse(corpus.sealed(crafted), BadParams, "600002 bytes; the limit is")


# --------------------------------------------------------------------------- unpacked


def test_unpacked_links_are_not_followed(tmp_path, corpus):
    corpus.unpack(tmp_path / "bundle")
    target = tmp_path / "bundle/autoencoder/params.json"
    target.rename(tmp_path / "elsewhere")
    target.symlink_to(tmp_path / "elsewhere")
    corpus.refuse_path(tmp_path / "bundle", UnsafeMember, "params.json is a link")


def test_limits_hold_for_reading(corpus, monkeypatch):
    monkeypatch.setattr("ptycho.core.archive.MAX_TOTAL_BYTES", 1_000_000)
    corpus.refuse_bytes(corpus.archive, ArchiveTooLarge, "the limit is 1000000")


# --------------------------------------------------------------------------- random damage


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_random_damage_is_refused_or_harmless(tmp_path, corpus, data):
    size = len(corpus.archive)
    position = st.integers(0, size - 1) | st.integers(size - 3000, size - 1) | st.integers(0, 400)
    damaged = bytearray(corpus.archive)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(position)] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del damaged[data.draw(position) :]
    path = tmp_path / "wts.h5.zip"
    path.write_bytes(bytes(damaged))
    with contextlib.suppress(ArchiveError):
        corpus.assert_same(read_bundle(path), corpus.make())


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_random_damage_under_fresh_checksums_is_refused_or_read(corpus, data):
    names = sorted(name for name in corpus.members if not name.startswith("manifest"))
    name = data.draw(st.sampled_from(names))
    damaged = bytearray(corpus.members[name])
    for _ in range(data.draw(st.integers(1, 3))):
        # The first kilobytes of an HDF5 file hold its structure.
        damaged[data.draw(st.integers(0, min(len(damaged), 3000) - 1))] = data.draw(
            st.integers(0, 255)
        )
    crafted = corpus.sealed({**corpus.members, name: bytes(damaged)})
    with contextlib.suppress(ArchiveError):
        read = corpus.read(crafted)
        assert set(read.weights) == set(corpus.make().weights)
        assert all(np.isfinite(value).all() for value in read.weights.values())
