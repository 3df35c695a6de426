"""The backends' own files in a bundle, ``model.keras`` and ``model.ckpt``, looked at from outside.

Nothing here needs a framework, and nothing is opened by one: predictions are made from canonical
weights alone. A payload is looked at so that a bundle which carries code in it is refused by
whoever reads it, before anybody hands the file to Keras or torch.
"""

from __future__ import annotations

import io
import json
import pickletools
import struct
import zipfile
from typing import Any

import h5py

from ptycho.core.archive import UnsafePayload, check_name
from ptycho.core.safe_hdf5 import READ_ERRORS, error_text, plain_datasets

__all__ = ["KERAS_LAYERS", "PAYLOADS", "inspect_payload"]

#: The package's own layers, registered with Keras as ``ptycho>NAME``.
KERAS_LAYERS = frozenset(
    {
        "BorderSum",
        "CentralObject",
        "Diffraction",
        "DoubledConv",
        "ExtractPatches",
        "FeatureSplit",
        "HeadActivation",
        "IntensityScale",
        "ObjectCanvas",
        "ObjectPatches",
        "PredictedAmplitude",
        "PredictedIntensity",
        "ProbeIllumination",
    }
)
#: Own layers of earlier versions, which their bundles name.
_FORMER_LAYERS = frozenset({"Upsampling"})
#: Keras' own classes that the network is made of: (module, class).
_KERAS_CLASSES = frozenset(
    {
        ("keras", "DTypePolicy"),
        ("keras.initializers", "Zeros"),
        ("keras.layers", "Conv2D"),
        ("keras.layers", "InputLayer"),
        ("keras.layers", "MaxPooling2D"),
        ("keras.layers", "ZeroPadding2D"),
        ("keras.src.models.functional", "Functional"),
        (None, "__keras_tensor__"),
    }
)
_KERAS_MEMBERS = frozenset({"config.json", "metadata.json", "model.weights.h5"})

#: What a checkpoint of tensors and plain values names.
_TORCH_GLOBALS = frozenset(
    {"torch._utils _rebuild_tensor_v2", "torch FloatStorage", "collections OrderedDict"}
)
_TORCH_OPCODES = frozenset(
    {
        *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BINPERSID"),
        *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
        *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"),
        *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("APPEND", "APPENDS", "SETITEM", "SETITEMS"),
    }
)
_MAX_TEXT_BYTES = 1 << 22
_MAX_MEMBERS = 1024
_DIRECTORY_ENTRY = b"PK\x01\x02"


def inspect_payload(name: str, data: bytes, where: str) -> None:
    """Raise ``UnsafePayload`` unless a native payload is made of known layers and arrays.

    ``name`` is the member's file name, ``model.keras`` or ``model.ckpt``.
    """
    try:
        # Before zipfile makes an object of each entry.
        if data.count(_DIRECTORY_ENTRY) > _MAX_MEMBERS:
            raise ValueError("more members than any network has")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            PAYLOADS[name](_stored(archive, len(data)))
    except (*READ_ERRORS, zipfile.BadZipFile, struct.error, EOFError) as error:
        raise UnsafePayload(
            f"{where}: {error_text(error)}; it was not opened, do not use this file"
        ) from error


def _stored(archive: zipfile.ZipFile, size: int) -> dict[str, bytes]:
    """Return the members, none of which is compressed: together they cannot exceed the file."""
    infos = archive.infolist()
    if len({info.filename for info in infos}) < len(infos):
        raise ValueError("two members have one name")
    for info in infos:
        check_name(info.orig_filename, "payload")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 0x1:
            raise ValueError(f"{info.filename!r} is compressed or encrypted")
    if sum(info.file_size for info in infos) > size:
        raise ValueError("the members are larger than the file")
    return {info.filename: archive.read(info) for info in infos}


# --------------------------------------------------------------------------- Keras


def _inspect_keras(members: dict[str, bytes]) -> None:
    odd = sorted(set(members) ^ _KERAS_MEMBERS)
    if odd:
        raise ValueError(f"missing or unknown: {', '.join(odd[:5])}")
    for name in ("config.json", "metadata.json"):
        if len(members[name]) > _MAX_TEXT_BYTES:
            raise ValueError(f"{name!r} has {len(members[name])} bytes; limit {_MAX_TEXT_BYTES}")
        _check_classes(json.loads(members[name].decode("utf-8")))
    weights = members["model.weights.h5"]
    with h5py.File(io.BytesIO(weights), "r") as file:
        plain_datasets(file, len(weights))


def _check_classes(config: Any) -> None:
    """Walk a Keras configuration; every object in it has to be one of the network's."""
    pending = [config]
    while pending:
        part = pending.pop()
        if isinstance(part, list):
            pending += part
        elif isinstance(part, dict):
            if "class_name" in part:
                _check_class(part)
            elif {"module", "registered_name"} & set(part):
                raise ValueError("an object without a class")
            pending += part.values()


def _check_class(part: dict[str, Any]) -> None:
    module, name = part.get("module"), part["class_name"]
    registered = part.get("registered_name")
    if not isinstance(name, str) or not isinstance(module, (str, type(None))):
        raise ValueError("an object whose class is no name")
    ours = name in KERAS_LAYERS | _FORMER_LAYERS
    own = module == "ptycho.layers" and ours and registered == f"ptycho>{name}"
    foreign = (module, name) in _KERAS_CLASSES and registered in (None, name)
    if not (own or foreign):
        raise ValueError(
            f"class {name!r} of module {module!r} (registered as {registered!r}) is not part of "
            "any network of this package"
        )


# --------------------------------------------------------------------------- torch


def _inspect_checkpoint(members: dict[str, bytes]) -> None:
    pickles = [name for name in members if name.endswith(".pkl")]
    if len(pickles) != 1 or pickles[0].count("/") != 1 or not pickles[0].endswith("/data.pkl"):
        raise ValueError(f"{pickles} found; expected one data.pkl")
    root = pickles[0].partition("/")[0]
    foreign = [name for name in members if not name.startswith(f"{root}/")]
    if foreign:
        raise ValueError(f"unknown members: {', '.join(sorted(foreign)[:5])}")
    data = members[pickles[0]]
    if len(data) > _MAX_TEXT_BYTES:
        raise ValueError(f"data.pkl has {len(data)} bytes; the limit is {_MAX_TEXT_BYTES}")
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name not in _TORCH_OPCODES:
            raise ValueError(f"its pickle has the opcode {opcode.name}")
        if opcode.name == "GLOBAL" and argument not in _TORCH_GLOBALS:
            raise ValueError(f"its pickle names {argument!r}")


#: File name -> what looks at its members.
PAYLOADS = {"model.keras": _inspect_keras, "model.ckpt": _inspect_checkpoint}
