"""What the axes of arrays are called, by the name under which they are compared.

B counts groups, C the members of each; x is the column and y the row of an image.
"""

from __future__ import annotations

__all__ = ["AXES", "IMAGES", "axes_of"]

#: One image for each member of each group.
IMAGES = ("B", "y", "x", "C")

#: The axes of what has a name of its own; of a canonical weight by the last part of its name.
AXES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("x", "d loss / d x", "patches", "extracted", "labels", "amplitude", "intensity"), IMAGES
    ),
    "object": ("B", "y", "x", "one"),
    "canvas": ("y", "x"),
    # weights, their gradients and the moments of their optimiser
    "kernel": ("rows", "columns", "in", "out"),
    "bias": ("out",),
    "probe": ("mode", "y", "x", "part"),
    # taps, section 10 of the specification
    "groups": ("B", "C"),
    **dict.fromkeys(
        (
            "grouped diffraction",
            "scaled input",
            "amplitude head",
            "phase head",
            "predicted amplitude",
            "model input",
        ),
        IMAGES,
    ),
    "merged object": ("B", "y", "x"),
    "exit wave": ("B", "C", "mode", "y", "x"),
    "object patches": ("B", "y", "x", "one"),
    "stitched object": ("y", "x"),
    "digest": ("byte",),
    # curves
    "step_losses": ("step",),
    **dict.fromkeys(
        ("loss", "nll", "mae", "realspace", "train_loss", "learning_rate", "epoch"), ("epoch",)
    ),
}


def axes_of(name: str, rank: int) -> tuple[str, ...]:
    """Return the names of the axes of an array of that name and rank; empty where none are known.

    An array without the axis of groups is one group's. Of a case with its value (``dark: probe``),
    a path (``first/encoder/block1/conv1/kernel``) and a validation loss (``val_nll``) the last part
    counts.
    """
    value = name.rpartition(": ")[2]
    known = AXES.get(value) or AXES.get(value.rpartition("/")[2].removeprefix("val_"), ())
    if known[:1] == ("B",) and rank == len(known) - 1:
        return known[1:]
    return known if rank == len(known) else ()
