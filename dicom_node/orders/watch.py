"""An order changed: which studies are compared with it again."""

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import Connection

from audit.clock import Clock
from dicom_node.config.accession import AccessionSettings
from dicom_node.pipeline.patient_images import day_of
from dicom_node.pipeline.work import Work, reconcile_key
from inference.orders import Order
from storage.orders import KeptOrder, studies_concerned
from storage.patients import PatientStudy, patient_of, studies_of_patient
from storage.states import JobKind


class WatchOrders:
    """Begins the comparison of studies that an order may be about."""

    def __init__(self, work: Work, settings: AccessionSettings, clock: Clock) -> None:
        self._work = work
        self._settings = settings
        self._clock = clock

    def __call__(
        self,
        connection: Connection,
        order: Order,
        kept: KeptOrder,
        *,
        asking: Collection[int] = (),
    ) -> None:
        """Begin a job for each study of the order's accession, and of its patient and days,
        whose last image came within `accession.watch_h`; not for those that are `asking`."""
        concerned = studies_concerned(
            connection,
            accession_number=order.accession_number,
            patient_id=order.patient.patient_id,
            issuer_of_patient_id=order.patient.issuer,
        )
        for study_id in concerned:
            if study_id not in asking and self._is_watched(connection, study_id, order):
                self._work.begin(
                    connection,
                    key=reconcile_key(study_id, kept.order_id, kept.version),
                    kind=JobKind.RECONCILE,
                    queue=JobKind.RECONCILE,
                    study_id=study_id,
                    urgent=False,
                )

    def _is_watched(self, connection: Connection, study_id: int, order: Order) -> bool:
        patient = patient_of(connection, study_id)
        study = next(s for s in studies_of_patient(connection, patient.id) if s.id == study_id)
        oldest = self._clock.now() - timedelta(hours=self._settings.watch_h)
        return study.last_received_at >= oldest and self._is_near(study, order)

    def _is_near(self, study: PatientStudy, order: Order) -> bool:
        if order.ordered_on is None:
            return True
        # Studies of a chain of days are looked at together, so one more window is allowed.
        return abs((day_of(study) - order.ordered_on).days) <= 2 * self._settings.day_window + 1
