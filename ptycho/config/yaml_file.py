"""Configuration files: mappings of fields in YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["load_yaml_config"]


def load_yaml_config(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping of configuration fields; an empty file is an empty mapping.

    Raises ``FileNotFoundError``, ``IsADirectoryError``, or ``ValueError`` naming the file where it
    is not a mapping or has a key twice.
    """
    import yaml  # kept out of the import of this module

    try:
        text = Path(path).read_text(encoding="utf-8")
        repeated = _repeated_key(yaml.compose(text, Loader=yaml.SafeLoader))
        data = yaml.safe_load(text)
    except IsADirectoryError:
        raise IsADirectoryError(
            f"configuration file {path} is a directory; expected a YAML file"
        ) from None
    except FileNotFoundError:
        raise FileNotFoundError(f"configuration file not found: {path}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable as YAML: {error}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected a mapping of fields, got {type(data).__name__}")
    if repeated is not None:
        raise ValueError(f"{path}: {repeated!r} is given twice")
    return data


def _repeated_key(root: Any) -> str | None:
    """Return a key that a YAML mapping, or one directly in it, has twice; YAML keeps the last."""
    if not isinstance(getattr(root, "value", None), list) or root.id != "mapping":
        return None
    nested = [("", root)] + [(f"{k.value}.", v) for k, v in root.value if v.id == "mapping"]
    for prefix, mapping in nested:
        seen: set[str] = set()
        for key, _ in mapping.value:
            if str(key.value) in seen:
                return f"{prefix}{key.value}"
            seen.add(str(key.value))
    return None
