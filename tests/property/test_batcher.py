"""Batches across threads: everyone gets their own answer, and poison stays alone."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from audit.clock import SystemClock
from audit.metrics import NullMetrics
from inference.batcher import Batcher, BatcherClosed
from tests.models import SumRuntime

DEADLINE_S = 20


def tensor(value):
    return np.full((1, 1, 1), value, dtype=np.float32)


def batcher(runtime, *, batch_size=4, batch_wait_ms=0.0):
    return Batcher(
        runtime,
        name="sum",
        batch_size=batch_size,
        batch_wait_ms=batch_wait_ms,
        clock=SystemClock(),
        metrics=NullMetrics(),
    )


class GatedRuntime(SumRuntime):
    """Holds its first batch until told, so that a test decides what waits behind it."""

    def __init__(self):
        super().__init__()
        self.began, self.go = threading.Event(), threading.Event()

    def run(self, batch):
        self.began.set()
        assert self.go.wait(DEADLINE_S)
        return super().run(batch)


@settings(max_examples=30)
@given(
    values=st.lists(st.integers(-3, 50), min_size=1, max_size=25),
    batch_size=st.integers(1, 6),
    batch_wait_ms=st.sampled_from([0.0, 2.0]),
)
def test_each_caller_gets_its_own_answer_and_only_poison_fails(values, batch_size, batch_wait_ms):
    runtime = SumRuntime()
    served = batcher(runtime, batch_size=batch_size, batch_wait_ms=batch_wait_ms)

    def answer(value):
        try:
            output = served.submit(tensor(value))
        except ValueError:
            return None
        assert output.cams.shape == (1, 1, 2, 2)
        return output.logits.tolist()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(answer, values))
    served.close()

    assert answers == [[[float(v)]] if v >= 0 else None for v in values]
    assert max(runtime.batches) <= batch_size


def behind_the_first(runtime, values, **options):
    """Submit one input, then `values` while its batch is held; return all the futures."""
    served = batcher(runtime, **options)
    with ThreadPoolExecutor(len(values) + 1) as threads:
        first = threads.submit(served.submit, tensor(1))
        assert runtime.began.wait(DEADLINE_S)
        others = [threads.submit(served.submit, tensor(value)) for value in values]
        while served._queue.qsize() < len(values):
            pass
        runtime.go.set()
    return served, [first, *others]


def test_what_waits_together_runs_together():
    runtime = GatedRuntime()

    served, answers = behind_the_first(runtime, range(8), batch_size=4)
    served.close()

    assert runtime.batches == [1, 4, 4]
    assert [a.result().logits.item() for a in answers] == [1, 0, 1, 2, 3, 4, 5, 6, 7]


def test_a_poisoned_batch_is_run_again_one_by_one():
    runtime = GatedRuntime()

    with capture_logs() as events:
        served, answers = behind_the_first(runtime, [5, -1, 6], batch_size=4)
        served.close()

    assert runtime.batches == [1, 3, 1, 1, 1]
    with pytest.raises(ValueError, match="negative"):
        answers[2].result()
    assert [answers[i].result().logits.item() for i in (0, 1, 3)] == [1, 5, 6]
    [failed] = [e for e in events if e["event"] == "inference.batch.failed"]
    assert (failed["batch_size"], failed["error_type"]) == (3, "ValueError")


def test_a_lone_failure_is_not_run_twice():
    runtime = SumRuntime()
    served = batcher(runtime)

    with pytest.raises(ValueError, match="negative"):
        served.submit(tensor(-1))
    served.close()

    assert runtime.batches == [1]


def test_closing_answers_what_waits_and_refuses_what_comes_after():
    runtime = GatedRuntime()
    served = batcher(runtime, batch_size=8, batch_wait_ms=2.0)
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(served.submit, tensor(1))]
        assert runtime.began.wait(DEADLINE_S)
        answers += [threads.submit(served.submit, tensor(v)) for v in (2, 3)]
        while served._queue.qsize() < 2:
            pass
        closing = threads.submit(served.close)
        while not served._closed:
            pass
        with pytest.raises(BatcherClosed):
            served.submit(tensor(4))
        runtime.go.set()
        closing.result(DEADLINE_S)

    assert [a.result().logits.item() for a in answers] == [1, 2, 3]
    served.close()
    assert not served._thread.is_alive()


def test_a_batch_waits_for_company_no_longer_than_it_was_told():
    class SteppingClock(SystemClock):
        """A clock whose every reading is a second later."""

        def __init__(self):
            self.reading = 0.0

        def monotonic_s(self):
            self.reading += 1.0
            return self.reading

    runtime = SumRuntime()
    served = Batcher(
        runtime,
        name="sum",
        batch_size=8,
        batch_wait_ms=500.0,
        clock=SteppingClock(),
        metrics=NullMetrics(),
    )

    assert served.submit(tensor(3)).logits.item() == 3
    served.close()
    assert runtime.batches == [1]
