"""One store transaction, without HTTP: parts in, results out. Everything here blocks."""

from contextlib import ExitStack
from dataclasses import dataclass, field

from audit.errors import NodeError
from audit.metrics import Metrics
from dicom_node.core.status import CANNOT_UNDERSTAND, OTHER_STUDY, SOP_CLASS_NOT_SUPPORTED
from dicom_node.dicomweb.multipart import MalformedBody, Part, PartWriter
from dicom_node.dicomweb.store_response import InstanceResult, failure_reason
from dicom_node.pipeline.part10 import received_file
from dicom_node.pipeline.receiving import Caller, Carriage, ReceivedFile, Reception


@dataclass
class StoreTransaction:
    """Hands each part to the intake as soon as it is complete.

    Parameters
    ----------
    study_instance_uid
        The study that the address names, or None.

    Notes
    -----
    An instance that was stored stays stored, whatever happens to the rest of the request:
    sending it again is a duplicate, and costs nothing.
    """

    reception: Reception
    caller: Caller
    metrics: Metrics
    study_instance_uid: str | None
    results: list[InstanceResult] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)
    _carriage: Carriage | None = None
    _writer: PartWriter | None = None

    def begin(self, boundary: bytes, maximum_part_bytes: int) -> None:
        """Open the carriage.

        Raises
        ------
        MalformedBody
            The boundary cannot be one.
        """
        self._writer = PartWriter(
            boundary, self.reception.temporary_path, maximum_part_bytes, self._take
        )
        self._stack.callback(self._writer.close)
        self._carriage = self._stack.enter_context(self.reception.open(self.caller))

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body; returns when the parts they end are stored."""
        assert self._writer is not None
        self._writer.feed(chunk)

    def finish(self) -> None:
        """Say that the body has ended, and whether it ended well."""
        assert self._writer is not None
        self._writer.finish()
        if not self.results:
            raise MalformedBody("the body has no part")

    def cut(self) -> None:
        """Note that the rest of the body cannot be read."""
        self.results.append(InstanceResult(failure_reason=CANNOT_UNDERSTAND))

    def close(self) -> None:
        """Close the carriage and remove an unfinished part."""
        self._stack.close()

    def _take(self, part: Part) -> None:
        result, outcome = self._judge(part)
        self.metrics.count("stow_instances_total", outcome=outcome)
        self.results.append(result)

    def _judge(self, part: Part) -> tuple[InstanceResult, str]:
        if part.path is None:
            assert part.problem is not None
            return InstanceResult(failure_reason=failure_reason(part.problem)), "failed"
        with ExitStack() as unless_handed_over:
            unless_handed_over.callback(part.path.unlink, missing_ok=True)
            try:
                file = received_file(part.path)
            except NodeError as error:
                return InstanceResult(failure_reason=failure_reason(error)), "failed"
            reason = self._breach(file)
            outcome = "failed"
            if reason is None:
                unless_handed_over.pop_all()
                reason, outcome = self._receive(file)
        return (
            InstanceResult(
                sop_class_uid=file.sop_class_uid,
                sop_instance_uid=file.sop_instance_uid,
                failure_reason=reason,
            ),
            outcome,
        )

    def _breach(self, file: ReceivedFile) -> int | None:
        if file.sop_class_uid not in self.reception.storage_classes:
            return SOP_CLASS_NOT_SUPPORTED
        study = self.study_instance_uid
        if study is not None and str(file.header.get("StudyInstanceUID", "")) != study:
            return OTHER_STUDY
        return None

    def _receive(self, file: ReceivedFile) -> tuple[int | None, str]:
        assert self._carriage is not None
        try:
            return None, str(self._carriage.receive(file))
        except NodeError as error:
            return failure_reason(error), "failed"
