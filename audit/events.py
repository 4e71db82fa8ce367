"""The catalogue of log events. Renaming one is a breaking change.

A name reads ``<package>.<noun>.<past tense>``. `REQUIRED_FIELDS` are on every line of an
event; `SAFE_FIELDS` are all fields that may ever be logged. None holds patient data: rows
are named by their numbers, a study by its correlation id, a peer by its AE title.
``docs/events.md`` says the same for readers, and tests hold the source to both.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Event(StrEnum):
    """Everything that the node logs."""

    EVENT_UNKNOWN = "audit.event.unknown"
    EXCEPTION_UNCAUGHT = "audit.exception.uncaught"
    LIBRARY_MESSAGE_HIDDEN = "library.message.hidden"

    ENGINE_STARTED = "storage.engine.started"
    ENGINE_STOPPED = "storage.engine.stopped"
    ENGINE_ADOPTED = "storage.engine.adopted"
    HANDLER_FAILED = "storage.handler.failed"
    TEMPORARY_SWEPT = "storage.temporary.swept"

    MODEL_LOADED = "inference.model.loaded"
    BATCH_FAILED = "inference.batch.failed"
    IMAGE_REFUSED = "inference.image.refused"

    ASSOCIATION_ACCEPTED = "dimse.association.accepted"
    ASSOCIATION_REJECTED = "dimse.association.rejected"
    ASSOCIATION_FAILED = "dimse.association.failed"
    TLS_REFUSED = "dimse.tls.refused"
    INSTANCE_REFUSED = "dimse.instance.refused"
    INSTANCE_FAILED = "dimse.instance.failed"

    INSTANCE_RECEIVED = "intake.instance.received"
    INSTANCE_ANALYSED = "pipeline.instance.analysed"
    STUDY_SETTLED = "pipeline.study.settled"
    JOB_FAILED = "pipeline.job.failed"
    STEP_CRASHED = "pipeline.step.crashed"
    OVERLAY_SKIPPED = "report.overlay.skipped"

    EXECUTORS_ADOPTED = "reconcile.executors.adopted"
    JOB_REQUEUED = "reconcile.job.requeued"
    ORPHAN_REMOVED = "reconcile.orphan.removed"
    RUN_FAILED = "scheduler.run.failed"
    RUN_CRASHED = "scheduler.run.crashed"

    OBJECT_UNREADABLE = "delivery.object.unreadable"
    LINK_LOST = "delivery.association.lost"
    REQUEST_LOST = "delivery.request.lost"

    WEB_REQUEST_FAILED = "web.request.failed"
    SAMPLE_DROPPED = "metrics.sample.dropped"


_STORED = {"instance_id", "calling_ae_title", "protocol", "receipt", "route", "size_bytes"}
_MODEL = {"model_name", "model_version", "weights_sha256", "configuration_sha256"}

REQUIRED_FIELDS: Mapping[Event, frozenset[str]] = MappingProxyType(
    {
        event: frozenset(fields)
        for event, fields in {
            Event.EVENT_UNKNOWN: set[str](),
            Event.EXCEPTION_UNCAUGHT: {"error_type", "frames"},
            Event.LIBRARY_MESSAGE_HIDDEN: {"logger", "origin"},
            Event.ENGINE_STARTED: {"executor_id", "queues"},
            Event.ENGINE_STOPPED: {"executor_id", "drained"},
            Event.ENGINE_ADOPTED: {"executor_ids", "count"},
            Event.HANDLER_FAILED: {"job_key", "attempt", "error_type"},
            Event.TEMPORARY_SWEPT: {"processes"},
            Event.MODEL_LOADED: _MODEL,
            Event.BATCH_FAILED: {"model_name", "batch_size", "error_type"},
            Event.IMAGE_REFUSED: {"reason_code", "error_type"},
            Event.ASSOCIATION_ACCEPTED: {"association_id", "address", "contexts", "secure"},
            Event.ASSOCIATION_REJECTED: {"association_id", "address", "reason"},
            Event.ASSOCIATION_FAILED: {"association_id", "error_type", "origin"},
            Event.TLS_REFUSED: {"address", "reason"},
            Event.INSTANCE_REFUSED: {"association_id", "calling_ae_title", "dimse_status"},
            Event.INSTANCE_FAILED: {"association_id", "error_type", "origin"},
            Event.INSTANCE_RECEIVED: _STORED,
            Event.INSTANCE_ANALYSED: {"instance_id", "outcomes", "verdict"},
            Event.STUDY_SETTLED: {"correlation_id", "revision"},
            Event.JOB_FAILED: {"job_key", "attempt", "outcome", "error_code"},
            Event.STEP_CRASHED: {"job_key"},
            Event.OVERLAY_SKIPPED: {"image_number", "error_code"},
            Event.EXECUTORS_ADOPTED: {"executors", "workflows"},
            Event.JOB_REQUEUED: {"job_key", "attempt"},
            Event.ORPHAN_REMOVED: set[str](),
            Event.RUN_FAILED: {"task", "error_code"},
            Event.RUN_CRASHED: {"task"},
            Event.OBJECT_UNREADABLE: {"destination"},
            Event.LINK_LOST: {"destination", "reason"},
            Event.REQUEST_LOST: {"destination", "reason"},
            Event.WEB_REQUEST_FAILED: {"error_type"},
            Event.SAMPLE_DROPPED: {"metric"},
        }.items()
    }
)

SAFE_FIELDS: frozenset[str] = frozenset(
    {
        # on every line
        "event",
        "level",
        "timestamp",
        "redacted_fields",
        # bound by a context, or where it applies
        "correlation_id",
        "error_code",
        "error_type",
        "error",
        "frames",
        "origin",
        "rule",
        "called_ae_title",
        "calling_ae_title",
    }
).union(*REQUIRED_FIELDS.values())
