"""Memory that a training frees and needs again stays with the process, until it ends."""

import platform
import resource
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest

from ptycho_torch import process_settings
from ptycho_torch.process_settings import memory_kept

MIB = 2**20
#: Larger than what glibc keeps of its own accord (32 MiB), in pages of 4 KiB.
BYTES, ROUNDS = 48 * MIB, 8
PAGES = BYTES // resource.getpagesize()

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc here")


@pytest.fixture(autouse=True)
def not_adjusted(monkeypatch):
    """Run as a user does who adjusts nothing."""
    for name in ("GLIBC_TUNABLES", *process_settings._VARIABLES):
        monkeypatch.delenv(name, raising=False)


def new_pages(size=BYTES):
    """Return the pages that the system cleared while one array after another was filled."""
    np.ones(size, np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(ROUNDS):
        np.ones(size, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident():
    """Return the bytes that the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@glibc
def test_what_was_freed_is_used_again_and_returned_at_the_end():
    before, at_start = new_pages(), resident()
    with memory_kept():
        within = new_pages()
        kept = resident()
    # Huge pages count once for 512 small ones.
    assert before >= ROUNDS * PAGES / 512
    assert within < before / 20
    assert kept - at_start > BYTES // 2
    assert resident() - at_start < BYTES // 4
    assert new_pages() > before / 2


@glibc
def test_what_glibc_keeps_by_itself_it_keeps_afterwards():
    with memory_kept():
        pass
    assert new_pages(BYTES // 3) < ROUNDS * PAGES / 512


@glibc
def test_returned_after_an_error_too():
    with pytest.raises(KeyError), memory_kept():
        raise KeyError
    assert new_pages() >= ROUNDS * PAGES / 512


@glibc
@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TOP_PAD_", "131072"), ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=131072")],
)
def test_a_user_who_adjusts_the_allocator_has_the_say(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with memory_kept():
        assert new_pages() >= ROUNDS * PAGES / 512


@pytest.mark.parametrize("library", [OSError("none"), TypeError("not None"), object()])
def test_another_c_library_is_left_alone(monkeypatch, library):
    def load(name):
        if isinstance(library, Exception):
            raise library
        return library

    monkeypatch.setattr(process_settings.ctypes, "CDLL", load)
    with memory_kept():
        assert np.ones(BYTES, np.uint8).all()


@glibc
def test_a_training_keeps_its_memory_and_returns_it(fit, make_config):
    class Count(pl.Callback):
        def on_train_batch_start(self, *args):
            counted.append(new_pages())

    counted = []
    fit(make_config(nepochs=1), callbacks=[Count()])
    assert len(counted) > 1
    assert max(counted) < new_pages() / 20
