"""The catalogue of log events. Renaming one is a breaking change.

`REQUIRED_FIELDS` are on every line of an event; `SAFE_FIELDS` are all fields that may ever
be logged. None holds patient data: rows are named by their numbers, a study by its
correlation id, a peer by its AE title or address. ``docs/events.md`` says the same for
readers, and tests hold the source to both.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Event(StrEnum):
    """Everything that the node logs: ``<package>.<noun>.<past tense>``."""

    EVENT_UNKNOWN = "audit.event.unknown"
    EXCEPTION_UNCAUGHT = "audit.exception.uncaught"
    LIBRARY_MESSAGE_HIDDEN = "library.message.hidden"

    NODE_STARTED = "node.started"
    NODE_STOPPING = "node.stopping"
    NODE_STOPPED = "node.stopped"
    RUN_FAILED = "scheduler.run.failed"
    RUN_CRASHED = "scheduler.run.crashed"

    LISTENER_STARTED = "dimse.listener.started"
    LISTENER_STOPPED = "dimse.listener.stopped"
    CONNECTION_REFUSED = "dimse.connection.refused"
    CONNECTION_ENDED = "dimse.connection.ended"
    TLS_REFUSED = "dimse.tls.refused"
    ASSOCIATION_REJECTED = "dimse.association.rejected"
    ASSOCIATION_ACCEPTED = "dimse.association.accepted"
    ASSOCIATION_RELEASED = "dimse.association.released"
    ASSOCIATION_ABORTED = "dimse.association.aborted"
    ASSOCIATION_LOST = "dimse.association.lost"
    ASSOCIATION_FAILED = "dimse.association.failed"
    INSTANCE_REFUSED = "dimse.instance.refused"
    INSTANCE_FAILED = "dimse.instance.failed"

    WEB_STARTED = "web.server.started"
    WEB_STOPPED = "web.server.stopped"
    WEB_REQUEST_FAILED = "web.request.failed"
    STOW_REFUSED = "dicomweb.request.refused"
    STOW_CUT = "dicomweb.request.cut"
    STOW_ANSWERED = "dicomweb.store.answered"
    SAMPLE_DROPPED = "metrics.sample.dropped"

    TEMPORARY_SWEPT = "storage.temporary.swept"
    ENGINE_STARTED = "storage.engine.started"
    ENGINE_STOPPED = "storage.engine.stopped"
    ENGINE_ADOPTED = "storage.engine.adopted"
    HANDLER_FAILED = "storage.handler.failed"
    EXECUTORS_ADOPTED = "reconcile.executors.adopted"
    JOB_REQUEUED = "reconcile.job.requeued"
    ORPHAN_QUARANTINED = "reconcile.orphan.quarantined"
    ORPHANS_REMOVED = "reconcile.orphans.removed"

    INSTANCE_RECEIVED = "intake.instance.received"
    PATIENT_CONFLICTED = "intake.patient.conflicted"
    FILE_RESTORED = "intake.file.restored"
    MODEL_LOADED = "inference.model.loaded"
    MODEL_LEFT_OUT = "inference.model.left_out"
    MODEL_FOLDER_SKIPPED = "inference.model.folder_skipped"
    RUNTIME_NOT_LOADED = "inference.runtime.not_loaded"
    RUNTIME_REFUSED = "inference.runtime.refused"
    BATCH_FAILED = "inference.batch.failed"
    IMAGE_REFUSED = "inference.image.refused"
    INSTANCE_ANALYSED = "pipeline.instance.analysed"
    STUDY_SETTLED = "pipeline.study.settled"
    ACCESSION_CHECKED = "pipeline.accession.checked"
    PROPOSAL_CHANGED = "pipeline.proposal.changed"
    MESSAGE_SENT = "notify.message.sent"
    REPORT_WRITTEN = "pipeline.report.written"
    OVERLAY_SKIPPED = "report.overlay.skipped"
    JOB_FAILED = "pipeline.job.failed"
    STEP_CRASHED = "pipeline.step.crashed"

    CORRECTION_BUILT = "correction.package.built"
    CORRECTION_SENT = "correction.package.sent"
    REPORT_SENT = "pipeline.report.sent"
    PROFILE_CHANGED = "pipeline.profile.changed"
    OBJECT_UNREADABLE = "delivery.object.unreadable"
    LINK_LOST = "delivery.association.lost"
    REQUEST_LOST = "delivery.request.lost"

    ORDERS_SOURCE_AWAY = "orders.source.away"
    WORKLIST_RESTED = "orders.worklist.rested"
    WORKLIST_CRASHED = "orders.worklist.crashed"
    WORKLIST_FETCHED = "orders.worklist.fetched"
    LATE_ANSWER_LOST = "orders.answer.lost"
    HL7_STARTED = "orders.listener.started"
    HL7_STOPPED = "orders.listener.stopped"
    HL7_CONNECTION_REFUSED = "orders.connection.refused"
    HL7_CONNECTION_ENDED = "orders.connection.ended"
    HL7_CONNECTION_CRASHED = "orders.connection.crashed"
    HL7_MESSAGE_TAKEN = "orders.message.taken"
    HL7_MESSAGE_REFUSED = "orders.message.refused"
    HL7_MESSAGE_CRASHED = "orders.message.crashed"
    CANCELS_LEFT_ASIDE = "orders.cancels.left_aside"

    DEMO_OPENED = "demo.archive.opened"
    DEMO_FAILED = "demo.archive.failed"


def _required() -> dict[Event, tuple[str, ...]]:
    return {
        Event.EVENT_UNKNOWN: (),
        Event.EXCEPTION_UNCAUGHT: ("error_type", "frames"),
        Event.LIBRARY_MESSAGE_HIDDEN: ("logger", "origin"),
        Event.NODE_STARTED: ("port", "tls_port", "web_port"),
        Event.NODE_STOPPING: (),
        Event.NODE_STOPPED: (),
        Event.RUN_FAILED: ("task", "error_code"),
        Event.RUN_CRASHED: ("task",),
        Event.LISTENER_STARTED: ("port", "tls_port"),
        Event.LISTENER_STOPPED: ("still_open",),
        Event.CONNECTION_REFUSED: ("reason",),
        Event.CONNECTION_ENDED: ("association_id", "reason"),
        Event.TLS_REFUSED: ("address", "reason"),
        Event.ASSOCIATION_REJECTED: ("address", "calling_ae_title", "called_ae_title", "reason"),
        Event.ASSOCIATION_ACCEPTED: (
            "association_id",
            "calling_ae_title",
            "address",
            "contexts",
            "protocol",
        ),
        Event.ASSOCIATION_RELEASED: ("association_id", "calling_ae_title"),
        Event.ASSOCIATION_ABORTED: ("association_id", "calling_ae_title", "reason"),
        Event.ASSOCIATION_LOST: ("association_id", "calling_ae_title", "reason"),
        Event.ASSOCIATION_FAILED: ("association_id", "error_type", "origin"),
        Event.INSTANCE_REFUSED: (
            "association_id",
            "calling_ae_title",
            "dimse_status",
            "error_code",
            "rule",
        ),
        Event.INSTANCE_FAILED: ("association_id", "error_type", "origin"),
        Event.WEB_STARTED: ("port",),
        Event.WEB_STOPPED: (),
        Event.WEB_REQUEST_FAILED: ("error_type",),
        Event.STOW_REFUSED: ("rule",),
        Event.STOW_CUT: (),
        Event.STOW_ANSWERED: ("http_status", "stored", "failed"),
        Event.SAMPLE_DROPPED: ("metric",),
        Event.TEMPORARY_SWEPT: ("processes",),
        Event.ENGINE_STARTED: ("executor_id", "queues"),
        Event.ENGINE_STOPPED: ("executor_id", "drained"),
        Event.ENGINE_ADOPTED: ("executor_ids", "count"),
        Event.HANDLER_FAILED: ("job_key", "attempt", "error_type"),
        Event.EXECUTORS_ADOPTED: ("executors", "workflows"),
        Event.JOB_REQUEUED: ("job_key", "attempt"),
        Event.ORPHAN_QUARANTINED: (),
        Event.ORPHANS_REMOVED: ("count",),
        Event.INSTANCE_RECEIVED: (
            "correlation_id",
            "instance_id",
            "calling_ae_title",
            "protocol",
            "receipt",
            "route",
            "size_bytes",
        ),
        Event.PATIENT_CONFLICTED: ("correlation_id", "instance_id", "calling_ae_title"),
        Event.FILE_RESTORED: ("correlation_id", "instance_id"),
        Event.MODEL_LOADED: (
            "model_name",
            "model_version",
            "weights_sha256",
            "configuration_sha256",
        ),
        Event.MODEL_FOLDER_SKIPPED: ("model_name",),
        Event.RUNTIME_NOT_LOADED: ("error_type",),
        Event.RUNTIME_REFUSED: (
            "precision",
            "reason",
            "logit_difference",
            "map_difference",
        ),
        Event.MODEL_LEFT_OUT: ("model_name",),
        Event.BATCH_FAILED: ("model_name", "batch_size", "error_type"),
        Event.IMAGE_REFUSED: ("reason_code", "error_type"),
        Event.INSTANCE_ANALYSED: ("instance_id", "outcomes", "verdict"),
        Event.STUDY_SETTLED: ("correlation_id", "revision"),
        Event.ACCESSION_CHECKED: ("check", "standing", "images"),
        Event.PROPOSAL_CHANGED: ("proposal_id", "kind", "change"),
        Event.MESSAGE_SENT: ("proposal_id", "channel", "change"),
        Event.REPORT_WRITTEN: ("revision", "images", "objects"),
        Event.OVERLAY_SKIPPED: ("image_number", "error_code"),
        Event.JOB_FAILED: ("job_key", "attempt", "outcome", "error_code"),
        Event.STEP_CRASHED: ("job_key",),
        Event.CORRECTION_BUILT: ("proposal_id", "objects", "destinations"),
        Event.CORRECTION_SENT: (
            "proposal_id",
            "destination",
            "objects",
            "statuses",
            "duration_s",
        ),
        Event.REPORT_SENT: ("destination", "objects", "statuses", "duration_s"),
        Event.PROFILE_CHANGED: ("destination", "profile"),
        Event.OBJECT_UNREADABLE: ("destination",),
        Event.LINK_LOST: ("destination", "reason"),
        Event.REQUEST_LOST: ("destination", "reason"),
        Event.ORDERS_SOURCE_AWAY: ("source", "error_code"),
        Event.WORKLIST_RESTED: ("called_ae_title", "error_code"),
        Event.WORKLIST_CRASHED: ("called_ae_title",),
        Event.WORKLIST_FETCHED: ("orders", "changed"),
        Event.LATE_ANSWER_LOST: ("error_code",),
        Event.HL7_STARTED: ("port",),
        Event.HL7_STOPPED: ("still_open",),
        Event.HL7_CONNECTION_REFUSED: ("address", "reason"),
        Event.HL7_CONNECTION_ENDED: ("address", "reason", "messages"),
        Event.HL7_CONNECTION_CRASHED: ("address",),
        Event.HL7_MESSAGE_TAKEN: ("orders", "changed"),
        Event.HL7_MESSAGE_REFUSED: ("address", "rule", "answer"),
        Event.HL7_MESSAGE_CRASHED: ("address",),
        Event.CANCELS_LEFT_ASIDE: ("count",),
        Event.DEMO_OPENED: ("ae_title", "port"),
        Event.DEMO_FAILED: ("ae_title", "errno"),
    }


REQUIRED_FIELDS: Mapping[Event, frozenset[str]] = MappingProxyType(
    {event: frozenset(fields) for event, fields in _required().items()}
)

SAFE_FIELDS: frozenset[str] = frozenset(
    {
        # on every line
        "event",
        "level",
        "timestamp",
        "redacted_fields",
        # wherever they apply
        "correlation_id",
        "called_ae_title",
        "calling_ae_title",
        "error",
        "error_code",
        "error_type",
        "frames",
        "origin",
    }
).union(*REQUIRED_FIELDS.values())
