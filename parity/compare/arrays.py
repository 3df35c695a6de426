"""How far two arrays are apart, relative to their common scale, and where."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from parity.compare.axes import axes_of

#: The figure of a comparison that is held against a tolerance.
Figure = Literal["scale_relative", "elementwise", "rms"]


#: What an axis without a name is called, before its number.
_NUMBERED = "axis"


@dataclass(frozen=True)
class Comparison:
    """The distance of two arrays under one name.

    ``scale_relative`` is max|a - b| / max(max|a|, max|b|), the figure that tolerances bound;
    ``elementwise`` is the largest |a - b| / max(|a|, |b|) of a single element, ``rms`` the root
    mean square of a - b over the larger one of a and b. All are infinite where ``problem`` says
    that the two cannot be compared. ``where`` names the index of the largest difference by
    dimension. ``vacuous`` marks a comparison that could not have failed: both sides empty or zero
    everywhere.
    """

    name: str
    max_abs: float
    scale_relative: float
    elementwise: float
    rms: float
    where: Mapping[str, int] = field(default_factory=dict)
    values: tuple[str, str] = ("", "")
    problem: str = ""
    vacuous: bool = False

    @property
    def nameless(self) -> bool:
        """Whether the place of the largest difference has numbers in place of names of axes."""
        return any(name.startswith(_NUMBERED) for name in self.where)

    def within(self, limit: float, figure: Figure = "scale_relative") -> bool:
        """Tell whether the two agree to ``limit``; never true with a problem or NaN."""
        return not self.problem and self.figure(figure) <= limit

    def figure(self, name: Figure) -> float:
        """Return the figure of that name."""
        return {
            "scale_relative": self.scale_relative,
            "elementwise": self.elementwise,
            "rms": self.rms,
        }[name]

    def describe(self) -> str:
        """Say in one line what differs, by how much, and where."""
        if self.problem:
            place = _place(self.where)
            return f"{self.name}{place}: {self.problem}"
        sizes = (
            f"{self.scale_relative:.2e} of scale, {self.elementwise:.2e} of one element, "
            f"rms {self.rms:.2e}, {self.max_abs:.2e} absolute"
        )
        return f"{self.name}{_place(self.where)}: {self.values[0]} vs {self.values[1]} ({sizes})"


def _place(where: Mapping[str, int]) -> str:
    return f"[{', '.join(f'{k}={v}' for k, v in where.items())}]" if where else ""


def _incomparable(name: str, problem: str, where: Mapping[str, int] | None = None) -> Comparison:
    return Comparison(name, math.inf, math.inf, math.inf, math.inf, where or {}, problem=problem)


def _named_index(flat: int, shape: tuple[int, ...], dims: Sequence[str]) -> dict[str, int]:
    index = np.unravel_index(flat, shape)
    names = dims if len(dims) == len(shape) else [f"{_NUMBERED}{i}" for i in range(len(shape))]
    return {name: int(i) for name, i in zip(names, index, strict=True)}


def _classes(values: NDArray[Any]) -> NDArray[np.int8]:
    """0 finite, 1 NaN, 2 +inf, 3 -inf; complex numbers get one class per part on a last axis."""
    parts = np.stack([values.real, values.imag], axis=-1) if np.iscomplexobj(values) else values
    classes = np.zeros(parts.shape, np.int8)
    classes[np.isnan(parts)] = 1
    classes[np.isposinf(parts)] = 2
    classes[np.isneginf(parts)] = 3
    return classes if np.iscomplexobj(values) else classes[..., None]


def _exact(values: NDArray[Any]) -> NDArray[Any]:
    """Widen to float64 or complex128; integers beyond 2**53 become Python integers."""
    if np.iscomplexobj(values):
        return values.astype(np.complex128)
    if values.dtype.kind in "iu" and max(int(values.max()), -int(values.min())) >= (1 << 53):
        return values.astype(object)
    return values.astype(np.float64)


def _check_types(a: NDArray[Any], b: NDArray[Any], same_dtype: bool) -> str:
    if a.shape != b.shape:
        return f"shapes differ: {a.shape} vs {b.shape}"
    if same_dtype and a.dtype != b.dtype:
        return f"dtypes differ: {a.dtype} vs {b.dtype}"
    if a.dtype.kind != b.dtype.kind:
        return f"kinds differ: {a.dtype} vs {b.dtype}"
    if a.dtype.kind not in "biufc":
        return f"not numeric: {a.dtype}"
    return ""


def compare(
    a: Any,
    b: Any,
    name: str = "value",
    dims: Sequence[str] = (),
    same_dtype: bool = True,
) -> Comparison:
    """Compare two arrays (or scalars) of equal shape and dtype; symmetric in its arguments.

    ``dims`` names the axes for the report; without it :mod:`parity.compare.axes` does.
    ``same_dtype=False`` allows different precisions of one kind (float32 against the float64
    reference), never real against complex. NaN and the infinities must sit at the same places; the
    finite rest is compared in double precision.
    """
    left, right = np.asarray(a), np.asarray(b)
    problem = _check_types(left, right, same_dtype)
    if problem:
        return _incomparable(name, problem)
    if left.size == 0:
        return Comparison(name, 0.0, 0.0, 0.0, 0.0, vacuous=True)
    dims = dims or axes_of(name, left.ndim)
    differing = np.any(_classes(left) != _classes(right), axis=-1)
    if differing.any():
        first = int(np.argmax(differing))
        return _incomparable(
            name,
            f"NaN or infinity on one side only, at {int(differing.sum())} of {left.size} places: "
            f"{left.flat[first]} vs {right.flat[first]}",
            _named_index(first, left.shape, dims),
        )
    return _compare_finite(name, left, right, dims)


def _compare_finite(
    name: str, left: NDArray[Any], right: NDArray[Any], dims: Sequence[str]
) -> Comparison:
    finite = np.all(_classes(left) == 0, axis=-1)
    exact_left, exact_right = _exact(left), _exact(right)
    if exact_left.dtype != exact_right.dtype:
        exact_left, exact_right = left.astype(object), right.astype(object)
    zero = np.zeros((), exact_left.dtype)
    # NumPy turns an object array without dimensions into a Python integer at the next step.
    a = np.atleast_1d(np.where(finite, exact_left, zero))
    b = np.atleast_1d(np.where(finite, exact_right, zero))
    with np.errstate(over="ignore"):
        gap = np.abs(a - b).astype(np.float64)
        size = np.maximum(np.abs(a), np.abs(b)).astype(np.float64)
    scale = float(size.max())
    if scale == 0:
        return Comparison(name, 0.0, 0.0, 0.0, 0.0, vacuous=True)
    worst = int(np.argmax(gap))
    ratios = gap / np.where(size > 0, size, 1.0)  # never overflows: no gap is beyond twice the size
    return Comparison(
        name,
        float(gap.flat[worst]),
        float(gap.flat[worst] / scale),
        float(ratios.max()),
        _rms(gap, scale) / max(_rms(np.abs(a), scale), _rms(np.abs(b), scale)),
        _named_index(worst, left.shape, dims),
        (_text(left.flat[worst]), _text(right.flat[worst])),
    )


def _rms(sizes: NDArray[Any], scale: float) -> float:
    """Return the root mean square in units of ``scale``, in which no square can overflow."""
    return float(np.sqrt(np.mean((sizes.astype(np.float64) / scale) ** 2)))


def _text(value: Any) -> str:
    return f"{value:.9g}" if np.issubdtype(type(value), np.inexact) else str(value)


def compare_named(
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    names: Iterable[str] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    same_dtype: bool = True,
) -> list[Comparison]:
    """Compare two mappings name by name; a name on one side only is a difference, not a skip.

    ``names`` restricts the comparison; a restricted name must be on both sides as well.
    """
    wanted = sorted(set(a) | set(b)) if names is None else list(names)
    results = []
    for name in wanted:
        if name not in a or name not in b:
            sides = [side for side, m in (("first", a), ("second", b)) if name not in m]
            results.append(_incomparable(name, f"missing on the {' and '.join(sides)} side"))
            continue
        axes = (dims or {}).get(name, ())
        results.append(compare(a[name], b[name], name, axes, same_dtype))
    return results


def median(comparisons: Sequence[Comparison], figure: Figure = "scale_relative") -> Comparison:
    """Return the comparison in the middle by ``figure``; of an even number the larger one."""
    return sorted(comparisons, key=lambda c: c.figure(figure))[len(comparisons) // 2]
