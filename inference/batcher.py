"""Form batches of whatever arrives within a few milliseconds, across all callers.

One thread per network takes inputs from a queue: the first one it finds, then company
until the batch is full or the wait is over. Callers block. An input that makes a batch
fail fails alone: the batch is run again, one by one.
"""

import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import structlog
from numpy.typing import NDArray

from audit.clock import Clock
from audit.errors import Transient
from audit.metrics import Metrics
from inference.runtime.port import RawOutput, Runtime

_log = structlog.get_logger()


class BatcherClosed(Transient):
    """An input came after `close`: the node is stopping, the work is done after its start."""

    code = "inference.batcher.closed"


@dataclass(slots=True, eq=False)
class _Waiting:
    """An input, and where its caller waits."""

    tensor: NDArray[np.float32]
    answer: "Future[RawOutput]" = field(default_factory=Future)


class Batcher:
    """Runs a network for many threads at once.

    Parameters
    ----------
    runtime : Runtime
        Called by the batcher's own thread only.
    name : str
        The model's name, for the thread, logs and metrics.
    batch_size : int
        Most inputs in one batch.
    batch_wait_ms : float
        How long the first input of a batch waits for company.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        name: str,
        batch_size: int,
        batch_wait_ms: float,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._runtime = runtime
        self._name = name
        self._batch_size = batch_size
        self._wait_s = batch_wait_ms / 1000.0
        self._clock = clock
        self._metrics = metrics
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=f"batch-{name}", daemon=True)
        self._thread.start()

    def submit(self, tensor: NDArray[np.float32]) -> RawOutput:
        """Return the network's output for one input, once its batch has run.

        Parameters
        ----------
        tensor : ndarray of float32, shape (channels, size, size)

        Returns
        -------
        RawOutput
            With N = 1.

        Raises
        ------
        BatcherClosed
            After `close`.
        Exception
            Whatever the runtime raised for this input alone.
        """
        waiting = _Waiting(tensor)
        with self._lock:
            if self._closed:
                raise BatcherClosed("the node is stopping")
            self._queue.put(waiting)
        return waiting.answer.result()

    def close(self) -> None:
        """Answer everything that was submitted, then end the thread; may be called twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _serve(self) -> None:
        open_ = True
        while open_:
            first = self._queue.get()
            if first is None:
                return
            batch, open_ = self._with_company(first)
            self._run(batch)

    def _with_company(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """Return a batch that starts with `first`, and whether more may come."""
        batch = [first]
        until = self._clock.monotonic_s() + self._wait_s
        while len(batch) < self._batch_size:
            left_s = max(0.0, until - self._clock.monotonic_s())
            try:
                following = self._queue.get(block=left_s > 0, timeout=left_s)
            except queue.Empty:
                break
            if following is None:
                return batch, False
            batch.append(following)
        return batch, True

    def _run(self, batch: list[_Waiting]) -> None:
        started_s = self._clock.monotonic_s()
        try:
            output = self._runtime.run(np.stack([waiting.tensor for waiting in batch]))
        except Exception as error:  # noqa: BLE001 - handed to the caller it belongs to
            self._run_apart(batch, error)
        else:
            for row, waiting in enumerate(batch):
                part = slice(row, row + 1)
                waiting.answer.set_result(RawOutput(output.logits[part], output.cams[part]))
        elapsed_s = self._clock.monotonic_s() - started_s
        self._metrics.observe("inference_forward_seconds", elapsed_s, model=self._name)
        self._metrics.count("inference_batches_total", model=self._name)
        self._metrics.count("inference_images_total", len(batch), model=self._name)

    def _run_apart(self, batch: list[_Waiting], error: Exception) -> None:
        """Find the input that made a batch fail: run each alone."""
        _log.warning(
            "inference.batch.failed",
            model_name=self._name,
            batch_size=len(batch),
            error_type=type(error).__name__,
        )
        if len(batch) == 1:
            batch[0].answer.set_exception(error)
            return
        for waiting in batch:
            try:
                waiting.answer.set_result(self._runtime.run(waiting.tensor[np.newaxis]))
            except Exception as alone:  # noqa: BLE001 - handed to the caller it belongs to
                waiting.answer.set_exception(alone)
