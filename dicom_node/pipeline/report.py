"""The step *report*: a settled study's verdicts and findings become DICOM objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from sqlalchemy import Connection

from audit.clock import Clock
from audit.entries import WrittenObject
from audit.errors import Transient
from audit.metrics import Metrics
from audit.pseudonym import Pseudonyms
from audit.records import Writer, prediction_key
from audit.store import append
from dicom_node.config.settings import NodeSettings, ReportProfile
from dicom_node.pipeline.analyse import UnknownRoute
from dicom_node.pipeline.objects import SHARED, keep_object, keep_report
from dicom_node.pipeline.part10 import received_file
from dicom_node.pipeline.reconcile_orders import ReconcileOrders
from dicom_node.pipeline.result import read_documents
from dicom_node.pipeline.subjects import study_subject
from dicom_node.pipeline.told import Told, told_now, told_of, with_told
from dicom_node.pipeline.work import Work, analyse_key, deliver_key, deliver_queue
from dicom_node.report.build import build_sr, overlays_among
from dicom_node.report.content import (
    Predecessor,
    ReportImage,
    ReportRequest,
)
from dicom_node.report.summary import summary_document
from inference.manifest import Label
from inference.types import Code
from storage import jobs
from storage.files import FileStore
from storage.index import (
    InstanceRow,
    StudyRow,
    current_instances,
    instance,
    reading_order,
    study,
)
from storage.jobs import JobRow
from storage.reports import (
    NewReportObject,
    ReportRow,
    ensure_deliveries,
    insert_report,
    nothing_to_report,
    previous_report,
    report_instances,
    report_objects,
)
from storage.results import results_for
from storage.session import Database
from storage.states import JobKind, JobState

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportParts:
    """What the step works with; built by the composition root."""

    database: Database
    files: FileStore
    settings: NodeSettings
    labels: Mapping[tuple[str, str], Label]
    regions: Mapping[str, Code]
    orders: ReconcileOrders
    work: Work
    writer: Writer
    pseudonyms: Pseudonyms
    clock: Clock
    metrics: Metrics
    software_version: str
    device_serial: str


_NOTHING = Told()


class Overtaken(Transient):
    """Another job wrote a revision meanwhile: look again at what is left to say."""

    code = "report.revision.overtaken"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """A study as one snapshot of the database shows it."""

    study: StudyRow
    rows: Sequence[InstanceRow]
    images: tuple[ReportImage, ...]
    sources: tuple[str, ...]
    """Audit keys of the predictions that the report rests on."""

    told: Told = _NOTHING


class WriteReport:
    """Writes one revision of a study's report and begins its delivery."""

    def __init__(self, parts: ReportParts) -> None:
        self._parts = parts
        self._destinations = {d.name: d for d in parts.settings.destinations}
        self._routes = {route.name: route for route in parts.settings.routes}

    def __call__(self, job: JobRow) -> None:
        """Report on every analysed image of the study of `job`, unless that was done.

        What is still being analysed is left for a later revision.

        Raises
        ------
        Overtaken
            Another job wrote a revision between our look and our write.
        UnknownRoute
            A route that took an image is not in the configuration any more, and with it
            where the report goes.
        """
        parts = self._parts
        wanted_changes = int(job.key.rpartition(":")[2])
        subject = self._snapshot(job.study_id)
        if subject.study.reported_changes >= wanted_changes or not subject.images:
            with parts.database.transaction() as connection:
                nothing_to_report(connection, study_id=job.study_id, changes=wanted_changes)
                parts.work.finish(connection, job.key)
            return
        if not {row.route for row in subject.rows if row.route} <= self._routes.keys():
            raise UnknownRoute("the route of an image of this study is not configured any more")
        # After the snapshot: what comes in between is in the next revision anyway.
        subject = _telling(subject, told_now(parts.orders.check(job.study_id)))
        revision = subject.study.revision + 1
        now = parts.clock.now()
        requests = {
            profile: self._request(subject, revision, profile, now)
            for profile in self._profiles(subject.rows)
        }
        objects = keep_report(parts.files, requests)
        request = next(iter(requests.values()))
        with parts.database.transaction() as connection:
            report_id = insert_report(
                connection,
                study_id=job.study_id,
                revision=revision,
                changes=subject.study.changes,
                document=with_told(summary_document(request), subject.told),
                instance_ids=[row.id for row in subject.rows],
                objects=objects,
                created_at=now,
            )
            if report_id is None:
                raise Overtaken("another revision of this report was written meanwhile")
            self._begin_deliveries(connection, job, report_id, subject.rows)
            parts.work.finish(connection, job.key)
            self._record(connection, job.study_id, request, subject, objects)
        parts.metrics.count("reports_total", revision="first" if revision == 1 else "later")
        log.info(
            "pipeline.report.written",
            revision=revision,
            images=len(subject.images),
            objects=len(objects),
        )

    def alternative(self, existing: ReportRow, profile: ReportProfile) -> list[NewReportObject]:
        """Build the SR of an existing revision in another profile, with UIDs of its own.

        For a destination that refuses the SOP class of its profile. It says what the
        revision said: of the same images, from the results that there were, and of the
        orders what was kept with it, whatever has become of them since.
        """
        subject = self._snapshot(existing.study_id, of=existing)
        subject = _telling(subject, told_of(existing.document))
        request = self._request(subject, existing.revision, profile, existing.created_at)
        with self._parts.database.reading() as connection:
            written = report_objects(connection, existing.id, SHARED)
        overlays = overlays_among(request, {each.sop_instance_uid for each in written})
        return [keep_object(self._parts.files, build_sr(request, profile, overlays), profile.value)]

    def _snapshot(self, study_id: int, *, of: ReportRow | None = None) -> _Subject:
        """Return the study as it is now, or as the report `of` found it."""
        with self._parts.database.reading() as connection:
            owner = study(connection, study_id)
            if of is None:
                current = current_instances(connection, study_id)
                rows = [
                    row
                    for row in current
                    if row.route and row.same_patient and _is_analysed(connection, row)
                ]
            else:
                told_of = sorted(report_instances(connection, of.id))
                rows = sorted((instance(connection, each) for each in told_of), key=reading_order)
            found = results_for(connection, [row.id for row in rows])
        results = {
            row.id: [r for r in found[row.id] if of is None or r.created_at <= of.created_at]
            for row in rows
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
            sources=tuple(
                prediction_key(
                    r.instance_id,
                    {
                        "name": r.model_name,
                        "weights_sha256": r.weights_sha256,
                        "configuration_sha256": r.configuration_sha256,
                    },
                )
                for rs in results.values()
                for r in rs
            ),
        )

    def _request(
        self, subject: _Subject, revision: int, profile: ReportProfile, created_at: datetime
    ) -> ReportRequest:
        parts, settings = self._parts, self._parts.settings
        with parts.database.reading() as connection:
            older = previous_report(connection, subject.study.id, profile, before_revision=revision)
        return ReportRequest(
            study_instance_uid=subject.study.study_instance_uid,
            revision=revision,
            images=subject.images,
            labels=parts.labels,
            regions=parts.regions,
            accessions=subject.told.accessions,
            proposals=subject.told.proposals,
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
            maximum_heat_maps=settings.report.maximum_heat_maps,
            maximum_pixels=settings.inference.maximum_pixels,
        )

    def _targets(self, rows: Sequence[InstanceRow]) -> list[str]:
        """Return the destinations of the routes that took any of `rows`, each once."""
        taken = (self._routes[row.route] for row in rows if row.route)
        names = (name for route in taken for name in route.destinations)
        return list(dict.fromkeys(names))

    def _profiles(self, rows: Sequence[InstanceRow]) -> list[ReportProfile]:
        wanted = {self._destinations[name].profile for name in self._targets(rows)}
        return sorted(wanted or {ReportProfile.VIEWER})

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
        study_id: int,
        request: ReportRequest,
        subject: _Subject,
        objects: Sequence[NewReportObject],
    ) -> None:
        older = request.predecessor
        append(
            connection,
            self._parts.writer.report_written(
                study_id=study_id,
                revision=request.revision,
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
                recorded_at=request.created_at,
            ),
        )


def _telling(subject: _Subject, told: Told) -> _Subject:
    """Put the verdicts by the orders in the place of those by the headers alone."""
    images = (
        replace(image, verdict=told.verdicts.get(row.id, image.verdict))
        for row, image in zip(subject.rows, subject.images, strict=True)
    )
    return replace(subject, images=tuple(images), told=told)


def _is_analysed(connection: Connection, row: InstanceRow) -> bool:
    job = jobs.get(connection, analyse_key(row.id))
    return job is not None and job.state is not JobState.QUEUED
