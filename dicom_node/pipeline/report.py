"""The step *report*: a settled study's verdicts and findings become DICOM objects."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO

import structlog
from pydicom import dcmwrite
from sqlalchemy import Connection

from audit.clock import Clock
from audit.entries import WrittenObject
from audit.metrics import Metrics
from audit.pseudonym import Pseudonyms
from audit.records import Writer
from audit.store import append
from dicom_node.config.settings import NodeSettings, ReportProfile
from dicom_node.pipeline.part10 import received_file
from dicom_node.pipeline.result import read_documents
from dicom_node.pipeline.subjects import study_subject
from dicom_node.pipeline.work import Work, analyse_key, deliver_key, deliver_queue
from dicom_node.report.build import build_report
from dicom_node.report.content import BuiltObject, Predecessor, ReportImage, ReportRequest
from dicom_node.report.summary import summary_document
from inference.manifest import Label
from inference.types import Code
from storage import jobs
from storage.files import FileStore
from storage.index import InstanceRow, StudyRow, current_instances, study
from storage.jobs import JobRow
from storage.reports import (
    NewReportObject,
    ReportObjectRow,
    ensure_deliveries,
    insert_report,
    previous_report,
)
from storage.results import results_for
from storage.session import Database
from storage.states import JobKind, JobState

log = structlog.get_logger()

SHARED = "any"
"""Profile of the objects that all profiles have in common: the heat maps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportParts:
    """What the step works with; built by the composition root."""

    database: Database
    files: FileStore
    settings: NodeSettings
    labels: Mapping[tuple[str, str], Label]
    regions: Mapping[str, Code]
    work: Work
    writer: Writer
    pseudonyms: Pseudonyms
    clock: Clock
    metrics: Metrics
    software_version: str
    device_serial: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """A study as one snapshot of the database shows it."""

    study: StudyRow
    rows: Sequence[InstanceRow]
    images: tuple[ReportImage, ...]
    predecessors: Mapping[ReportProfile, ReportObjectRow | None]
    sources: tuple[str, ...]
    """Audit keys of the predictions that the report rests on."""


class WriteReport:
    """Writes one revision of a study's report and begins its delivery."""

    def __init__(self, parts: ReportParts) -> None:
        self._parts = parts
        self._destinations = {d.name: d for d in parts.settings.destinations}
        self._routes = {route.name: route for route in parts.settings.routes}

    def __call__(self, job: JobRow) -> None:
        """Report on every analysed image of the study of `job`.

        What is still being analysed is left for the next revision.
        """
        parts = self._parts
        revision = int(job.key.rpartition(":")[2])
        subject = self._snapshot(job.study_id)
        if not subject.images:
            with parts.database.transaction() as connection:
                parts.work.finish(connection, job.key)
            return
        now = parts.clock.now()
        built = {
            profile: build_report(self._request(subject, revision, profile, now), profile)
            for profile in self._profiles(subject.rows)
        }
        objects = self._keep(job.study_id, revision, built)
        request = self._request(subject, revision, ReportProfile.VIEWER, now)
        with parts.database.transaction() as connection:
            report_id = insert_report(
                connection,
                study_id=job.study_id,
                revision=revision,
                changes=subject.study.changes,
                document=summary_document(request),
                instance_ids=[row.id for row in subject.rows],
                objects=objects,
                created_at=now,
            )
            if report_id is not None:
                self._begin_deliveries(connection, job, report_id, subject.rows)
                self._record(
                    connection,
                    study_id=job.study_id,
                    revision=revision,
                    subject=subject,
                    objects=objects,
                    now=now,
                )
            parts.work.finish(connection, job.key)
        parts.metrics.count("reports_total", revision="first" if revision == 1 else "later")
        log.info(
            "pipeline.report.written",
            revision=revision,
            images=len(subject.images),
            objects=len(objects),
        )

    def alternative(
        self, study_id: int, revision: int, created_at: datetime, profile: ReportProfile
    ) -> list[NewReportObject]:
        """Build the SR of an existing revision in another profile, with UIDs of its own.

        For a destination that refuses the SOP class of its profile.
        """
        subject = self._snapshot(study_id)
        request = self._request(subject, revision, profile, created_at)
        objects = self._keep(study_id, revision, {profile: build_report(request, profile)})
        return [each for each in objects if each.role == "SR"]

    def _snapshot(self, study_id: int) -> _Subject:
        with self._parts.database.reading() as connection:
            owner = study(connection, study_id)
            rows = [
                row
                for row in current_instances(connection, study_id)
                if row.route and _is_analysed(connection, row)
            ]
            results = results_for(connection, [row.id for row in rows])
            predecessors = {
                profile: previous_report(connection, study_id, profile) for profile in ReportProfile
            }
        images = []
        for number, row in enumerate(rows, start=1):
            path = self._parts.files.absolute(row.path)
            analysis, verdict = read_documents(result.document for result in results[row.id])
            images.append(
                ReportImage(
                    number=number,
                    header=received_file(path).header,
                    path=path,
                    content_sha256=row.content_sha256,
                    analysis=analysis,
                    verdict=verdict,
                )
            )
        return _Subject(
            study=owner,
            rows=rows,
            images=tuple(images),
            predecessors=predecessors,
            sources=tuple(f"{r.instance_id}:{r.model_name}" for rs in results.values() for r in rs),
        )

    def _request(
        self, subject: _Subject, revision: int, profile: ReportProfile, created_at: datetime
    ) -> ReportRequest:
        parts, settings = self._parts, self._parts.settings
        older = subject.predecessors[profile]
        return ReportRequest(
            study_instance_uid=subject.study.study_instance_uid,
            revision=revision,
            images=subject.images,
            labels=parts.labels,
            regions=parts.regions,
            created_at=created_at,
            predecessor=None
            if older is None
            else Predecessor(
                study_instance_uid=subject.study.study_instance_uid,
                series_instance_uid=older.series_instance_uid,
                sop_instance_uid=older.sop_instance_uid,
                sop_class_uid=older.sop_class_uid,
            ),
            manufacturer=settings.report.manufacturer,
            software_version=parts.software_version,
            device_serial=parts.device_serial,
            uid_root=settings.report.institution_uid_root,
            sr_series_number=settings.report.sr_series_number,
            sc_series_number=settings.report.sc_series_number,
            sc_long_side_pixels=settings.report.sc_long_side_pixels,
            maximum_pixels=settings.inference.maximum_pixels,
        )

    def _targets(self, rows: Sequence[InstanceRow]) -> list[str]:
        """Return the destinations of the routes that took any of `rows`, each once."""
        names = (
            name
            for row in rows
            if row.route in self._routes
            for name in self._routes[row.route].destinations
        )
        return list(dict.fromkeys(names))

    def _profiles(self, rows: Sequence[InstanceRow]) -> list[ReportProfile]:
        wanted = {self._destinations[name].profile for name in self._targets(rows)}
        return sorted(wanted or {ReportProfile.VIEWER})

    def _keep(
        self, study_id: int, revision: int, built: Mapping[ReportProfile, Sequence[BuiltObject]]
    ) -> list[NewReportObject]:
        """Write the objects to durable files; a repeated step writes the same ones again."""
        kept: dict[str, NewReportObject] = {}
        for profile, objects in built.items():
            for each in objects:
                ds = each.dataset
                if ds.SOPInstanceUID in kept:
                    continue
                buffer = BytesIO()
                dcmwrite(buffer, ds, enforce_file_format=True)
                content = buffer.getvalue()
                relative = f"reports/{study_id}/{revision}/{ds.SOPInstanceUID}.dcm"
                self._parts.files.write(relative, content)
                kept[ds.SOPInstanceUID] = NewReportObject(
                    profile=profile.value if each.role == "SR" else SHARED,
                    role=each.role,
                    series_instance_uid=ds.SeriesInstanceUID,
                    sop_instance_uid=ds.SOPInstanceUID,
                    sop_class_uid=ds.SOPClassUID,
                    transfer_syntax_uid=ds.file_meta.TransferSyntaxUID,
                    sha256=hashlib.sha256(content).hexdigest(),
                    path=relative,
                )
        return list(kept.values())

    def _begin_deliveries(
        self, connection: Connection, job: JobRow, report_id: int, rows: Sequence[InstanceRow]
    ) -> None:
        for name in self._targets(rows):
            profile = self._destinations[name].profile
            for part in (SHARED, profile.value):
                ensure_deliveries(connection, report_id=report_id, profile=part, destination=name)
            self._parts.work.begin(
                connection,
                key=deliver_key(report_id, name),
                kind=JobKind.DELIVER,
                queue=deliver_queue(name),
                study_id=job.study_id,
                urgent=job.urgent,
            )

    def _record(
        self,
        connection: Connection,
        *,
        study_id: int,
        revision: int,
        subject: _Subject,
        objects: Sequence[NewReportObject],
        now: datetime,
    ) -> None:
        older = next((row for row in subject.predecessors.values() if row is not None), None)
        append(
            connection,
            self._parts.writer.report_written(
                study_id=study_id,
                revision=revision,
                subject=study_subject(subject.images[0].header, self._parts.pseudonyms),
                objects=[
                    WrittenObject(
                        role=each.role,
                        profile=each.profile,
                        sop_instance_uid=each.sop_instance_uid,
                        sop_class_uid=each.sop_class_uid,
                        sha256=each.sha256,
                    )
                    for each in objects
                ],
                sources=subject.sources,
                predecessor=older.sop_instance_uid if older is not None else "",
                recorded_at=now,
            ),
        )


def _is_analysed(connection: Connection, row: InstanceRow) -> bool:
    job = jobs.get(connection, analyse_key(row.id))
    return job is not None and job.state is not JobState.QUEUED
