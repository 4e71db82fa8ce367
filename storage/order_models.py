"""The tables of orders, of how images stand to them, and of what puts it right.

Identity lies in unique keys here, too: one order per (source, accession, procedure,
patient), one proposal per key, one correction per proposal.
"""

from datetime import date, datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.columns import UID
from storage.models import Base

__all__ = (
    "Base",
    "WorkOrder",
    "OrderLookup",
    "OrderMessage",
    "UnmappedText",
    "AccessionCheck",
    "Proposal",
    "ProposalStudy",
    "Correction",
    "CorrectionObject",
    "CorrectionDelivery",
)


class WorkOrder(Base):
    """One requested procedure as one source tells it; `document` is `inference.orders.Order`.

    Orders come before their images, so they name patient and accession by value.
    """

    __tablename__ = "work_order"
    __table_args__ = (
        UniqueConstraint(
            "source",
            "accession_number",
            "issuer",
            "requested_procedure_id",
            "patient_id",
            "issuer_of_patient_id",
            name="uq_work_order_key",
        ),
        Index("ix_work_order_accession_number", "accession_number"),
        Index("ix_work_order_patient_id", "patient_id", "ordered_on"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(String(32))
    """``worklist`` or ``hl7``; what images say of their orders stays with the images."""

    accession_number: Mapped[str] = mapped_column(String(64))
    issuer: Mapped[str] = mapped_column(String(256), default="")
    requested_procedure_id: Mapped[str] = mapped_column(String(64), default="")
    patient_id: Mapped[str] = mapped_column(String(256))
    issuer_of_patient_id: Mapped[str] = mapped_column(String(256), default="")
    state: Mapped[str] = mapped_column(String(16))
    ordered_on: Mapped[date | None] = mapped_column(default=None)
    content_sha256: Mapped[str] = mapped_column(String(64))
    """Of what the order asks for; a notice that repeats it changes nothing."""

    version: Mapped[int] = mapped_column(default=1)
    """Counts changes of content."""

    document: Mapped[dict[str, Any]]
    received_at: Mapped[datetime]
    """Of the newest notice; an older one is ignored."""

    seen_at: Mapped[datetime]
    """When the source last confirmed it."""

    stale_after: Mapped[datetime | None] = mapped_column(default=None)
    """When the source is due to be asked again; None for those that tell by themselves."""


class OrderLookup(Base):
    """A question put to a source, so that it is not put again at once."""

    __tablename__ = "order_lookup"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    """sha256 of the source's name and of the question."""

    asked_at: Mapped[datetime]
    answered: Mapped[bool]
    """False where the source was away."""


class OrderMessage(Base):
    """An HL7 message that was taken, so that its repetition changes nothing."""

    __tablename__ = "order_message"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    """sha256 of sender, message control id and content; it does not tell them."""

    taken_at: Mapped[datetime] = mapped_column(index=True)


class UnmappedText(Base):
    """Words of images in which no region was found, and which no other table holds."""

    __tablename__ = "unmapped_text"

    attribute: Mapped[str] = mapped_column(String(64), primary_key=True)
    text: Mapped[str] = mapped_column(String(256), primary_key=True)
    images: Mapped[int] = mapped_column(default=1)


class AccessionCheck(Base):
    """How the images of one accession stand to its order; replaced when that changes."""

    __tablename__ = "accession_check"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    """``<patient row>:<accession row>``; images without accession number have
    ``<patient row>:none:<study row>``, an order without images
    ``order:<hash of patient and number>``."""

    patient_fk: Mapped[int | None] = mapped_column(ForeignKey("patient.id"), index=True)
    """None for an order of somebody of whom no image of the same days came."""

    accession_fk: Mapped[int | None] = mapped_column(ForeignKey("accession.id"), index=True)
    verdict: Mapped[str] = mapped_column(String(16))
    document: Mapped[dict[str, Any]]
    """`inference.accessions.AccessionVerdict` as JSON."""

    checked_at: Mapped[datetime] = mapped_column(index=True)


class Proposal(Base):
    """Where misfiled images belong; `storage.states` rules its life."""

    __tablename__ = "proposal"
    __table_args__ = (Index("ix_proposal_state", "state", "created_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    """sha256 of what is proposed and of the orders it rests on."""

    patient_fk: Mapped[int] = mapped_column(ForeignKey("patient.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    """``swap``, ``move`` or ``missing_order``."""

    state: Mapped[str] = mapped_column(String(16))
    document: Mapped[dict[str, Any]]
    """`inference.accessions.Proposal` as JSON."""

    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    decided_at: Mapped[datetime | None] = mapped_column(default=None)
    decided_by: Mapped[str] = mapped_column(String(128), default="")
    note: Mapped[str] = mapped_column(Text, default="")
    """What the person who decided wrote."""


class ProposalStudy(Base):
    """The studies whose images a proposal speaks of."""

    __tablename__ = "proposal_study"

    proposal_fk: Mapped[int] = mapped_column(ForeignKey("proposal.id"), primary_key=True)
    study_fk: Mapped[int] = mapped_column(ForeignKey("study.id"), primary_key=True, index=True)


class Correction(Base):
    """The correction package of an accepted proposal; a proposal is mended once."""

    __tablename__ = "correction"

    id: Mapped[int] = mapped_column(primary_key=True)
    proposal_fk: Mapped[int] = mapped_column(ForeignKey("proposal.id"), unique=True)
    actor: Mapped[str] = mapped_column(String(128))
    """On whose word it was made."""

    created_at: Mapped[datetime]


class CorrectionObject(Base):
    """One object of a package: a copy of an image, or a rejection note."""

    __tablename__ = "correction_object"

    id: Mapped[int] = mapped_column(primary_key=True)
    correction_fk: Mapped[int] = mapped_column(ForeignKey("correction.id"), index=True)
    role: Mapped[str] = mapped_column(String(8))
    """``COPY`` or ``NOTE``."""

    study_instance_uid: Mapped[str] = mapped_column(UID)
    series_instance_uid: Mapped[str] = mapped_column(UID)
    sop_instance_uid: Mapped[str] = mapped_column(UID, unique=True)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    transfer_syntax_uid: Mapped[str] = mapped_column(UID)
    sha256: Mapped[str] = mapped_column(String(64))
    path: Mapped[str] = mapped_column(Text, index=True)


class CorrectionDelivery(Base):
    """One object of a package to one destination, with the peer's own answer."""

    __tablename__ = "correction_delivery"
    __table_args__ = (UniqueConstraint("correction_object_fk", "destination"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    correction_object_fk: Mapped[int] = mapped_column(ForeignKey("correction_object.id"))
    destination: Mapped[str] = mapped_column(String(64))
    outcome: Mapped[str] = mapped_column(String(16), default="pending")
    """As `Delivery.outcome`."""

    status: Mapped[str] = mapped_column(String(32), default="")
    attempts: Mapped[int] = mapped_column(default=0)
    delivered_at: Mapped[datetime | None] = mapped_column(default=None)
