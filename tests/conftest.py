"""What every test shares: quiet single-threaded frameworks, restored params, data folder."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

# Before any test imports a framework: test processes run side by side, one thread each.
for _name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

ROOT = Path(__file__).resolve().parents[1]

# Searches are the same in every run; HYPOTHESIS_PROFILE=nightly draws anew, looks further, and
# keeps what failed. Slow tests search so whatever the profile is.
settings.register_profile(
    "ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "nightly",
    derandomize=False,
    deadline=None,
    max_examples=1000,
    database=DirectoryBasedExampleDatabase(ROOT / ".hypothesis" / "examples"),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    print_blob=True,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def _params_restored() -> Iterator[None]:
    """Give every test the default ``params.cfg`` and take its changes away again."""
    from ptycho import params

    params.restore_defaults()
    yield
    params.restore_defaults()


@pytest.fixture
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture
def data_dir() -> Path:
    """The folder of measured scans; the test is skipped where there is none."""
    folder = Path(os.environ.get("PTYCHO_DATA_DIR", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no measured scans in {folder} (set PTYCHO_DATA_DIR)")
    return folder
