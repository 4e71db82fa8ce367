"""The node's life: what starts before what, and what stops before what."""

import os
import socket
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import structlog

from audit.clock import Clock
from audit.metrics import Metrics
from audit.records import Writer
from audit.store import append
from dicom_node.config.settings import NodeSettings
from dicom_node.dimse.acceptor import Acceptor
from dicom_node.orders.services import OrderServices
from dicom_node.pipeline.intake import Intake
from dicom_node.pipeline.reconcile import DEAD_AFTER_S, Reconcile
from dicom_node.pipeline.runner import Runner
from dicom_node.pipeline.settle import Settle
from dicom_node.scheduler import Periodic, Scheduler
from dicom_node.web.server import WebServer
from inference.service import InferenceService
from storage import executors, jobs, schema
from storage.binding import bind
from storage.commit import GroupCommitter
from storage.engine import migrate
from storage.files import FileStore
from storage.session import Database
from storage.states import JobKind, JobState
from storage.work import WorkEngine

log = structlog.get_logger()

_PULSE_S = 1.0
_BEAT_S = 5.0
_SWEEP_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParts:
    """Everything that lives as long as the node; built by the composition root."""

    settings: NodeSettings
    database: Database
    files: FileStore
    committer: GroupCommitter
    engine: WorkEngine
    runner: Runner
    queues: dict[str, int]
    inference: InferenceService
    intake: Intake
    acceptor: Acceptor
    web: WebServer
    orders: OrderServices
    settle: Settle
    reconcile: Reconcile
    writer: Writer
    clock: Clock
    metrics: Metrics
    executor_id: str
    configuration_sha256: str


class Node:
    """A node that can be started once and stopped once."""

    def __init__(self, parts: NodeParts) -> None:
        self._parts = parts
        self._undo = ExitStack()

    @property
    def dimse_port(self) -> int:
        """The plain DIMSE port, once started."""
        return self._parts.acceptor.port

    @property
    def web_port(self) -> int:
        """The HTTP port, once started."""
        return self._parts.web.port

    @property
    def hl7_port(self) -> int:
        """The HL7 port, once started, where one is configured."""
        listener = self._parts.orders.listener
        assert listener is not None, "no HL7 listener is configured"
        return listener.port

    def start(self) -> None:
        """Start everything; when this returns, peers can send.

        Work that was under way when the node last died resumes before anything new
        comes in. What was started is stopped again when a later part cannot start.

        Raises
        ------
        SchemaMismatch
            The database is of another release.
        StoreMismatch
            The database and the files under the storage root do not belong together.
        ExecutorTaken
            Another process runs on the same storage root.
        InvalidConfiguration
            A port cannot be listened on.
        """
        parts = self._parts
        self._undo.callback(parts.database.close)
        self._undo.callback(parts.committer.close)
        self._undo.callback(parts.inference.close)
        self._undo.callback(parts.files.close)
        self._undo.enter_context(executors.claim(parts.settings.storage.root, parts.executor_id))
        parts.files.sweep_temporary()
        prepare_database(parts.database)
        bind(parts.database, parts.settings.storage.root, parts.files)
        parts.inference.warm_up()
        self._announce()
        drain_s = parts.settings.pipeline.drain_s
        parts.engine.start(parts.runner, self._queues())
        self._undo.callback(parts.engine.stop, drain_s)
        scheduler = Scheduler(self._periodics())
        scheduler.start()
        self._undo.callback(scheduler.stop)
        self._undo.callback(parts.orders.stop, drain_s)
        parts.orders.start()
        parts.web.start()
        self._undo.callback(parts.web.stop)
        parts.acceptor.start()
        self._undo.callback(parts.acceptor.stop, drain_s)
        log.info(
            "node.started",
            port=parts.acceptor.port,
            tls_port=parts.acceptor.tls_port,
            web_port=parts.web.port,
        )

    def stop(self) -> None:
        """Take nothing new, let what is under way end, and release everything."""
        log.info("node.stopping")
        self._undo.close()
        log.info("node.stopped")

    def _announce(self) -> None:
        parts = self._parts
        now = parts.clock.now()
        with parts.database.transaction() as connection:
            executors.register(
                connection,
                parts.executor_id,
                host=socket.gethostname(),
                pid=os.getpid(),
                now=now,
                timeout_s=DEAD_AFTER_S,
            )
            append(
                connection,
                parts.writer.configuration_loaded(
                    configuration_sha256=parts.configuration_sha256,
                    executor_id=parts.executor_id,
                    recorded_at=now,
                ),
            )
            for identity in parts.inference.identities():
                append(
                    connection,
                    parts.writer.model_loaded(
                        model=asdict(identity), executor_id=parts.executor_id, recorded_at=now
                    ),
                )

    def _queues(self) -> dict[str, int]:
        """Return the configured queues, and those of work for what is configured no more:
        it is taken up too, and parked with that reason."""
        parts = self._parts
        with parts.database.reading() as connection:
            others = jobs.open_queues(connection) - parts.queues.keys()
        return {**parts.queues, **dict.fromkeys(sorted(others), 1)}

    def _periodics(self) -> list[Periodic]:
        parts, settings = self._parts, self._parts.settings
        return [
            Periodic("settle", settings.settle.poll_s, parts.settle),
            Periodic("pulse", _PULSE_S, self._pulse),
            Periodic("heartbeat", _BEAT_S, self._beat),
            Periodic("reconcile", settings.pipeline.reconcile_s, parts.reconcile, at_start=True),
            Periodic("sweep", _SWEEP_S, parts.reconcile.sweep, at_start=True),
            *parts.orders.periodics(),
        ]

    def _pulse(self) -> None:
        """Measure the queues: the intake slows down by them, and operators watch them."""
        parts = self._parts
        with parts.database.reading() as connection:
            counts = jobs.counts(connection)
            oldest = jobs.oldest_due(connection)
        parts.intake.set_waiting(counts[JobKind.ANALYSE, JobState.QUEUED])
        for (kind, state), count in counts.items():
            parts.metrics.gauge("jobs", count, kind=kind.value, state=state.value)
        late_s = (parts.clock.now() - oldest).total_seconds() if oldest is not None else 0.0
        parts.metrics.gauge("oldest_due_job_age_seconds", max(0.0, late_s))
        parts.metrics.gauge("free_bytes", parts.files.free_bytes())

    def _beat(self) -> None:
        parts = self._parts
        now = parts.clock.now()
        with parts.database.transaction() as connection:
            alive = executors.beat(connection, parts.executor_id, now)
            if not alive:  # the others took our work over while we were silent
                executors.register(
                    connection,
                    parts.executor_id,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    now=now,
                    timeout_s=DEAD_AFTER_S,
                )


def prepare_database(database: Database) -> None:
    """Make the tables of an empty database; accept no other schema than this release's.

    Raises
    ------
    SchemaMismatch
        The tables are of another release; ``dicom-node db upgrade`` is a person's word.
    """
    if schema.is_empty(database):
        migrate(database)  # first: a start that ends between the two finds it empty still
        schema.upgrade(database)
    schema.require_head(database)
