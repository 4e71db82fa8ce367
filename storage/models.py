"""The tables: what was received, what was found, what was reported, what is to be done.

Those of orders, proposals and corrections are in `storage.order_models`.

Identity lives in unique keys, so that any step may run twice and change nothing:
one result per (instance, model, configuration), one report per (study, revision), one
delivery per (object, destination), one job per key. The audit table is `audit.store`'s.
"""

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Date,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from storage.columns import UID, BigId, UtcDateTime

UNREPORTED = "changes > reported_changes"
"""SQL: something of the study is in no report yet; also the condition of a partial index."""


class Base(DeclarativeBase):
    """Base of every table of this package."""

    metadata = MetaData(
        # A constraint that has a name can be changed by a later migration.
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as a class attribute
        datetime: UtcDateTime(),
        date: Date(),
        dict[str, Any]: JSON,
        int: BigId,
    }


class Patient(Base):
    """A patient as the images name them: (Patient ID, issuer).

    Images without Patient ID share one nameless row.
    """

    __tablename__ = "patient"
    __table_args__ = (UniqueConstraint("patient_id", "issuer_of_patient_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    patient_id: Mapped[str] = mapped_column(String(256))
    issuer_of_patient_id: Mapped[str] = mapped_column(String(256), default="")
    patient_name: Mapped[str] = mapped_column(Text, default="")
    birth_date: Mapped[str] = mapped_column(String(8), default="")
    sex: Mapped[str] = mapped_column(String(16), default="")


class Accession(Base):
    """An order as the images name it: (Accession Number, issuer)."""

    __tablename__ = "accession"
    __table_args__ = (UniqueConstraint("accession_number", "issuer"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    accession_number: Mapped[str] = mapped_column(String(64))
    issuer: Mapped[str] = mapped_column(String(256), default="")


class Study(Base):
    """A study; `revision` counts its reports.

    `changes` counts what a report would have to tell: an image filed for a route, a result
    kept. Its row is locked while it rises, so a snapshot that shows the number shows exactly
    those images and results. Clocks cannot promise that: an image may be committed after
    another that was received later.
    """

    __tablename__ = "study"
    __table_args__ = (
        Index(
            "ix_study_unreported",
            "last_received_at",
            sqlite_where=text(UNREPORTED),
            postgresql_where=text(UNREPORTED),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(UID, unique=True)
    patient_fk: Mapped[int] = mapped_column(ForeignKey("patient.id"), index=True)
    study_id: Mapped[str] = mapped_column(String(64), default="")
    study_date: Mapped[str] = mapped_column(String(32), default="")
    study_time: Mapped[str] = mapped_column(String(32), default="")
    study_description: Mapped[str] = mapped_column(Text, default="")
    correlation_id: Mapped[str] = mapped_column(String(36), unique=True)
    """Names the study in logs, where its own identifiers must not appear."""

    calling_ae_title: Mapped[str] = mapped_column(String(16), default="")
    urgent: Mapped[bool] = mapped_column(default=False)
    """Whether any image of it was urgent. Work that begins later goes first; what is queued
    already keeps its place."""

    revision: Mapped[int] = mapped_column(default=0)
    last_received_at: Mapped[datetime] = mapped_column(index=True)
    changes: Mapped[int] = mapped_column(default=0)
    reported_changes: Mapped[int] = mapped_column(default=0)
    """`changes` as the newest report saw it; equal when nothing new has come."""


class Series(Base):
    """A series of a study."""

    __tablename__ = "series"

    id: Mapped[int] = mapped_column(primary_key=True)
    series_instance_uid: Mapped[str] = mapped_column(UID)
    study_fk: Mapped[int] = mapped_column(ForeignKey("study.id"))
    modality: Mapped[str] = mapped_column(String(16), default="")
    body_part_examined: Mapped[str] = mapped_column(String(64), default="")
    series_description: Mapped[str] = mapped_column(Text, default="")
    series_number: Mapped[str] = mapped_column(String(16), default="")

    __table_args__ = (UniqueConstraint("study_fk", "series_instance_uid"),)


class Instance(Base):
    """One received data set, byte for byte; the same UID with other bytes is a revision."""

    __tablename__ = "instance"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "content_sha256"),
        UniqueConstraint("sop_instance_uid", "revision"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(UID)
    revision: Mapped[int] = mapped_column(default=1)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    transfer_syntax_uid: Mapped[str] = mapped_column(UID)
    series_fk: Mapped[int] = mapped_column(ForeignKey("series.id"), index=True)
    study_fk: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    patient_fk: Mapped[int] = mapped_column(ForeignKey("patient.id"))
    """The patient that this image names; where it is not the study's, nothing is reported."""

    accession_fk: Mapped[int | None] = mapped_column(ForeignKey("accession.id"), index=True)
    instance_number: Mapped[str] = mapped_column(String(16), default="")
    content_sha256: Mapped[str] = mapped_column(String(64))
    """Of the data set as received, without preamble and file meta information."""

    size_bytes: Mapped[int]
    path: Mapped[str] = mapped_column(Text, unique=True)
    """Relative to the storage root, POSIX separators."""

    calling_ae_title: Mapped[str] = mapped_column(String(16), default="")
    route: Mapped[str] = mapped_column(String(64), default="")
    """The route that this instance matched; empty where none did."""

    received_at: Mapped[datetime] = mapped_column(index=True)


class Result(Base):
    """One model on one instance; `document` is `inference.types.Prediction` as JSON."""

    __tablename__ = "result"
    __table_args__ = (
        UniqueConstraint(
            "instance_fk",
            "model_name",
            "weights_sha256",
            "configuration_sha256",
            name="uq_result_key",
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    instance_fk: Mapped[int] = mapped_column(ForeignKey("instance.id"))
    model_name: Mapped[str] = mapped_column(String(64))
    model_version: Mapped[str] = mapped_column(String(32))
    weights_sha256: Mapped[str] = mapped_column(String(64))
    configuration_sha256: Mapped[str] = mapped_column(String(64))
    task: Mapped[str] = mapped_column(String(32))
    outcome: Mapped[str] = mapped_column(String(16))
    document: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Report(Base):
    """One revision of the report on a study."""

    __tablename__ = "report"
    __table_args__ = (UniqueConstraint("study_fk", "revision"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_fk: Mapped[int] = mapped_column(ForeignKey("study.id"))
    revision: Mapped[int]
    document: Mapped[dict[str, Any]]
    """Verdicts and findings as `dicom_node.report.content` wrote them."""

    created_at: Mapped[datetime]


class ReportInstance(Base):
    """Which instances a report revision speaks of."""

    __tablename__ = "report_instance"

    report_fk: Mapped[int] = mapped_column(ForeignKey("report.id"), primary_key=True)
    instance_fk: Mapped[int] = mapped_column(ForeignKey("instance.id"), primary_key=True)


class ReportObject(Base):
    """One DICOM object of a report: an SR or an SC, in the profile of some destinations."""

    __tablename__ = "report_object"

    id: Mapped[int] = mapped_column(primary_key=True)
    report_fk: Mapped[int] = mapped_column(ForeignKey("report.id"), index=True)
    profile: Mapped[str] = mapped_column(String(32))
    role: Mapped[str] = mapped_column(String(8))
    """``SR`` or ``SC``."""

    series_instance_uid: Mapped[str] = mapped_column(UID)
    sop_instance_uid: Mapped[str] = mapped_column(UID, unique=True)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    transfer_syntax_uid: Mapped[str] = mapped_column(UID)
    sha256: Mapped[str] = mapped_column(String(64))
    path: Mapped[str] = mapped_column(Text, index=True)


class Delivery(Base):
    """One report object to one destination, with the peer's own answer."""

    __tablename__ = "delivery"
    __table_args__ = (UniqueConstraint("report_object_fk", "destination"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    report_object_fk: Mapped[int] = mapped_column(ForeignKey("report_object.id"))
    destination: Mapped[str] = mapped_column(String(64))
    outcome: Mapped[str] = mapped_column(String(16), default="pending")
    """`dicom_node.core.outcome.Outcome`: pending, delivered, warning, refused or failed."""

    status: Mapped[str] = mapped_column(String(32), default="")
    """The peer's answer: a DIMSE status such as ``A700H`` or ``HTTP 409``."""

    attempts: Mapped[int] = mapped_column(default=0)
    delivered_at: Mapped[datetime | None] = mapped_column(default=None)


class Job(Base):
    """A piece of work that must be done once; `storage.states` rules its state."""

    __tablename__ = "job"
    __table_args__ = (Index("ix_job_state_kind", "state", "kind"),)

    key: Mapped[str] = mapped_column(String(160), primary_key=True)
    """``analyse:<instance id>``, ``report:<study id>:<revision>``,
    ``deliver:<report id>:<destination>``, ``reconcile:<study id>:<order id>:<version>``,
    ``reconcile:<study id>:order:<order id>:<changes>``,
    ``correct:<proposal id>:<destination>``, ``notify:<proposal id>:<state>:<channel>``."""

    kind: Mapped[str] = mapped_column(String(16))
    queue: Mapped[str] = mapped_column(String(80))
    study_fk: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(default=1)
    """The attempt under way; its workflow is ``<key>#<attempt>``."""

    first_attempt: Mapped[int] = mapped_column(default=1)
    """Where counting towards the limit starts: moved on when a person re-drives it."""

    urgent: Mapped[bool] = mapped_column(default=False)
    error_code: Mapped[str] = mapped_column(String(64), default="")
    error: Mapped[str] = mapped_column(Text, default="")
    due_at: Mapped[datetime]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Executor(Base):
    """A running node process; one that stops beating loses its work to the others."""

    __tablename__ = "executor"

    executor_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    started_at: Mapped[datetime]
    beaten_at: Mapped[datetime]


class Store(Base):
    """The one row that says whose files these rows speak of; see `storage.binding`."""

    __tablename__ = "store"

    id: Mapped[int] = mapped_column(primary_key=True)
    store_id: Mapped[str] = mapped_column(String(32))
