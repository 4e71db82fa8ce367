"""Which runtime runs the networks, by the configuration and what the machine has."""

from typing import Literal

import torch

from audit.errors import InvalidConfiguration
from inference.runtime.agreement import Precision
from inference.runtime.openvino_runtime import can_run, openvino_runtimes
from inference.runtime.port import RuntimeFor
from inference.runtime.torch_runtime import torch_runtimes


def runtimes(
    *,
    runtime: Literal["auto", "torch", "openvino"] = "auto",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    precision: Precision = "float32",
    threads: int = 0,
) -> RuntimeFor:
    """Return what makes the runtime of a network.

    ``auto`` is torch on a CUDA device where there is one (or ``cuda`` is asked for), else
    OpenVINO where it can be loaded, else torch on the CPU. It never chooses a precision.

    Raises
    ------
    InvalidConfiguration
        When the settings contradict each other or ask for what is not here.
    """
    on_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if runtime == "openvino" and device == "cuda":
        raise InvalidConfiguration(["inference.runtime: openvino runs on the CPU, not on cuda"])
    chosen = runtime
    if runtime == "auto":
        chosen = "openvino" if not on_cuda and can_run() else "torch"
    if chosen == "torch":
        if precision != "float32":
            raise InvalidConfiguration(
                ["inference.precision: bfloat16 needs the runtime openvino on the CPU"]
            )
        return torch_runtimes(device=device, threads=threads)
    if threads:
        torch.set_num_threads(threads)  # torch shrinks the images for every runtime
    return openvino_runtimes(precision=precision, threads=threads)
