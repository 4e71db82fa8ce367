"""From a patient's images and orders to what `inference.reconcile` takes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from dicom_node.config.accession import AccessionSettings
from dicom_node.orders.book import OrderBook
from dicom_node.orders.choice import Declared, Number, holding, meant_by, of_patient
from dicom_node.pipeline.patient_images import (
    PatientImage,
    PatientImages,
    day_of,
    declared_of,
    number_of,
)
from inference.accessions import FiledImage, ImageRef, OrderedAccession, Proposal
from inference.orders import Order, OrderQuery, PatientKey, order_to_json
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

    def studies_of(self, key: str) -> set[int]:
        """Return the studies with images of an accession."""
        return {
            self.by_instance[image.ref.instance_id].row.study_id
            for image in self.images
            if image.accession == key
        }

    def studies_of_proposal(self, proposal: Proposal) -> set[int]:
        """Return the studies with images that move, or that others would join."""
        moved = {self.by_instance[m.image.instance_id].row.study_id for m in proposal.moves}
        joined = (
            self.studies_of(move.target.key) for move in proposal.moves if move.target is not None
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
            "orders": [
                {name: value for name, value in order_to_json(order).items() if name in _SHOWN}
                for order in self.orders.get(key, ())
            ],
            "study_ids": sorted(self.studies_of(key)),
            "calling_ae_titles": sorted(
                {
                    self.by_instance[image.ref.instance_id].row.calling_ae_title
                    for image in self.images
                    if image.accession == key
                }
            ),
        }


def queries_for(seen: PatientImages, study_id: int) -> list[OrderQuery]:
    """Return what to ask a worklist: the numbers of the study's images, then the patient."""
    numbers = {
        image.row.accession_number
        for image in seen.images
        if image.row.study_id == study_id and image.row.accession_number
    }
    queries = [OrderQuery(accession_number=number) for number in sorted(numbers)]
    patient = _patient(seen)
    if patient.patient_id:
        own = next(study for study in seen.studies if study.id == study_id)
        queries.append(OrderQuery(patient=patient, day=day_of(own)))
    return queries


def gathered(
    connection: Connection, seen: PatientImages, book: OrderBook, settings: AccessionSettings
) -> Gathered:
    """Return the patient's accessions with what was ordered under each.

    Orders of the patient that no image is filed under are among them: an image may belong
    there.
    """
    patient = _patient(seen)
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
    waiting = [order for order in of_patient(patient, known) if id(order) not in meant]
    for number in sorted(
        {Number(accession_number=o.accession_number, issuer=o.issuer) for o in waiting},
        key=lambda number: (number.accession_number, number.issuer),
    ):
        orders = meant_by(number, patient, waiting)
        if orders and number.accession_number not in numbers:
            key = _waiting_key(seen.patient.id, number)
            told[key] = orders
            accessions.append(holding(key, number, orders, Declared(), settings.sources))
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


def _patient(seen: PatientImages) -> PatientKey:
    return PatientKey(patient_id=seen.patient.patient_id, issuer=seen.patient.issuer_of_patient_id)


def _waiting_key(patient: int, number: Number) -> str:
    name = f"{number.issuer}\x00{number.accession_number}".encode()
    return f"{patient}:order:{hashlib.sha256(name).hexdigest()[:16]}"
