"""The mender: from an accepted proposal to a kept package that is on its way."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from pydicom.errors import InvalidDicomError
from sqlalchemy import Connection

from audit.clock import Clock
from audit.entries import WrittenObject
from audit.pseudonym import Pseudonyms
from audit.records import Writer
from audit.store import append
from dicom_node.config.settings import NodeSettings
from dicom_node.correction.build import BuiltObject, build
from dicom_node.correction.gather import Gathered, Shelf, gather
from dicom_node.correction.plan import CorrectionPlan, Maker, plan
from dicom_node.correction.port import CorrectionPreview, Mended, NotAccepted, NotMendable
from dicom_node.correction.preview import preview_of
from dicom_node.correction.selfcheck import UnfitCorrection
from dicom_node.pipeline.subjects import study_subject
from dicom_node.pipeline.work import Work, correct_key, deliver_queue
from dicom_node.report.evidence import text_of
from inference.regions import RegionMap
from storage import proposals
from storage.corrections import (
    NewCorrectionObject,
    correction_deliveries,
    correction_of,
    keep_correction,
)
from storage.files import FileStore
from storage.proposals import ProposalRow
from storage.session import Database
from storage.states import JobKind, ProposalState

log = structlog.get_logger()

SERIES_NUMBER = 9003
"""(0020,0011) Series Number of rejection notes: behind those of the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MenderParts:
    """What the use case works with; built by the composition root."""

    database: Database
    files: FileStore
    settings: NodeSettings
    destinations: tuple[str, ...]
    """Where packages go, by name; empty means where the reports on the images go."""

    regions: RegionMap
    work: Work
    writer: Writer
    pseudonyms: Pseudonyms
    clock: Clock
    software_version: str
    device_serial: str


@contextmanager
def _refused() -> Iterator[None]:
    """Say of what cannot be made, whatever the reason, that it is refused."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotMendable("a stored file is not there any more") from error
    except InvalidDicomError as error:
        raise NotMendable("a stored file cannot be read any more") from error
    except UnfitCorrection as error:
        raise NotMendable(f"a copy or note would break a rule: {error}") from error


class PackageMender:
    """Builds correction packages and begins to send them; see `correction.port.Mender`."""

    def __init__(self, parts: MenderParts) -> None:
        self._parts = parts

    @_refused()
    def preview(self, proposal_id: int) -> CorrectionPreview:
        """Return exactly what `mend` would send; see `correction.port.Mender.preview`."""
        with self._parts.database.reading() as connection:
            row = proposals.get(connection, proposal_id)
            gathered = gather(self._shelf(connection), row)
        targets = self._targets(gathered)
        return preview_of(self._plan(row, gathered, "preview"), targets)

    @_refused()
    def mend(self, proposal_id: int, actor: str) -> Mended:
        """Build, check, keep and begin to send; see `correction.port.Mender.mend`."""
        parts = self._parts
        with parts.database.reading() as connection:
            row = proposals.get(connection, proposal_id)
            if row.state is not ProposalState.ACCEPTED:
                raise NotAccepted("a person has not accepted the proposal")
            if correction_of(connection, proposal_id) is not None:
                return _mended(connection, proposal_id, fresh=False)
            gathered = gather(self._shelf(connection), row)
        targets = self._targets(gathered)
        planned = self._plan(row, gathered, row.decided_by or actor)
        objects = [self._keep(proposal_id, built) for built in build(planned)]
        with parts.database.transaction() as connection:
            correction_id = keep_correction(
                connection,
                proposal_id=proposal_id,
                actor=planned.maker.actor,
                objects=objects,
                destinations=targets,
                created_at=planned.maker.moment,
            )
            if correction_id is None:
                return _mended(connection, proposal_id, fresh=False)
            self._record(connection, planned, objects, targets)
            for name in targets:
                parts.work.begin(
                    connection,
                    key=correct_key(proposal_id, name),
                    kind=JobKind.CORRECT,
                    queue=deliver_queue(name),
                    study_id=gathered.study_id,
                    urgent=False,
                )
            mended = _mended(connection, proposal_id, fresh=True)
        log.info(
            "correction.package.built",
            proposal_id=proposal_id,
            objects=len(objects),
            destinations=list(targets),
        )
        return mended

    def _shelf(self, connection: Connection) -> Shelf:
        parts = self._parts
        return Shelf(
            connection=connection,
            files=parts.files,
            regions=parts.regions,
            sources=parts.settings.accession.sources,
            now=parts.clock.now(),
        )

    def _plan(self, row: ProposalRow, gathered: Gathered, actor: str) -> CorrectionPlan:
        """Plan at the moment of the decision, so that a repeated step plans the same."""
        parts, report = self._parts, self._parts.settings.report
        maker = Maker(
            moment=row.decided_at or parts.clock.now(),
            actor=actor,
            uid_root=report.institution_uid_root,
            manufacturer=report.manufacturer,
            software_version=parts.software_version,
            device_serial=parts.device_serial,
            series_number=SERIES_NUMBER,
        )
        return plan(row.id, gathered.moves, maker)

    def _targets(self, gathered: Gathered) -> tuple[str, ...]:
        if self._parts.destinations:
            return self._parts.destinations
        routes = {route.name: route for route in self._parts.settings.routes}
        names = (
            name for each in gathered.routes if each in routes for name in routes[each].destinations
        )
        found = tuple(dict.fromkeys(names))
        if not found:
            raise NotMendable("no destination is configured for correction packages")
        return found

    def _keep(self, proposal_id: int, built: BuiltObject) -> NewCorrectionObject:
        """Write an object to a durable file; a repeated step writes the same one again."""
        ds = built.dataset
        relative = f"corrections/{proposal_id}/{ds.SOPInstanceUID}.dcm"
        self._parts.files.write(relative, built.content)
        return NewCorrectionObject(
            role=built.role,
            study_instance_uid=str(ds.StudyInstanceUID),
            series_instance_uid=str(ds.SeriesInstanceUID),
            sop_instance_uid=str(ds.SOPInstanceUID),
            sop_class_uid=str(ds.SOPClassUID),
            transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
            sha256=hashlib.sha256(built.content).hexdigest(),
            path=relative,
        )

    def _record(
        self,
        connection: Connection,
        planned: CorrectionPlan,
        objects: Sequence[NewCorrectionObject],
        targets: Sequence[str],
    ) -> None:
        headers = [copy.source.header for copy in planned.copies]
        append(
            connection,
            self._parts.writer.correction_written(
                proposal_id=planned.proposal_id,
                actor=planned.maker.actor,
                subject=study_subject(headers[0], self._parts.pseudonyms),
                objects=[
                    WrittenObject(
                        role=each.role,
                        profile="iocm",
                        sop_instance_uid=each.sop_instance_uid,
                        sop_class_uid=each.sop_class_uid,
                        sha256=each.sha256,
                    )
                    for each in objects
                ],
                replaced=[text_of(header, "SOPInstanceUID") for header in headers],
                destinations=targets,
                recorded_at=self._parts.clock.now(),
            ),
        )


def _mended(connection: Connection, proposal_id: int, *, fresh: bool) -> Mended:
    row = correction_of(connection, proposal_id)
    assert row is not None, "only asked for a proposal that has its package"
    sent = correction_deliveries(connection, proposal_id)
    return Mended(
        correction_id=row.id,
        destinations=tuple(dict.fromkeys(each.destination for each in sent)),
        objects=len({each.correction_object_id for each in sent}),
        fresh=fresh,
    )
