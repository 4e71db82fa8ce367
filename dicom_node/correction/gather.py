"""What a proposal moves, found in the database and in the stored files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from pydicom import Dataset
from sqlalchemy import Connection

from dicom_node.config.accession import OrderedBy
from dicom_node.correction.order import FROM_THE_STUDY, TargetOrder
from dicom_node.correction.plan import Move, Source
from dicom_node.correction.port import NotMendable
from dicom_node.orders.choice import SOURCES_OF
from dicom_node.pipeline.part10 import received_file
from dicom_node.report.evidence import text_of
from inference.accessions import AccessionRef, proposal_from_json
from inference.accessions import Move as ProposedMove
from inference.orders import Order, OrderState, Side, order_from_json
from inference.regions import RegionMap
from storage.corrections import corrected_by_others, filed_under
from storage.files import FileStore
from storage.index import InstanceRow, instance
from storage.orders import OrderRow, orders_of_accession
from storage.proposals import ProposalRow

_T = TypeVar("_T")


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
    sources: Sequence[OrderedBy]
    now: datetime

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
    moved = [each for each in proposal_from_json(row.document).moves if each.target is not None]
    if not moved:
        raise NotMendable("the proposal moves no image to an order")
    if _corrected(shelf.connection, row) & {each.image.sop_instance_uid for each in moved}:
        raise NotMendable("an image was moved by another correction package already")
    rows = [instance(shelf.connection, each.image.instance_id) for each in moved]
    moves = []
    for filed, each in zip(rows, moved, strict=True):
        source = _source(shelf, filed)
        order = _target(shelf, row.patient_fk, each, source.header)
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


def _target(shelf: Shelf, patient_row: int, move: ProposedMove, header: Dataset) -> TargetOrder:
    """Join what the RIS said of the order with what the images under it say."""
    ref = move.target
    assert ref is not None, "only asked for a move to an order"
    patient = text_of(header, "PatientID"), text_of(header, "IssuerOfPatientID")
    orders = _orders(shelf, ref, patient, move.region)
    if orders and orders[0].state is OrderState.CANCELLED:
        raise NotMendable("the order was cancelled")
    study_uid, study = _study(shelf, patient_row, ref, orders)
    known = TargetOrder(
        accession_number=ref.accession_number,
        issuer=ref.issuer,
        patient_id=patient[0],
        patient_issuer=patient[1],
        study_instance_uid=study_uid,
        requested_procedure_id=ref.requested_procedure_id,
        study=study,
    )
    if not orders:
        return known
    newest = orders[0]
    undecided = len({each.requested_procedure_id for each in orders} - {""}) > 1
    meant = orders if undecided else (newest,)
    return replace(
        known,
        patient_id=newest.patient.patient_id,
        patient_issuer=newest.patient.issuer,
        requested_procedure_id=ref.requested_procedure_id
        or _shared([each.requested_procedure_id for each in meant], ""),
        description=_shared([_description(each, shelf.regions) for each in meant], ""),
        codes=_shared([each.codes for each in meant], ()),
        regions=tuple(dict.fromkeys(region for each in meant for region in each.regions)),
        laterality=_shared([each.laterality for each in meant], Side.UNSAID).value,
        undecided=undecided,
        stale=any(each.stale for each in meant),
    )


def _shared(values: Sequence[_T], otherwise: _T) -> _T:
    """Return the value that all have."""
    return values[0] if all(value == values[0] for value in values) else otherwise


def _study(
    shelf: Shelf, patient_row: int, ref: AccessionRef, orders: Sequence[Order]
) -> tuple[str, dict[str, str]]:
    """Return the study of an accession, and what an image in it says of that study."""
    uids = {order.study_instance_uid for order in orders} - {""}
    known = ref.study_instance_uid or (uids.pop() if len(uids) == 1 else "")
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


def _orders(
    shelf: Shelf, ref: AccessionRef, patient: tuple[str, str], region: str
) -> tuple[Order, ...]:
    """Return the orders of an accession that may be meant, the newest first.

    Where there are others: none of another patient, none of another procedure than the
    proposal names, none that the first source to know tells not, no cancelled one, and none
    that an image of `region` does not fulfil.
    """
    rows = [
        row
        for row in orders_of_accession(shelf.connection, ref.accession_number)
        if row.issuer == ref.issuer or not (row.issuer and ref.issuer)
    ]
    rows.sort(key=lambda row: (row.seen_at, row.id), reverse=True)
    orders = [_order(row, shelf.now) for row in rows]
    named = ref.requested_procedure_id
    own = [o for o in orders if o.patient.patient_id == patient[0]] or orders
    asked = [o for o in own if named and o.requested_procedure_id == named] or own
    by_source = [[o for o in asked if o.source in SOURCES_OF[name]] for name in shelf.sources]
    told = next(filter(None, by_source), asked)
    active = [o for o in told if o.state is not OrderState.CANCELLED] or told
    return tuple([o for o in active if region in _shown_for(o, shelf.regions)] or active)


def _shown_for(order: Order, regions: RegionMap) -> set[str]:
    """Return the regions that an image may show to fulfil an order."""
    known = [each for each in order.regions if each in regions.regions]
    return {*known, *(part for each in known for part in regions.showing(each))}


def _order(row: OrderRow, now: datetime) -> Order:
    order = order_from_json(row.document)
    overdue = row.stale_after is not None and row.stale_after < now
    return order.as_stale() if overdue else order


def _description(order: Order, regions: RegionMap) -> str:
    """Return what the RIS calls the procedure, else the names of the ordered regions."""
    if order.codes and order.codes[0].meaning:
        return order.codes[0].meaning
    known = [regions.name(region) for region in order.regions if region in regions.regions]
    return ", ".join(known).capitalize()
