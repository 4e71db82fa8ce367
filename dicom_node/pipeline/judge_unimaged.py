"""Judges orders under which no image came, once none is awaited any more; runs at intervals."""

from dataclasses import dataclass

from sqlalchemy import Connection

from audit.clock import Clock
from audit.metrics import Metrics
from dicom_node.config.accession import AccessionSettings, Unimaged
from dicom_node.orders.choice import Declared, holding
from dicom_node.orders.waiting import (
    Waiting,
    by_patient,
    first_day,
    is_overdue,
    keys_of,
    waiting_of,
)
from dicom_node.pipeline.gathering import shown_of
from dicom_node.pipeline.judgement_records import JudgementRecords
from dicom_node.pipeline.patient_images import day_of
from dicom_node.pipeline.work import Work, overdue_key
from inference.accessions import accession_to_json
from inference.orders import order_from_json
from inference.reconcile import reconcile
from inference.regions import RegionMap
from storage import checks
from storage.checks import CheckRow
from storage.orders import studies_concerned, unimaged_orders
from storage.patients import PatientStudy, patient_of, studies_of_patient
from storage.session import Database
from storage.states import JobKind


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeUnimagedParts:
    """What the use case works with; built by the composition root."""

    database: Database
    settings: AccessionSettings
    regions: RegionMap
    work: Work
    records: JudgementRecords
    clock: Clock
    metrics: Metrics


class JudgeUnimaged:
    """Looks for overdue orders.

    Where the patient has images of the same days, a job compares them all again, so that
    the reports say so; else the order is judged here.
    """

    def __init__(self, parts: JudgeUnimagedParts) -> None:
        self._parts = parts

    def __call__(self) -> None:
        """Look once."""
        parts = self._parts
        if parts.settings.unimaged is Unimaged.NONE:
            return
        now = parts.clock.now()
        with parts.database.reading() as connection:
            rows = unimaged_orders(connection, first_day(parts.settings, now), now.date())
        told = [order_from_json(row.document) for row in rows]
        row_ids = {id(order): row.id for order, row in zip(told, rows, strict=True)}
        for patient, orders in by_patient(told).items():
            for each in waiting_of(patient, orders):
                first = min(row_ids[id(order)] for order in each.orders)
                with parts.database.transaction() as connection:
                    self._look_at(connection, each, first)

    def _look_at(self, connection: Connection, each: Waiting, order_id: int) -> None:
        parts = self._parts
        if not each.active:
            checks.forget_checks(connection, keys_of(each.orders))
            return
        studies = self._siblings(connection, each)
        last = max((study.last_received_at for study in studies), default=None)
        if checks.check_of(connection, each.key) is not None or not is_overdue(
            each.orders, parts.settings, parts.clock.now(), last
        ):
            return
        if studies:
            parts.work.begin(
                connection,
                key=overdue_key(studies[-1].id, order_id, studies[-1].changes),
                kind=JobKind.RECONCILE,
                queue=JobKind.RECONCILE,
                study_id=studies[-1].id,
                urgent=False,
            )
        else:
            self._judge(connection, each)

    def _siblings(self, connection: Connection, each: Waiting) -> list[PatientStudy]:
        """Return the patient's studies with images of the days of the orders."""
        ids = studies_concerned(
            connection,
            accession_number="",
            patient_id=each.patient.patient_id,
            issuer_of_patient_id=each.patient.issuer,
        )
        if not ids:
            return []
        days = {order.ordered_on or order.received_at.date() for order in each.orders}
        found = studies_of_patient(connection, patient_of(connection, ids[-1]).id)
        window = self._parts.settings.day_window
        return [
            study
            for study in found
            if study.id in ids and any(abs((day_of(study) - day).days) <= window for day in days)
        ]

    def _judge(self, connection: Connection, each: Waiting) -> None:
        parts = self._parts
        accession = holding(
            each.key, each.number, each.orders, Declared(), parts.settings.sources, overdue=True
        )
        now = parts.clock.now()
        # An issuer that another source told meanwhile has changed the key.
        checks.forget_checks(connection, keys_of(each.orders) - {each.key})
        for verdict in reconcile([accession], [], parts.regions).accessions:
            checks.keep_check(
                connection,
                CheckRow(
                    key=each.key,
                    patient_fk=None,
                    accession_fk=None,
                    verdict=verdict.standing.value,
                    document={
                        "verdict": accession_to_json(verdict),
                        "orders": shown_of(each.orders),
                        "study_ids": [],
                        "calling_ae_titles": [],
                    },
                    checked_at=now,
                ),
            )
            parts.records.checked(connection, each.patient, verdict, now)
            parts.metrics.count("orders_unimaged_total")
