"""C-STORE: from its command set to its status (PS3.4 Annex B.2.3, PS3.7 Section 9.1.1)."""

import re
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog

from audit.clock import SystemClock
from audit.errors import NodeError
from audit.metrics import Metrics
from dicom_node.core.status import (
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
    INVALID_OBJECT_INSTANCE,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    dimse_status,
)
from dicom_node.dimse.command import Request
from dicom_node.dimse.errors import MessageRefused, origin
from dicom_node.dimse.incoming import FileMeta, IncomingFile
from dicom_node.dimse.negotiation import AcceptedContext
from dicom_node.pipeline.header import read_header
from dicom_node.pipeline.receiving import Caller, Carriage, ReceivedFile, Reception

log = structlog.get_logger()

MAXIMUM_UID_LENGTH = 64
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
"""PS3.5 Section 9.1, but for leading zeros of a component, which real devices do write."""

_CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the peer."""

    status: int
    comment: str = ""


class StorageService:
    """Receives instances over one association.

    The carriage is opened with the first instance, so that an association which only asks
    for an echo holds nothing back.
    """

    def __init__(
        self,
        *,
        reception: Reception,
        caller: Caller,
        maximum_object_bytes: int,
        metrics: Metrics,
        association_id: str,
    ) -> None:
        self.reception = reception
        self.caller = caller
        self.maximum_object_bytes = maximum_object_bytes
        self.metrics = metrics
        self.association_id = association_id
        self._exits = ExitStack()
        self._carriage: Carriage | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exits.__exit__(kind, error, trace)

    @property
    def carriage(self) -> Carriage:
        """The association's carriage."""
        if self._carriage is None:
            self._carriage = self._exits.enter_context(self.reception.open(self.caller))
        return self._carriage


class StoreOperation:
    """One C-STORE. What the peer sends decides the answer; it never raises."""

    def __init__(self, request: Request, context: AcceptedContext, service: StorageService) -> None:
        self._request = request
        self._context = context
        self._service = service
        self._began_s = _CLOCK.monotonic_s()
        self._file: IncomingFile | None = None
        self._refusal: NodeError | None = None
        try:
            self._begin()
        except NodeError as error:
            self._refusal = error

    def write(self, content: memoryview) -> None:
        """Take a piece of the data set; after a refusal it is only counted."""
        self._service.metrics.count("received_bytes_total", len(content))
        if self._file is None:
            return
        try:
            if self._file.data_set_bytes + len(content) > self._service.maximum_object_bytes:
                raise MessageRefused(OUT_OF_RESOURCES, "the object is larger than allowed")
            self._file.write(content)
        except NodeError as error:
            self._refusal = error
            self.discard()

    def answer(self) -> Answer:
        """Hand the whole file to the intake and say what came of it."""
        try:
            outcome = self._hand_over()
            answer = Answer(SUCCESS)
        except NodeError as error:
            outcome = "refused"
            answer = self._refused(error)
        except Exception as error:  # noqa: BLE001 - a bug costs one image, not the association
            outcome = "failed"
            answer = Answer(PROCESSING_FAILURE, "the node failed to process the instance")
            log.error(
                "dimse.instance.failed",
                association_id=self._service.association_id,
                error_type=type(error).__name__,
                origin=origin(error),
            )
        self.discard()
        metrics = self._service.metrics
        metrics.count("instances_received_total", outcome=outcome)
        metrics.observe("store_seconds", _CLOCK.monotonic_s() - self._began_s)
        return answer

    def discard(self) -> None:
        """Leave nothing behind; what the intake has taken is not touched."""
        if self._file is not None:
            self._file.discard()
            self._file = None

    def _begin(self) -> None:
        if self._request.affected_sop_class_uid != self._context.abstract_syntax:
            raise MessageRefused(
                SOP_CLASS_NOT_SUPPORTED, "the SOP class is not that of the presentation context"
            )
        uid = self._request.affected_sop_instance_uid
        if len(uid) > MAXIMUM_UID_LENGTH or not _UID.fullmatch(uid):
            raise MessageRefused(
                INVALID_OBJECT_INSTANCE, "a UID does not conform to PS3.5 Section 9.1"
            )
        meta = FileMeta(
            sop_class_uid=self._request.affected_sop_class_uid,
            sop_instance_uid=uid,
            transfer_syntax_uid=self._context.transfer_syntax,
            source_ae_title=self._service.caller.calling_ae_title,
        )
        self._file = IncomingFile(self._service.reception.temporary_path(), meta)

    def _hand_over(self) -> str:
        if self._refusal is not None:
            raise self._refusal
        assert self._file is not None, "an operation has a file or a refusal"
        return self._service.carriage.receive(self._received(self._file)).value

    def _received(self, file: IncomingFile) -> ReceivedFile:
        file.close()
        header = read_header(file.path, file.data_set_offset, self._context.transfer_syntax)
        # PS3.7 Section 9.1.1.1: the command names what the data set holds.
        named = (self._request.affected_sop_class_uid, self._request.affected_sop_instance_uid)
        held = tuple(str(header.get(key, "")) for key in ("SOPClassUID", "SOPInstanceUID"))
        if named != held:
            raise MessageRefused(
                DATA_SET_DOES_NOT_MATCH_SOP_CLASS, "the data set is not what the command names"
            )
        return ReceivedFile(
            path=file.path,
            content_sha256=file.content_sha256,
            size_bytes=file.size_bytes,
            header=header,
            sop_class_uid=self._request.affected_sop_class_uid,
            sop_instance_uid=self._request.affected_sop_instance_uid,
            transfer_syntax_uid=self._context.transfer_syntax,
        )

    def _refused(self, error: NodeError) -> Answer:
        status = error.status if isinstance(error, MessageRefused) else dimse_status(error)
        log.warning(
            "dimse.instance.refused",
            association_id=self._service.association_id,
            calling_ae_title=self._service.caller.calling_ae_title,
            dimse_status=f"{status:04X}H",
            error_code=error.code,
            rule=str(error),
        )
        return Answer(status, str(error))
