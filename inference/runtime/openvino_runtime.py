"""The accelerated runtime: OpenVINO on the CPU, held to torch on a fixed probe.

The network is traced and converted in memory; logits and the closed-form maps of every label
are outputs of one graph. The model is read through OpenVINO's own front end for TorchScript:
``openvino.convert_model`` does the same and then reports to its maker over the network,
which a node in a hospital must never do.
"""

import importlib.util
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from audit.errors import InvalidConfiguration
from inference.architectures import PooledClassifier
from inference.runtime.agreement import (
    TOLERANCES,
    Precision,
    Tolerance,
    difference,
    probe,
    within,
)
from inference.runtime.port import RawOutput, Runtime, RuntimeFor
from inference.runtime.torch_runtime import TorchRuntime

_DEVICE = "CPU"
_CHANNELS = 3
_HINTS = {"float32": "f32", "bfloat16": "bf16"}

_log = structlog.get_logger()


def can_run() -> bool:
    """Tell whether OpenVINO is here and can be loaded; where it cannot, a warning says so."""
    if importlib.util.find_spec("openvino") is None:
        return False
    try:
        import openvino  # noqa: F401, PLC0415 - 180 MB that a node on torch need not load
    except (ImportError, OSError) as error:
        _log.warning("inference.runtime.not_loaded", error_type=type(error).__name__)
        return False
    return True


def openvino_runtimes(*, precision: Precision = "float32", threads: int = 0) -> RuntimeFor:
    """Return what makes an `OpenVinoRuntime` of a network, or falls back to torch.

    Each network is first run on `probe` beside torch; one that cannot be converted or
    differs by more than `TOLERANCES` is run by torch, with the warning
    ``inference.runtime.refused``.

    Parameters
    ----------
    precision : str
        ``bfloat16`` needs a CPU that computes in it.
    threads : int
        Compute threads; 0 means one per core.

    Raises
    ------
    InvalidConfiguration
        When OpenVINO is not installed or cannot be loaded, or the CPU has no such arithmetic.
    """
    if not can_run():
        raise InvalidConfiguration(
            ["inference.runtime: openvino is asked for, and is not installed or cannot be loaded"]
        )
    import openvino  # noqa: PLC0415 - as above

    core = openvino.Core()
    if precision == "bfloat16" and "BF16" not in core.get_property(
        _DEVICE, "OPTIMIZATION_CAPABILITIES"
    ):
        raise InvalidConfiguration(["inference.precision: this CPU does not compute in bfloat16"])

    def runtime_for(network: PooledClassifier, size: int) -> Runtime:
        reference = TorchRuntime(network, device="cpu")
        try:
            runtime = OpenVinoRuntime(
                network, core=core, size=size, precision=precision, threads=threads
            )
        except Exception:  # noqa: BLE001 - another OpenVINO may fail in ways of its own
            _report("not_converted", precision, None)
            return reference
        found = difference(runtime, reference, probe(size))
        if within(found, TOLERANCES[precision]):
            return runtime
        _report("differs", precision, found)
        return reference

    return runtime_for


class OpenVinoRuntime:
    """A network compiled for the CPU, for batches of any number of images.

    Parameters
    ----------
    network : PooledClassifier
        With its weights, on the CPU.
    core : openvino.Core
    size : int
        Side of the input square, in pixels.
    precision : str
    threads : int
        Compute threads; 0 means one per core.

    Raises
    ------
    Exception
        When the network cannot be converted or compiled.
    """

    def __init__(
        self, network: PooledClassifier, *, core: Any, size: int, precision: Precision, threads: int
    ) -> None:
        import openvino  # noqa: PLC0415 - as above

        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # networks and decoders share the cores
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        compiled = core.compile_model(_converted(network, size), _DEVICE, settings)
        self._request = compiled.create_infer_request()
        self._version = openvino.__version__.partition("-")[0]
        self._precision = precision

    @property
    def name(self) -> str:
        return f"openvino {self._version}"

    @property
    def device(self) -> str:
        return "cpu"

    @property
    def precision(self) -> str:
        return self._precision

    def run(self, batch: NDArray[np.float32]) -> RawOutput:
        logits, cams = self._request.infer([np.ascontiguousarray(batch)]).values()
        return RawOutput(logits, cams)


def _report(reason: str, precision: Precision, found: Tolerance | None) -> None:
    _log.warning(
        "inference.runtime.refused",
        reason=reason,
        precision=precision,
        logit_difference=found and round(found.logits, 6),
        map_difference=found and round(found.cams, 6),
    )


def _converted(network: PooledClassifier, size: int) -> Any:
    """Return the network and the maps of its labels as one graph.

    A function is traced, not a module: its weights are constants, which takes half the time and
    needs a network that learns no more.
    """
    from openvino import PartialShape  # noqa: PLC0415 - as above
    from openvino.frontend import FrontEndManager  # noqa: PLC0415
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: PLC0415

    network.eval().requires_grad_(requires_grad=False)

    def answers(images: Tensor) -> tuple[Tensor, Tensor]:
        logits, maps = network(images)
        return logits, network.cams(maps)

    example = torch.zeros(1, _CHANNELS, size, size)
    traced = torch.jit.trace(  # type: ignore[no-untyped-call]
        answers,
        example,
        check_trace=False,  # the probe checks more than that
    )
    decoder = TorchScriptPythonDecoder(traced, example_input=example)
    front_end = FrontEndManager().load_by_framework("pytorch")
    model = front_end.convert(front_end.load(decoder))
    model.reshape(PartialShape([-1, _CHANNELS, size, size]))
    return model
