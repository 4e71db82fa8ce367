"""Where a training runs, in which precision, and how its parts get there."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from audit.errors import InvalidConfiguration
from inference.runtime.memory import keep_freed_memory

Placed = TypeVar("Placed", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Device:
    """A processor and the arithmetic of the forward pass."""

    name: str
    """``cpu`` or ``cuda``."""

    precision: torch.dtype

    @property
    def precision_name(self) -> str:
        """``float32``, ``bfloat16`` or ``float16``."""
        return str(self.precision).removeprefix("torch.")

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which forward passes are computed."""
        lower = self.precision is not torch.float32
        return torch.autocast(self.name, self.precision if lower else None, enabled=lower)

    def put(self, tensor: Tensor) -> Tensor:
        """Return a tensor (N, C, H, W) where it is computed on, channels last in memory."""
        return tensor.to(self.name, memory_format=torch.channels_last)

    def place(self, network: Placed) -> Placed:
        """Bring a network there, channels last in memory, and return it."""
        network.to(self.name)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # in no stub
        return network

    def scaler(self) -> torch.amp.GradScaler:
        """Return what keeps float16's small gradients from vanishing; idle otherwise."""
        return torch.amp.GradScaler(self.name, enabled=self.precision is torch.float16)


def choose_device(device: str, precision: str, *, threads: int = 0) -> Device:
    """Return where to train, made ready for results that can be had again.

    Parameters
    ----------
    device : str
        ``auto`` takes CUDA where there is one, else ``cpu``; or either by name.
    precision : str
        ``auto`` takes bfloat16 where the processor is fast in it, on CUDA else float16 with
        scaled gradients, on a CPU else float32; or one of them by name.
    threads : int
        Compute threads of the process; 0 leaves them as they are.

    Raises
    ------
    InvalidConfiguration
        When CUDA is asked for and not there, or float16 on a CPU.
    """
    present = torch.cuda.is_available()
    if device == "cuda" and not present:
        raise InvalidConfiguration(["--device cuda: there is no CUDA device"])
    name = "cuda" if present and device != "cpu" else "cpu"
    if precision == "auto":
        precision = _fastest(name)
    if name == "cpu" and precision == "float16":
        raise InvalidConfiguration(["precision: float16 is for CUDA; take bfloat16 or float32"])
    if threads:
        torch.set_num_threads(threads)
    if name == "cpu":
        keep_freed_memory()
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    chosen = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return Device(name, chosen[precision])


def _fastest(name: str) -> str:
    if name == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    # Without AMX, in AVX-512 alone, it takes longer than float32 (docs/decisions/0027).
    return "bfloat16" if torch.cpu.get_capabilities().get("amx_bf16") else "float32"
