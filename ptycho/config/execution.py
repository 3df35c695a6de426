"""How the PyTorch backend runs (standard library only); never written to ``params.cfg``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_CHOICES: dict[str, tuple[object, ...]] = {
    "accelerator": ("auto", "cpu", "gpu", "cuda", "mps"),
    "deterministic": (True, False, "warn"),
    "precision": ("32-true", "16-mixed", "bf16-mixed"),
}


@dataclass
class PyTorchExecutionConfig:
    """Run-time settings handed to ``lightning.pytorch.Trainer``; raises ``ValueError`` if bad."""

    accelerator: str = "auto"
    devices: int | Literal["auto"] = 1
    strategy: str = "auto"
    deterministic: bool | Literal["warn"] = True
    precision: str = "32-true"
    accum_steps: int = 1
    num_workers: int = 0
    enable_progress_bar: bool = True
    inference_batch_size: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                self._refuse(name, f"one of {allowed}")
        if not isinstance(self.enable_progress_bar, bool):
            self._refuse("enable_progress_bar", "True or False")
        if not isinstance(self.strategy, str):
            self._refuse("strategy", "the name of a Lightning strategy")
        self._check_int("accum_steps", 1)
        self._check_int("num_workers", 0)
        if self.devices != "auto":
            self._check_int("devices", 1)
        if self.inference_batch_size is not None:
            self._check_int("inference_batch_size", 1)

    def _check_int(self, name: str, minimum: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            self._refuse(name, f"an integer >= {minimum}")

    def _refuse(self, name: str, allowed: str) -> None:
        value = getattr(self, name)
        raise ValueError(f"PyTorchExecutionConfig.{name} is {value!r}; allowed: {allowed}")
