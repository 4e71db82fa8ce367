"""DBOS itself, of which a process can hold one: its tables, its start and its end.

Only `storage.work` uses this; ``docs/decisions/0010-dbos-moves-the-work.md`` says what each
setting is for.
"""

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence

from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer
from sqlalchemy import Engine

from audit.errors import Fault
from storage.session import Database

APPLICATION = "dicom-node"
APPLICATION_VERSION = "1"
"""Constant: a new release of the node goes on with the old one's work."""

WORKFLOW = "job"
SCHEMA = "dbos"
"""PostgreSQL schema of the engine's tables; on SQLite they lie among ours."""

POLL_S = 0.1
CRASHES_ALLOWED = 10
"""Times that an attempt may take its process down before the engine leaves it alone; the
reconciler counts it as a failed attempt then, so work that kills processes gets parked."""

_SPARE_THREADS = 8
_in_this_process = threading.Lock()


class EngineMisused(Fault):
    """The engine was started twice, or asked to adopt work while it is not running."""

    code = "storage.engine.misused"


def migrate(database: Database) -> None:
    """Create the engine's tables, or bring them up to the pinned release of DBOS.

    Part of ``dicom-node db upgrade``; starting the engine never does it.
    """
    _silence()
    url = database.engine.url.render_as_string(hide_password=False)
    DBOS.migrate(url, schema=SCHEMA)


def client(engine: Engine) -> DBOSClient:
    """Return what enqueues and looks things up, without running anything."""
    _silence()
    return DBOSClient(
        system_database_engine=engine,
        dbos_system_schema=SCHEMA,
        serializer=DBOSPortableJSONSerializer(),
        application_name=APPLICATION,
        lazy=True,
        retry_connection_errors=False,
    )


def launch(
    engine: Engine,
    executor_id: str,
    workflow: Callable[[str, int], None],
    queues: Mapping[str, int],
) -> None:
    """Begin to run `workflow` for what is in `queues` (name to how many at once).

    Raises
    ------
    EngineMisused
        When it runs in this process already.
    """
    if not _in_this_process.acquire(blocking=False):
        raise EngineMisused("only one engine may run in a process")
    config: DBOSConfig = {
        "name": APPLICATION,
        "application_version": APPLICATION_VERSION,
        "executor_id": executor_id,
        "system_database_engine": engine,
        "dbos_system_schema": SCHEMA,
        "serializer": DBOSPortableJSONSerializer(),  # the default is pickle
        "run_migrations": False,
        "enable_otlp": False,
        "log_level": "WARNING",
        "max_executor_threads": sum(queues.values()) + _SPARE_THREADS,
        "notification_listener_polling_interval_sec": POLL_S,
    }
    try:
        DBOS(config=config)
        DBOS.listen_queues(list(queues))
        DBOS.workflow(name=WORKFLOW, max_recovery_attempts=CRASHES_ALLOWED)(workflow)
        registrar = client(engine)
        for name, concurrency in queues.items():  # before the launch, which then serves them
            registrar.register_queue(
                name, worker_concurrency=concurrency, polling_interval_sec=POLL_S
            )
        DBOS.launch()
    except BaseException:
        shut_down(0)
        raise


def shut_down(drain_s: float) -> None:
    """Take no more work, wait for running workflows, forget everything."""
    DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=math.ceil(drain_s))
    _in_this_process.release()


def recover(executor_ids: Sequence[str]) -> int:
    """Put the running work of dead executors back on its queues; return how much.

    The public ``resume_workflows`` would forget how often the work has crashed, and when
    two processes recover at once it would restart what the other has begun.
    """
    return len(DBOS._recover_pending_workflows(list(executor_ids)))


def _silence() -> None:
    """Let the engine's logger pass its records on, rather than print them itself."""
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.WARNING)
