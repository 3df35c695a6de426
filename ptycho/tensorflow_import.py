"""The one place that imports TensorFlow for the door modules, lazily and with clear errors."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

_INSTALL = "install with: pip install 'tensorflow>=2.19'"


def require_tensorflow() -> ModuleType:
    """Import and return TensorFlow.

    Raises ``RuntimeError`` where TensorFlow, or a Keras 3 running on it, is not usable, and says
    what to install. TensorFlow's start-up messages are silenced unless ``TF_CPP_MIN_LOG_LEVEL``
    is set already.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        tensorflow = importlib.import_module("tensorflow")
        keras = importlib.import_module("keras")
    except ImportError as error:
        raise RuntimeError(
            f"TensorFlow backend selected, but it cannot be imported ({error}); {_INSTALL}"
        ) from error
    if not keras.__version__.startswith("3.") or keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"TensorFlow backend selected, but keras {keras.__version__} runs on "
            f"{keras.backend.backend()!r}; unset KERAS_BACKEND, and {_INSTALL}"
        )
    return tensorflow
