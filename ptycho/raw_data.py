"""Scan data as it was measured, and the door from it to groups.

Positions are (x, y) = (column, row) in object pixels of the patch centre; see
:mod:`ptycho.core.geometry`.
"""

from __future__ import annotations

import copy
import functools
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptycho import params
from ptycho.core.grouped import GroupedData
from ptycho.core.grouping import IndexArray, draw_groups
from ptycho.core.patterns import Patterns
from ptycho.core.sampling import grouping_generator
from ptycho.core.scaling import Domain, resolve_domain
from ptycho.core.scan_checks import check_scan
from ptycho.io.scan_file import metadata_differences, read_scan, write_scan
from ptycho.io.stored import StoredPatterns

__all__ = ["GroupedData", "RawData"]

_LOG = logging.getLogger(__name__)

#: Seed of grouping where the caller gives none, as in the configurations.
_DEFAULT_SEED = 42

_NO_PATTERNS = "RawData has no diffraction patterns: give diff3d"

#: The constructor's arguments, which are attributes and what a file keeps.
_FIELDS = (
    "xcoords", "ycoords", "xcoords_start", "ycoords_start", "diff3d", "probeGuess", "scan_index",
    "objectGuess", "Y", "norm_Y_I", "metadata", "bad_pixels", "measurement_domain",
)  # fmt: skip

Array = NDArray[Any]


class RawData:
    """One scan: n diffraction patterns with their positions, the probe, and what else is known.

    Arrays are kept as given, without copies or conversions.

    - ``xcoords``, ``ycoords`` (n,): positions in object pixels; ``xcoords_start``,
      ``ycoords_start`` (n,): nominal positions (None: the same).
    - ``diff3d`` (n, N, N): counts or amplitude, any real dtype, zero frequency at N/2. None
      where there are no patterns; :meth:`amplitude` then raises.
    - ``probeGuess`` (N, N), or (modes, N, N) for incoherent modes, complex, or None.
    - ``scan_index`` (n,): scan labels (None: zeros).
    - ``objectGuess`` (H, W) complex; ``Y`` (n, N, N) complex ground-truth patches.
    - ``norm_Y_I``: a number kept for older files. ``metadata``: a JSON-able dict.
    - ``bad_pixels`` (N, N) bool: True where the detector measured nothing. What ``diff3d`` holds
      there, NaN and saturated counts included, is never used: the network sees 0, and the loss
      and the normalisation leave these pixels out.
    - ``measurement_domain``: ``"counts"``, ``"amplitude"``, or ``"auto"``: counts where the
      dtype of ``diff3d`` is an integer, else amplitude.

    Raises ``ValueError``, naming the array, for wrong ranks, patterns that are not square,
    lengths that differ, no positions, NaN, infinity or negative values outside the bad pixels, a
    mask that leaves no pixel, and a probe that is empty or has another side than the patterns.
    """

    def __init__(
        self,
        xcoords: ArrayLike,
        ycoords: ArrayLike,
        xcoords_start: ArrayLike | None,
        ycoords_start: ArrayLike | None,
        diff3d: ArrayLike | None,
        probeGuess: ArrayLike | None,
        scan_index: ArrayLike | None,
        objectGuess: ArrayLike | None = None,
        Y: ArrayLike | None = None,
        norm_Y_I: Any = None,
        metadata: dict[str, Any] | None = None,
        bad_pixels: ArrayLike | None = None,
        measurement_domain: str = "auto",
    ) -> None:
        self.xcoords = np.asarray(xcoords)
        self.ycoords = np.asarray(ycoords)
        self.xcoords_start = self.xcoords if xcoords_start is None else np.asarray(xcoords_start)
        self.ycoords_start = self.ycoords if ycoords_start is None else np.asarray(ycoords_start)
        self.diff3d: Array | None = _optional(diff3d)
        self.probeGuess = _optional(probeGuess)
        n = len(self.xcoords) if self.xcoords.ndim else 0
        self.scan_index = np.zeros(n, np.int64) if scan_index is None else np.asarray(scan_index)
        self.objectGuess: Array | None = _optional(objectGuess)
        self.Y = _optional(Y)
        self.norm_Y_I = norm_Y_I
        self.metadata = metadata
        self.bad_pixels = _optional(bad_pixels)
        self.measurement_domain = str(measurement_domain)
        check_scan(self)

    # ------------------------------------------------------------------ construction

    @staticmethod
    def from_coords_without_pc(
        xcoords: ArrayLike,
        ycoords: ArrayLike,
        diff3d: ArrayLike | None,
        probeGuess: ArrayLike | None,
        scan_index: ArrayLike | None,
        objectGuess: ArrayLike | None = None,
    ) -> RawData:
        """Return a scan whose nominal positions are its positions."""
        return RawData(
            xcoords, ycoords, xcoords, ycoords, diff3d, probeGuess, scan_index, objectGuess
        )

    @staticmethod
    def from_file(
        path: str | Path,
        validate_config: bool = False,
        current_config: Any = None,
        in_place: bool = False,
    ) -> RawData:
        """Read a scan from an NPZ file, a ptychodus product or training file, or a CXI file.

        The format is told by the content (``specs/data_contracts.md``). The keys of an NPZ file
        are the constructor's arguments; ``diffraction`` is read for ``diff3d`` and ``_metadata``
        (JSON text) for ``metadata``. Patterns stacked along the last axis (H, W, n) are
        recognised by the number of positions; a last axis of length 1 of (n, N, N, 1) is dropped.
        With ``validate_config``, differences between the file's metadata and ``current_config``
        are logged as warnings. With ``in_place``, large patterns stay in the file where its layout
        allows, and ``diff3d`` is a :class:`ptycho.io.stored.StoredPatterns`, which reads what it is
        indexed with.

        Raises ``FileNotFoundError``; ``KeyError`` naming the missing keys and those present;
        ``ValueError`` where the file is of no such format, holds pickled objects, points at other
        files, or its contents make no scan.
        """
        values = read_scan(path, in_place)
        start = dict.fromkeys(("xcoords_start", "ycoords_start", "scan_index"))
        try:
            raw = RawData(**{**start, **values})
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if validate_config and raw.metadata is not None and current_config is not None:
            for difference in metadata_differences(raw.metadata, current_config):
                _LOG.warning("%s: %s", path, difference)
        return raw

    @staticmethod
    def from_files(train: str | Path, test: str | Path) -> tuple[RawData, RawData]:
        """Read a training and a test scan."""
        return RawData.from_file(train), RawData.from_file(test)

    def to_file(self, path: str | Path) -> Path:
        """Write everything this scan holds to a file; return its path.

        A path ending in ``.h5`` or ``.hdf5`` becomes a ptychodus product with a group
        ``raw_data`` (:func:`ptycho.io.product.write_product` says what it needs), any other an
        NPZ file, to which ``.npz`` is appended if missing. The file appears whole or not at all,
        needs no pickle, and :meth:`from_file` gives back what was written. What is None is left
        out.

        Raises ``ValueError`` where there are no patterns or no probe, without which a file could
        not be read back, or where the metadata is not JSON-able.
        """
        for name in ("diff3d", "probeGuess"):
            if getattr(self, name) is None:
                raise ValueError(f"{path}: a scan file needs {name}, which this RawData lacks")
        return write_scan(path, {name: getattr(self, name) for name in _FIELDS})

    # ------------------------------------------------------------------ what it holds

    def __len__(self) -> int:
        return len(self.xcoords)

    def __repr__(self) -> str:
        patterns = "no patterns" if self.diff3d is None else f"{self.diff3d.shape} {self.domain}"
        return f"RawData({len(self)} positions, {patterns})"

    @property
    def positions(self) -> NDArray[np.float64]:
        """Scan positions (n, 2) = [x, y] in object pixels."""
        return np.column_stack([self.xcoords, self.ycoords]).astype(np.float64, copy=False)

    @property
    def domain(self) -> Domain:
        """What ``diff3d`` holds: counts or amplitude."""
        if self.diff3d is None:
            raise ValueError(_NO_PATTERNS)
        return resolve_domain(self.diff3d.dtype, self.measurement_domain)

    def in_domain(self, domain: str) -> RawData:
        """Return this scan, arrays shared, with another ``measurement_domain``.

        Raises ``ValueError`` for an unknown domain.
        """
        resolve_domain(np.dtype(np.float32), domain)
        if domain == self.measurement_domain:
            return self
        declared = copy.copy(self)
        declared.measurement_domain = domain
        return declared

    @property
    def patterns(self) -> Patterns:
        """``diff3d`` to be read as amplitude; ``ValueError`` where there are no patterns."""
        if self.diff3d is None:
            raise ValueError(_NO_PATTERNS)
        masked = self.bad_pixels is not None and bool(np.any(self.bad_pixels))
        bad_pixels = np.asarray(self.bad_pixels, bool) if masked else None
        return Patterns(self.diff3d, self.domain, bad_pixels)

    def amplitude(self) -> NDArray[np.float32]:
        """Return the diffraction amplitude, (n, N, N) float32 in C order, 0 at bad pixels.

        It is computed each time it is asked for. Raises ``ValueError`` where there are no
        patterns.
        """
        return self.patterns.amplitude()

    # ------------------------------------------------------------------ groups

    def generate_grouped_data(
        self,
        N: int,
        K: int = 4,
        nsamples: int = 1,
        dataset_path: str | None = None,
        seed: int | None = None,
        sequential_sampling: bool = False,
        gridsize: int | None = None,
        enable_oversampling: bool = False,
        neighbor_pool_size: int | None = None,
    ) -> GroupedData:
        """Draw groups of neighbouring positions; nothing is gathered until asked for.

        ``nsamples=1`` means one group per scan position; a larger number is the total, reduced
        (with a warning) to what the scan offers: one per position, or with
        ``enable_oversampling`` and gridsize > 1 all distinct groups. ``K`` is the number of
        nearest neighbours a group is drawn from; where there are more groups than positions,
        ``neighbor_pool_size`` overrides it. The draw is reproducible: ``seed=None`` means 42.
        ``gridsize=None`` means that of ``params.cfg``; ``dataset_path`` is ignored. See
        :func:`ptycho.core.grouping.draw_groups`.

        Raises ``ValueError`` where there are fewer than gridsize**2 positions, the patterns are
        not N pixels wide, or ``nsamples`` is below 1.
        """
        if self.diff3d is not None and self.diff3d.shape[-1] != N:
            raise ValueError(f"patterns are {self.diff3d.shape[-1]} pixels wide but N is {N}")
        draw = functools.partial(
            _draw,
            positions=self.positions,
            count=len(self) if nsamples == 1 else nsamples,
            seed=_DEFAULT_SEED if seed is None else seed,
            neighbor_count=K,
            sequential=sequential_sampling,
            oversample=enable_oversampling,
            pool_size=neighbor_pool_size,
        )
        return GroupedData(
            self, int(params.get("gridsize")) if gridsize is None else gridsize, draw
        )


def _draw(
    gridsize: int, *, positions: NDArray[np.float64], count: int, seed: int, **options: Any
) -> IndexArray:
    return draw_groups(positions, gridsize, count, grouping_generator(seed), **options)


def _optional(array: ArrayLike | None) -> Array | None:
    if isinstance(array, StoredPatterns):
        return array  # type: ignore[return-value]  # as good as an array to those who index it
    return None if array is None else np.asarray(array)
