"""The reference runtime: torch, float32, on the CPU or a CUDA device."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from audit.errors import InvalidConfiguration
from inference.architectures import PooledClassifier
from inference.runtime.memory import keep_freed_memory
from inference.runtime.port import RawOutput, RuntimeFor


def torch_runtimes(
    *, device: Literal["auto", "cpu", "cuda"] = "auto", threads: int = 0
) -> RuntimeFor:
    """Return what makes a `TorchRuntime` of a network.

    Parameters
    ----------
    device : str
        ``auto`` takes the accelerator where there is one.
    threads : int
        Compute threads of the process; 0 means one per core.

    Raises
    ------
    InvalidConfiguration
        When ``cuda`` is asked for and there is none.
    """
    present = torch.cuda.is_available()
    if device == "cuda" and not present:
        raise InvalidConfiguration(["inference.device: cuda is asked for and not available"])
    if threads:
        torch.set_num_threads(threads)
    chosen = "cuda" if present and device != "cpu" else "cpu"
    if chosen == "cpu":
        keep_freed_memory()
    return lambda network, _size: TorchRuntime(network, device=chosen)


class TorchRuntime:
    """A network in eval mode; logits and every label's map come out of one forward pass.

    Parameters
    ----------
    network : PooledClassifier
        With its weights; moved to the device in channels-last layout.
    device : str
        ``cpu`` or ``cuda``.
    """

    def __init__(self, network: PooledClassifier, *, device: str) -> None:
        if device == "cuda":
            torch.backends.cudnn.allow_tf32 = False  # else float32 would not be float32
        self._network = network.eval().to(device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # in no stub
        self._device = device

    @property
    def name(self) -> str:
        return f"torch {torch.__version__.partition('+')[0]}"

    @property
    def device(self) -> str:
        return self._device

    @property
    def precision(self) -> str:
        return "float32"

    @torch.inference_mode()
    def run(self, batch: NDArray[np.float32]) -> RawOutput:
        images = torch.from_numpy(np.ascontiguousarray(batch)).to(
            device=self._device, memory_format=torch.channels_last
        )
        logits, maps = self._network(images)
        cams = self._network.cams(maps)
        return RawOutput(logits.cpu().numpy(), cams.cpu().contiguous().numpy())
