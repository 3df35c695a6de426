"""Patterns with zero frequency in the corners are noticed; other odd patterns are not."""

import logging

import numpy as np
import pytest

from ptycho.raw_data import RawData
from ptycho.simulation.simulate import built_in_scan


def _warnings(caplog, patterns, **more):
    caplog.clear()
    n, N = patterns.shape[:2]
    with caplog.at_level(logging.WARNING, "ptycho.core.scan_checks"):
        where = np.arange(n)
        RawData(where, where, None, None, patterns, np.ones((N, N)), None, **more)
    return caplog.text


@pytest.mark.parametrize("N", [31, 32])
def test_what_lies_in_the_corners_is_noticed(caplog, N):
    patterns = np.zeros((200, N, N), np.uint16)
    patterns[:, N // 2, N // 2] = 1000
    assert _warnings(caplog, patterns) == ""
    assert f"N/2 = {N // 2}" in _warnings(caplog, np.fft.ifftshift(patterns, axes=(1, 2)))


def test_the_remedy_in_the_text_is_one(caplog):
    raw = built_in_scan(N=32, n_positions=9)
    corner = np.fft.ifftshift(raw.diff3d, axes=(1, 2))
    assert "numpy.fft.fftshift(diff3d, axes=(1, 2))" in _warnings(caplog, corner)
    assert _warnings(caplog, np.fft.fftshift(corner, axes=(1, 2))) == ""


def test_bad_pixels_decide_nothing(caplog):
    patterns = np.zeros((3, 32, 32))
    patterns[:, 16, 16] = 1.0
    patterns[:, 0, 0] = 1e9
    bad = np.zeros((32, 32), bool)
    bad[0, 0] = True
    assert "corners" in _warnings(caplog, patterns)
    assert _warnings(caplog, patterns, bad_pixels=bad) == ""
