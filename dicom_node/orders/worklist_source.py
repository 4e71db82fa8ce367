"""The worklist as a source of orders: asked in time or not at all.

Whoever asks waits for `worklist.wait_s` at most. The question itself runs on a thread of its
own and may take longer; what it brings after all is kept. A worklist that fails again and
again is left alone for a while.
"""

from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from datetime import date, timedelta
from typing import Protocol

import structlog
from pydicom import Dataset

from audit.clock import Clock
from audit.errors import NodeError, PeerUnreachable
from audit.metrics import Metrics
from dicom_node.config.orders import WorklistSettings
from dicom_node.dimse.worklist import WorklistKeys
from dicom_node.orders.breaker import CircuitBreaker
from dicom_node.orders.items import Wanted, orders_of_items
from dicom_node.orders.ports import OrderSink
from inference.orders import Order, OrderQuery
from inference.regions import RegionMap

log = structlog.get_logger()

_QUESTIONS_AT_ONCE = 2


class Worklist(Protocol):
    """Who is asked; see `dicom_node.dimse.worklist.WorklistClient`."""

    def find(self, keys: WorklistKeys) -> tuple[Dataset, ...]: ...


class WorklistSource:
    """An `OrderSource`; safe to use from several threads."""

    def __init__(
        self,
        worklist: Worklist,
        settings: WorklistSettings,
        regions: RegionMap,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._worklist = worklist
        self._settings = settings
        self._regions = regions
        self._clock = clock
        self._metrics = metrics
        self._breaker = CircuitBreaker(
            clock, failures=settings.failures_before_rest, rest_s=settings.rest_s
        )
        self._pool = ThreadPoolExecutor(_QUESTIONS_AT_ONCE, thread_name_prefix="worklist")
        self._sink: OrderSink | None = None

    @property
    def name(self) -> str:
        """Return ``worklist``."""
        return "worklist"

    def deliver_late_answers_to(self, sink: OrderSink) -> None:
        """Tell who keeps the answers that nobody waits for any more."""
        self._sink = sink

    def orders_for(self, query: OrderQuery) -> tuple[Order, ...]:
        """Return the orders that match; see `OrderSource`. Waits `wait_s` at most.

        Raises
        ------
        PeerUnreachable
            The worklist is away, slow, resting after failures, or refused.
        """
        if not self._breaker.may_ask():
            self._metrics.count("worklist_queries_total", outcome="resting")
            raise PeerUnreachable("the worklist is left alone after failures in a row")
        try:
            future = self._pool.submit(self._ask, query)
        except RuntimeError:
            raise PeerUnreachable("the worklist is not asked any more: the node stops") from None
        try:
            return future.result(self._settings.wait_s)
        except (NotInTime, CancelledError):
            if not future.cancel():
                future.add_done_callback(self._keep_late)
            self._metrics.count("worklist_queries_total", outcome="late")
            raise PeerUnreachable("the worklist did not answer in time") from None

    def fetch(self) -> tuple[Order, ...]:
        """Return the orders of the days around today; waits as long as the queries may take.

        Each day and modality is a query of its own, so that `maximum_matches` is for a day.

        Raises
        ------
        PeerUnreachable
            See `orders_for`; nothing is returned when one of the queries failed.
        """
        if not self._breaker.may_ask():
            raise PeerUnreachable("the worklist is left alone after failures in a row")
        today = self._clock.now().date()
        first, last = self._days(today)
        questions = [
            WorklistKeys(modality=modality, first_day=day, last_day=day)
            for modality in self._settings.modalities
            for day in (first + timedelta(days=n) for n in range((last - first).days + 1))
        ]
        return self._put(questions, self._wanted(OrderQuery(), today))

    def close(self) -> None:
        """Ask nothing more; questions under way end within `query_limit_s`."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _ask(self, query: OrderQuery) -> tuple[Order, ...]:
        if query.accession_number:
            return self._put(
                [WorklistKeys(accession_number=query.accession_number)], self._wanted(query, None)
            )
        first, last = self._days(query.day) if query.day is not None else (None, None)
        keys = WorklistKeys(
            patient_id=query.patient.patient_id if query.patient is not None else "",
            first_day=first,
            last_day=last,
        )
        return self._put([keys], self._wanted(query, query.day))

    def _put(self, questions: list[WorklistKeys], wanted: Wanted) -> tuple[Order, ...]:
        """Ask each of the questions; report the outcome to breaker, metrics and log."""
        started_s = self._clock.monotonic_s()
        try:
            answer = [item for keys in questions for item in self._worklist.find(keys)]
        except NodeError as error:
            self._note_failure(error.code)
            raise
        except Exception:
            log.exception("orders.worklist.crashed", called_ae_title=self._settings.ae_title)
            self._note_failure(PeerUnreachable.code)
            raise PeerUnreachable("the worklist's answer could not be understood") from None
        self._breaker.succeeded()
        self._metrics.count("worklist_queries_total", outcome="answered")
        self._metrics.observe("worklist_query_seconds", self._clock.monotonic_s() - started_s)
        reading = orders_of_items(
            answer,
            wanted,
            self._regions,
            peer=self._settings.ae_title,
            received_at=self._clock.now(),
        )
        for reason, count in reading.left_out.items():
            self._metrics.count("worklist_items_left_out_total", count, reason=reason)
        return reading.orders

    def _note_failure(self, error_code: str) -> None:
        self._metrics.count("worklist_queries_total", outcome="failed")
        if self._breaker.failed():
            log.warning(
                "orders.worklist.rested",
                called_ae_title=self._settings.ae_title,
                error_code=error_code,
            )

    def _wanted(self, query: OrderQuery, day: date | None) -> Wanted:
        first, last = self._days(day) if day is not None else (None, None)
        return Wanted(
            query=query,
            modalities=frozenset(self._settings.modalities),
            first_day=first,
            last_day=last,
        )

    def _days(self, day: date) -> tuple[date, date]:
        before, after = self._settings.days_before, self._settings.days_after
        return day - timedelta(days=before), day + timedelta(days=after)

    def _keep_late(self, future: Future[tuple[Order, ...]]) -> None:
        if self._sink is None or future.cancelled() or future.exception() is not None:
            return
        try:
            self._sink.keep(future.result())
        except NodeError as error:
            log.warning("orders.answer.lost", error_code=error.code)


class RefreshWorklist:
    """Fetches the orders of the days around today and keeps them; runs at intervals.

    The worklist's clock is the hospital's and ours is UTC: `days_before` and `days_after`
    of at least one cover the difference.
    """

    def __init__(self, source: WorklistSource, sink: OrderSink) -> None:
        self._source = source
        self._sink = sink

    def __call__(self) -> None:
        """Fetch once.

        Raises
        ------
        PeerUnreachable, DatabaseAway
            Nothing was kept; what was known stays.
        """
        orders = self._source.fetch()
        changed = self._sink.keep(orders)
        log.info("orders.worklist.fetched", orders=len(orders), changed=changed)
