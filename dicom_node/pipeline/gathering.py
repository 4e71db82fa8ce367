"""From a patient's images and orders to what `inference.reconcile` takes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from dicom_node.config.accession import AccessionSettings
from dicom_node.orders.book import OrderBook
from dicom_node.orders.choice import Declared, Number, holding, meant_by, of_patient
from dicom_node.orders.waiting import is_overdue, keys_of, waiting_of
from dicom_node.pipeline.patient_images import (
    PatientImage,
    PatientImages,
    day_of,
    declared_of,
    number_of,
    patient_key,
)
from inference.accessions import FiledImage, ImageRef, OrderedAccession, Proposal
from inference.orders import Order, OrderQuery, order_to_json
from storage import checks
from storage.patients import accession_ids

_SHOWN = frozenset({"source", "provenance", "received_at", "state", "regions", "laterality"})
"""What is kept of an order with the check of its accession; nothing of the patient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """A patient's accessions and images, ready to be reconciled."""

    accessions: tuple[OrderedAccession, ...]
    images: tuple[FiledImage, ...]
    by_instance: Mapping[int, PatientImage]
    accession_rows: Mapping[str, int]
    """Row of each accession that has images, by key."""

    orders: Mapping[str, tuple[Order, ...]]
    """What sources told of each accession, by key."""

    waiting_keys: frozenset[str]
    """Keys under which the patient's orders may once have been judged without images."""

    def studies_of(self, key: str) -> set[int]:
        """Return the studies with images of an accession; of one without images, all."""
        found = {
            self.by_instance[image.ref.instance_id].row.study_id
            for image in self.images
            if image.accession == key
        }
        return found or {image.row.study_id for image in self.by_instance.values()}

    def studies_of_proposal(self, proposal: Proposal) -> set[int]:
        """Return the studies with images that move, or that others would join."""
        moved = {self.by_instance[m.image.instance_id].row.study_id for m in proposal.moves}
        filed = {image.accession for image in self.images}
        joined = (
            self.studies_of(move.target.key)
            for move in proposal.moves
            if move.target is not None and move.target.key in filed
        )
        return moved.union(*joined)

    def ordered(self, key: str) -> tuple[str, ...]:
        """Return the regions that were ordered under an accession, sorted."""
        accession = next(each for each in self.accessions if each.ref.key == key)
        return tuple(sorted(accession.expected.regions)) if accession.expected is not None else ()

    def check_document(self, key: str, verdict: dict[str, Any]) -> dict[str, Any]:
        """Return what is kept of an accession's verdict, with where its order was learnt."""
        return {
            "verdict": verdict,
            "orders": shown_of(self.orders.get(key, ())),
            "study_ids": sorted(self.studies_of(key)),
            "calling_ae_titles": sorted(
                {
                    self.by_instance[image.ref.instance_id].row.calling_ae_title
                    for image in self.images
                    if image.accession == key
                }
            ),
        }


def shown_of(orders: Iterable[Order]) -> list[dict[str, Any]]:
    """Return what is kept of orders with the check of their accession, as JSON types."""
    return [
        {name: value for name, value in order_to_json(order).items() if name in _SHOWN}
        for order in orders
    ]


def queries_for(seen: PatientImages, study_id: int) -> list[OrderQuery]:
    """Return what to ask a worklist: the patient, whose answer mostly holds them all, then
    the numbers of the study's images."""
    numbers = {
        image.row.accession_number
        for image in seen.images
        if image.row.study_id == study_id and image.row.accession_number
    }
    queries: list[OrderQuery] = []
    patient = patient_key(seen.patient)
    if patient.patient_id:
        own = next(study for study in seen.studies if study.id == study_id)
        queries.append(OrderQuery(patient=patient, day=day_of(own)))
    queries += [OrderQuery(accession_number=number) for number in sorted(numbers)]
    return queries


def gathered(
    connection: Connection,
    seen: PatientImages,
    book: OrderBook,
    settings: AccessionSettings,
    now: datetime,
) -> Gathered:
    """Return the patient's accessions with what was ordered under each.

    Orders of the patient that no image is filed under are among them: an image may belong
    there, and some are overdue. An order that was judged so stays overdue until its images
    come or it is cancelled.
    """
    patient = patient_key(seen.patient)
    groups = _groups(connection, seen)
    numbers = sorted({number.accession_number for number, _ in groups.values()} - {""})
    days = tuple(
        datetime.combine(day, datetime.min.time()) for day in (seen.first_day, seen.last_day)
    )
    known = book.known(connection, numbers, patient, (days[0], days[1]))
    accessions: list[OrderedAccession] = []
    told: dict[str, tuple[Order, ...]] = {}
    for key, (number, images) in groups.items():
        told[key] = meant_by(number, patient, known)
        accessions.append(holding(key, number, told[key], declared_of(images), settings.sources))
    meant = {id(order) for orders in told.values() for order in orders}
    last_image_at = max((study.last_received_at for study in seen.studies), default=None)
    waiting = [order for order in of_patient(patient, known) if id(order) not in meant]
    for each in waiting_of(patient, waiting):
        if each.number.accession_number in numbers:
            continue
        told[each.key] = each.orders
        overdue = is_overdue(each.orders, settings, now, last_image_at) or (
            checks.check_of(connection, each.key) is not None
        )
        accessions.append(
            holding(
                each.key, each.number, each.orders, Declared(), settings.sources, overdue=overdue
            )
        )
    return Gathered(
        accessions=tuple(accessions),
        images=tuple(
            _filed(key, place, image)
            for key, (_, images) in groups.items()
            for place, image in enumerate(images, start=1)
        ),
        by_instance={image.row.id: image for image in seen.images},
        accession_rows={
            key: int(key.rpartition(":")[2])
            for key, (number, _) in groups.items()
            if number.accession_number
        },
        orders=told,
        waiting_keys=keys_of(of_patient(patient, known)),
    )


def _groups(
    connection: Connection, seen: PatientImages
) -> dict[str, tuple[Number, list[PatientImage]]]:
    """Return the images of each accession by its key; without a number, of each study."""
    numbers = {number_of(image.row) for image in seen.images}
    ids = accession_ids(
        connection, [(n.accession_number, n.issuer) for n in numbers if n.accession_number]
    )
    groups: dict[str, tuple[Number, list[PatientImage]]] = {}
    for image in seen.images:
        number = number_of(image.row)
        if number.accession_number:
            key = f"{seen.patient.id}:{ids[number.accession_number, number.issuer]}"
        else:
            key = f"{seen.patient.id}:none:{image.row.study_id}"
        groups.setdefault(key, (number, []))[1].append(image)
    return groups


def _filed(key: str, place: int, image: PatientImage) -> FiledImage:
    return FiledImage(
        ref=ImageRef(
            instance_id=image.row.id,
            sop_instance_uid=image.row.sop_instance_uid,
            study_instance_uid=image.row.study_instance_uid,
            number=place,
        ),
        accession=key,
        seen=image.seen,
        laterality=image.header.tagged,
        expected=next(iter(image.header.declared), None),
    )
