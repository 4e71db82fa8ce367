"""What a proposal moves, found in the database and in the stored files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydicom import Dataset
from sqlalchemy import Connection

from dicom_node.correction.order import FROM_THE_STUDY, TargetOrder
from dicom_node.correction.plan import Move, Source
from dicom_node.correction.port import NotMendable
from dicom_node.pipeline.part10 import received_file
from dicom_node.report.evidence import text_of
from inference.accessions import AccessionRef, proposal_from_json
from inference.orders import Order, OrderState, order_from_json
from inference.regions import RegionMap
from storage.corrections import corrected_by_others, filed_under
from storage.files import FileStore
from storage.index import InstanceRow, instance
from storage.orders import orders_of_accession
from storage.proposals import ProposalRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What a package is made of."""

    moves: tuple[Move, ...]
    study_id: int
    """Row of the study that the first moved image is filed in."""

    routes: tuple[str, ...]
    """Names of the routes that took the moved images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where things are looked up, in one snapshot of the database."""

    connection: Connection
    files: FileStore
    regions: RegionMap

    def header(self, row: InstanceRow) -> Dataset:
        """Return the header of a stored image."""
        return received_file(self.files.absolute(row.path)).header


def gather(shelf: Shelf, row: ProposalRow) -> Gathered:
    """Return the images that a proposal moves, and the orders that they belong to.

    Raises
    ------
    NotMendable
        No image moves to an order, an order was cancelled, a stored file is not the
        image any more that the proposal speaks of, or another package moved it already.
    NoSuchRow
        An image is not here any more.
    InvalidDataset
        A stored file cannot be read any more.
    """
    moved = [
        (each.image, each.target)
        for each in proposal_from_json(row.document).moves
        if each.target is not None
    ]
    if not moved:
        raise NotMendable("the proposal moves no image to an order")
    if _corrected(shelf.connection, row) & {image.sop_instance_uid for image, _ in moved}:
        raise NotMendable("an image was moved by another correction package already")
    rows = [instance(shelf.connection, image.instance_id) for image, _ in moved]
    moves = []
    for filed, (_, target) in zip(rows, moved, strict=True):
        source = _source(shelf, filed)
        order = _target(shelf, row.patient_fk, target, source.header)
        moves.append(Move(source=source, order=order))
    return Gathered(
        moves=tuple(moves),
        study_id=rows[0].study_id,
        routes=tuple(dict.fromkeys(filed.route for filed in rows)),
    )


def _corrected(connection: Connection, row: ProposalRow) -> set[str]:
    """Return the images of the patient that packages of other proposals moved, by SOP
    Instance UID: one that came again in other bytes is the same image."""
    others = corrected_by_others(connection, patient_id=row.patient_fk, proposal_id=row.id)
    return {
        move.image.sop_instance_uid
        for document in others
        for move in proposal_from_json(document).moves
        if move.target is not None
    }


def _source(shelf: Shelf, filed: InstanceRow) -> Source:
    file = received_file(shelf.files.absolute(filed.path))
    if file.content_sha256 != filed.content_sha256:
        raise NotMendable("a stored file is not the image that was received")
    return Source(
        header=file.header,
        path=file.path,
        content_sha256=file.content_sha256,
        transfer_syntax_uid=file.transfer_syntax_uid,
        sent_by=filed.calling_ae_title,
    )


def _target(shelf: Shelf, patient_row: int, ref: AccessionRef, header: Dataset) -> TargetOrder:
    """Join what the RIS said of the order with what the images under it say."""
    patient = text_of(header, "PatientID"), text_of(header, "IssuerOfPatientID")
    order = _order(shelf.connection, ref, patient)
    if order is not None and order.state is OrderState.CANCELLED:
        raise NotMendable("the order was cancelled")
    study_uid, study = _study(shelf, patient_row, ref, order)
    known = TargetOrder(
        accession_number=ref.accession_number,
        issuer=ref.issuer,
        patient_id=patient[0],
        patient_issuer=patient[1],
        study_instance_uid=study_uid,
        requested_procedure_id=ref.requested_procedure_id,
        study=study,
    )
    if order is None:
        return known
    return replace(
        known,
        patient_id=order.patient.patient_id,
        patient_issuer=order.patient.issuer,
        requested_procedure_id=ref.requested_procedure_id or order.requested_procedure_id,
        description=_description(order, shelf.regions),
        codes=order.codes,
        regions=order.regions,
        laterality=order.laterality.value,
        stale=order.stale,
    )


def _study(
    shelf: Shelf, patient_row: int, ref: AccessionRef, order: Order | None
) -> tuple[str, dict[str, str]]:
    """Return the study of an accession, and what an image in it says of that study."""
    known = ref.study_instance_uid or (order.study_instance_uid if order is not None else "")
    there = filed_under(
        shelf.connection,
        patient_id=patient_row,
        accession_number=ref.accession_number,
        issuer=ref.issuer,
    )
    if there is None:
        return known, {}
    header = shelf.header(instance(shelf.connection, there))
    theirs = text_of(header, "StudyInstanceUID")
    if known and known != theirs:
        return known, {}
    return theirs, {keyword: text_of(header, keyword) for keyword in FROM_THE_STUDY}


def _order(connection: Connection, ref: AccessionRef, patient: tuple[str, str]) -> Order | None:
    """Return the newest order of an accession; one of the patient before one of another."""
    rows = [
        row
        for row in orders_of_accession(connection, ref.accession_number)
        if row.issuer == ref.issuer or not (row.issuer and ref.issuer)
    ]
    if not rows:
        return None
    ranked = sorted(
        rows, key=lambda row: (row.patient_id == patient[0], row.seen_at, row.id), reverse=True
    )
    orders: Sequence[Order] = [order_from_json(row.document) for row in ranked]
    wanted = [o for o in orders if o.requested_procedure_id == ref.requested_procedure_id]
    return (wanted or orders)[0] if ref.requested_procedure_id else orders[0]


def _description(order: Order, regions: RegionMap) -> str:
    """Return what the RIS calls the procedure, else the names of the ordered regions."""
    if order.codes and order.codes[0].meaning:
        return order.codes[0].meaning
    known = [regions.name(region) for region in order.regions if region in regions.regions]
    return ", ".join(known).capitalize()
