"""The intake: a received file becomes durable, filed and queued, or nothing at all.

Bytes first, row second, answer last: the file is fsynced and renamed, then one
transaction writes its row and enqueues its analysis, and only then does the caller hear
of success. A crash between the two leaves a file without a row, which the sweep removes.
"""

import threading
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from pydicom import Dataset
from sqlalchemy import Connection

from audit.clock import Clock
from audit.metrics import Metrics
from audit.pseudonym import Pseudonyms
from audit.records import Writer
from audit.store import append
from dicom_node.config.settings import NodeSettings
from dicom_node.core.access import AccessPolicy
from dicom_node.core.origin import is_own_result
from dicom_node.core.pressure import slowdown_s
from dicom_node.core.routing import RoutedInstance, choose_route, urgent
from dicom_node.pipeline.analyse import DamagedFile
from dicom_node.pipeline.presence import Presence
from dicom_node.pipeline.receiving import Caller, Carriage, ReceiptKind, ReceivedFile
from dicom_node.pipeline.subjects import study_subject
from dicom_node.pipeline.work import Work, analyse_key
from storage import jobs
from storage.commit import GroupCommitter
from storage.files import FileStore
from storage.index import (
    Filed,
    FiledKind,
    NewInstance,
    file_instance,
    is_report_object,
    new_instance_from_header,
    replace_file,
    take_route,
)
from storage.session import CommitDoubtful
from storage.states import JobKind, JobState

log = structlog.get_logger()

PATIENT_CONFLICT = "patient_conflict"
"""Outcome in the audit of an image that names another patient than its study does: it is
kept and acknowledged, but neither analysed nor reported."""


@dataclass(frozen=True, slots=True)
class IntakeParts:
    """What the intake works with; built by the composition root."""

    settings: NodeSettings
    access: AccessPolicy
    storage_classes: frozenset[str]
    files: FileStore
    committer: GroupCommitter
    work: Work
    presence: Presence
    writer: Writer
    pseudonyms: Pseudonyms
    device_uid: str
    """Of this node; the Instance Creator UID of what it makes."""

    clock: Clock
    metrics: Metrics


class Intake:
    """The one way in, for every receiving service."""

    def __init__(self, parts: IntakeParts) -> None:
        self._parts = parts
        self._waiting = 0
        self._waiting_lock = threading.Lock()

    @property
    def storage_classes(self) -> Collection[str]:
        """The Storage SOP Class UIDs that the node accepts."""
        return self._parts.storage_classes

    def admits(self, caller: Caller) -> str | None:
        """Return None when `caller` may send, else the name of the rule it breaks."""
        if caller.protocol == "STOW-RS":
            if self._parts.settings.web.stow_token_file is not None:
                return None  # the service has checked the token
            return self._parts.access.http_breach(caller.address)
        return self._parts.access.breach(
            caller.calling_ae_title, caller.called_ae_title, caller.address
        )

    def open(self, caller: Caller) -> Carriage:
        """Begin to receive from `caller`."""
        return _Carriage(self, self._parts.presence, caller)

    def temporary_path(self) -> Path:
        """Return a new path in the store's temporary folder."""
        return self._parts.files.temporary_path()

    def set_waiting(self, images: int) -> None:
        """Tell the intake how many images wait for analysis (the scheduler does)."""
        with self._waiting_lock:
            self._waiting = images

    def receive(self, file: ReceivedFile, caller: Caller) -> ReceiptKind:
        """Make `file` durable and file it; see `receiving.Carriage.receive`."""
        try:
            kind = self._receive(file, caller)
        except BaseException:
            file.path.unlink(missing_ok=True)
            raise
        pipeline = self._parts.settings.pipeline
        pause_s = slowdown_s(
            self._waiting, pipeline.maximum_waiting_images, pipeline.maximum_slowdown_s
        )
        if pause_s > 0:
            self._parts.metrics.count("intake_slowdown_seconds_total", pause_s)
            time.sleep(pause_s)
        return kind

    def _receive(self, file: ReceivedFile, caller: Caller) -> ReceiptKind:
        parts = self._parts
        described = RoutedInstance.of(file.header, caller.calling_ae_title)
        is_own = is_own_result(file.header, parts.device_uid)
        route = None if is_own else choose_route(parts.settings.routes, described)
        relative = parts.files.new_path("instances")
        new = new_instance_from_header(
            file.header,
            sop_class_uid=file.sop_class_uid,
            sop_instance_uid=file.sop_instance_uid,
            transfer_syntax_uid=file.transfer_syntax_uid,
            content_sha256=file.content_sha256,
            size_bytes=file.size_bytes,
            path=relative,
            calling_ae_title=caller.calling_ae_title,
            route=route.name if route is not None else "",
            urgent=not is_own and urgent(file.header, route),
            received_at=parts.clock.now(),
        )
        parts.files.adopt(file.path, relative)
        try:
            filed = parts.committer.submit(
                lambda connection: self._file(connection, new, file.header, caller)
            )
        except CommitDoubtful:
            raise  # the row may be there; a file without one is swept later
        except Exception:
            parts.files.remove(relative)
            raise
        kind = ReceiptKind(filed.kind)
        if filed.path != relative:
            parts.files.remove(relative)
        elif kind is ReceiptKind.DUPLICATE:
            log.warning(
                "intake.file.restored",
                correlation_id=filed.correlation_id,
                instance_id=filed.instance_id,
            )
        elif not filed.same_patient:
            log.warning(
                "intake.patient.conflicted",
                correlation_id=filed.correlation_id,
                instance_id=filed.instance_id,
                calling_ae_title=caller.calling_ae_title,
            )
        log.info(
            "intake.instance.received",
            correlation_id=filed.correlation_id,
            instance_id=filed.instance_id,
            receipt=kind.value,
            route=filed.route,
            calling_ae_title=caller.calling_ae_title,
            protocol=caller.protocol,
            size_bytes=file.size_bytes,
        )
        return kind

    def _file(
        self, connection: Connection, new: NewInstance, header: Dataset, caller: Caller
    ) -> Filed:
        if new.route and is_report_object(connection, new.sop_instance_uid):
            new = replace(new, route="", urgent=False)  # a result of ours that comes back
        filed = file_instance(connection, new)
        if filed.kind is FiledKind.DUPLICATE:
            filed = self._restored(connection, filed, new)
            if filed.route or not (new.route and filed.same_patient):
                return filed
            filed = take_route(connection, filed, new)  # the configuration was mended since
        if filed.route and filed.same_patient:
            self._parts.work.begin(
                connection,
                key=analyse_key(filed.instance_id),
                kind=JobKind.ANALYSE,
                queue=JobKind.ANALYSE,
                study_id=filed.study_id,
                urgent=filed.urgent,
            )
        if filed.kind is FiledKind.REVISION or not filed.same_patient:
            append(
                connection,
                self._parts.writer.instance_received(
                    instance_id=filed.instance_id,
                    subject=replace(
                        study_subject(
                            header, self._parts.pseudonyms, sop_instance_uid=new.sop_instance_uid
                        ),
                        sop_class_uid=new.sop_class_uid,
                        transfer_syntax_uid=new.transfer_syntax_uid,
                        revision=filed.revision,
                        content_sha256=new.content_sha256,
                    ),
                    caller=asdict(caller),
                    receipt=filed.kind if filed.same_patient else PATIENT_CONFLICT,
                    route=new.route,
                    recorded_at=new.received_at,
                ),
            )
        return filed

    def _restored(self, connection: Connection, earlier: Filed, new: NewInstance) -> Filed:
        """Put the new file in the place of the earlier one where that is lost or damaged.

        Success was promised for those bytes; here they are again.
        """
        key = analyse_key(earlier.instance_id)
        if self._is_whole(earlier):
            job = jobs.get(connection, key)
            if job is None or job.error_code != DamagedFile.code:
                return earlier
        if not replace_file(connection, earlier, new):
            return earlier
        self._parts.work.unpark(connection, key, actor="intake", wanted=JobState.QUEUED)
        return replace(earlier, path=new.path, size_bytes=new.size_bytes)

    def _is_whole(self, filed: Filed) -> bool:
        try:
            return self._parts.files.absolute(filed.path).stat().st_size == filed.size_bytes
        except OSError:
            return False


class _Carriage:
    """One association's or request's passage; see `receiving.Carriage`."""

    def __init__(self, intake: Intake, presence: Presence, caller: Caller) -> None:
        self._intake = intake
        self._presence = presence
        self._caller = caller
        self._studies: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for study_instance_uid in self._studies:
            self._presence.leave(study_instance_uid)
        self._studies.clear()

    def receive(self, file: ReceivedFile) -> ReceiptKind:
        study_instance_uid = str(file.header.get("StudyInstanceUID", ""))
        if study_instance_uid not in self._studies:
            self._studies.add(study_instance_uid)
            self._presence.enter(study_instance_uid)
        return self._intake.receive(file, self._caller)
