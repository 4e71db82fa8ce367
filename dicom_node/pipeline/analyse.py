"""The step *analyse*: one instance through the models; results and audit in one transaction."""

from dataclasses import dataclass

import structlog
from pydicom import Dataset
from sqlalchemy import Connection

from audit.clock import Clock
from audit.errors import Fault
from audit.metrics import Metrics
from audit.pseudonym import Pseudonyms
from audit.records import BY_HEADER, Writer
from audit.store import append
from dicom_node.config.settings import RouteSettings
from dicom_node.pipeline.part10 import received_file
from dicom_node.pipeline.result import result_document
from dicom_node.pipeline.subjects import image_subject, row_subject
from dicom_node.pipeline.work import Work
from inference.ordered import unmapped_words
from inference.regions import RegionMap
from inference.service import InferenceService
from inference.types import (
    ImageAnalysis,
    ImageVerdict,
    Outcome,
    Prediction,
    Task,
    prediction_to_json,
    verdict_to_json,
)
from inference.verify import expectation, judge
from storage.files import FileStore
from storage.index import InstanceRow, instance
from storage.jobs import JobRow
from storage.results import insert_result, reopen_study
from storage.session import Database
from storage.unmapped import note_texts

log = structlog.get_logger()


class DamagedFile(Fault):
    """The stored bytes are not the bytes that were received."""

    code = "storage.file.damaged"


class UnknownRoute(Fault):
    """An instance came by a route that the configuration no longer has."""

    code = "config.route.unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyseParts:
    """What the step works with; built by the composition root."""

    database: Database
    files: FileStore
    inference: InferenceService
    regions: RegionMap
    routes: tuple[RouteSettings, ...]
    work: Work
    writer: Writer
    pseudonyms: Pseudonyms
    clock: Clock
    metrics: Metrics


class Analyse:
    """Runs the models of the instance's route on it."""

    def __init__(self, parts: AnalyseParts) -> None:
        self._parts = parts

    def __call__(self, job: JobRow) -> None:
        """Analyse the instance of `job` and keep what was found.

        Raises
        ------
        DamagedFile
            The stored file's data set no longer has the sha256 it was received with.
        UnknownRoute
            The route of the instance is not in the configuration any more.
        """
        parts = self._parts
        with parts.database.reading() as connection:
            row = instance(connection, _instance_id(job))
        path = parts.files.absolute(row.path)
        stored = received_file(path)
        if stored.content_sha256 != row.content_sha256:
            raise DamagedFile("the stored data set differs from the one received")
        route = next((r for r in parts.routes if r.name == row.route), None)
        if route is None:
            raise UnknownRoute("the route of this instance is not configured any more")
        analysis = parts.inference.analyse(path, route.models)
        verdict = self._verdict(stored.header, analysis)
        subject = image_subject(
            row, stored.header, parts.pseudonyms, pixel_sha256=analysis.pixel_sha256
        )
        now = parts.clock.now()
        with parts.database.transaction() as connection:
            reopen_study(connection, study_id=row.study_id)
            fresh = [
                prediction
                for prediction in analysis.predictions
                if insert_result(
                    connection,
                    instance_id=row.id,
                    model=prediction_to_json(prediction)["model"],
                    outcome=prediction.outcome.value,
                    document=result_document(analysis, prediction, _own(prediction, verdict)),
                    now=now,
                )
            ]
            if any(prediction.model.task is Task.BODY_PART for prediction in fresh):
                note_texts(connection, unmapped_words(stored.header, parts.regions))
            for prediction in fresh:
                own = _own(prediction, verdict)
                append(
                    connection,
                    parts.writer.prediction(
                        instance_id=row.id,
                        subject=subject,
                        trigger=route.name,
                        correlation_id=row.correlation_id,
                        calling_ae_title=row.calling_ae_title,
                        region_table_sha256=parts.regions.sha256,
                        prediction=prediction_to_json(prediction),
                        verdict={**verdict_to_json(own), "compared_with": BY_HEADER}
                        if own is not None
                        else None,
                        notes=analysis.notes,
                        recorded_at=now,
                    ),
                )
            parts.work.finish(connection, job.key)
        self._tell(row, analysis, verdict)

    def parked(self, connection: Connection, job: JobRow, code: str, reason: str) -> None:
        """Record each model's failure, and let a report say that the image is not analysed."""
        parts = self._parts
        row = instance(connection, _instance_id(job))
        subject = row_subject(row)
        now = parts.clock.now()
        route = next((r for r in parts.routes if r.name == row.route), None)
        for identity in parts.inference.identities():
            if route is None or identity.name in route.models:
                failure = Prediction(
                    model=identity,
                    outcome=Outcome.FAILED,
                    reason_code=code,
                    reason=reason,
                    started_at=now.isoformat(),
                )
                append(
                    connection,
                    parts.writer.prediction(
                        instance_id=row.id,
                        subject=subject,
                        trigger=row.route,
                        correlation_id=row.correlation_id,
                        calling_ae_title=row.calling_ae_title,
                        region_table_sha256=parts.regions.sha256,
                        prediction=prediction_to_json(failure),
                        parked_attempt=job.attempt,
                        recorded_at=now,
                    ),
                )

    def _verdict(self, header: Dataset, analysis: ImageAnalysis) -> ImageVerdict | None:
        seen = analysis.prediction(Task.BODY_PART)
        if seen is None or seen.outcome is not Outcome.PREDICTED:
            return None
        expected = expectation(header, self._parts.regions)
        labels = self._parts.inference.manifest(seen.model.name).labels
        return judge(expected, seen, labels, self._parts.regions)

    def _tell(
        self, row: InstanceRow, analysis: ImageAnalysis, verdict: ImageVerdict | None
    ) -> None:
        for prediction in analysis.predictions:
            self._parts.metrics.count(
                "predictions_total",
                model=prediction.model.name,
                outcome=prediction.outcome.value,
            )
        if verdict is not None:
            self._parts.metrics.count(
                "verdicts_total", verdict=verdict.verdict.value, compared_with=BY_HEADER
            )
        log.info(
            "pipeline.instance.analysed",
            instance_id=row.id,
            verdict=verdict.verdict.value if verdict is not None else "",
            outcomes=[f"{p.model.name}:{p.outcome.value}" for p in analysis.predictions],
        )


def _own(prediction: Prediction, verdict: ImageVerdict | None) -> ImageVerdict | None:
    """Return the verdict where it rests on this prediction."""
    return verdict if prediction.model.task is Task.BODY_PART else None


def _instance_id(job: JobRow) -> int:
    return int(job.key.partition(":")[2])
