"""Modality Worklist C-FIND, as an SCU (PS3.4 Annex K).

No name of a person is asked for: nothing here needs one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from pydicom import Dataset
from pynetdicom import build_context
from pynetdicom.association import Association

from audit.clock import Clock
from audit.errors import PeerUnreachable
from dicom_node.config.orders import WorklistSettings
from dicom_node.dimse.requestor import Requestor

MODALITY_WORKLIST = "1.2.840.10008.5.1.4.31"  # PS3.4 Section K.5

_PENDING = frozenset({0xFF00, 0xFF01})
_SUCCESS = 0x0000
_MESSAGE_ID = 1
_CANCEL_GRACE_S = 1.0
"""How long a peer may go on after C-CANCEL before the association is aborted."""

_CODE = ("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning")
_ISSUER = ("LocalNamespaceEntityID", "UniversalEntityID", "UniversalEntityIDType")


class WorklistRefused(PeerUnreachable):
    """The worklist answered, but not with a result that can be used."""

    code = "worklist.query.refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistKeys:
    """What must match; an empty key matches anything (PS3.4 Section C.2.2.2)."""

    accession_number: str = ""
    patient_id: str = ""
    modality: str = ""
    first_day: date | None = None
    last_day: date | None = None


class WorklistClient:
    """Asks one worklist; safe to use from several threads.

    Parameters
    ----------
    settings
        Where it is. `timeout_s` bounds the connection and each answer, `query_limit_s`
        the whole query, `maximum_matches` how much may come.

    Raises
    ------
    InvalidConfiguration
        A certificate file cannot be read.
    """

    def __init__(self, settings: WorklistSettings, calling_ae_title: str, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._requestor = Requestor(settings, calling_ae_title, "worklist")

    def find(self, keys: WorklistKeys) -> tuple[Dataset, ...]:
        """Return every worklist item that the peer says matches; it may be lying.

        Raises
        ------
        PeerUnreachable
            The peer is away, or did not end its answer in time.
        WorklistRefused
            The peer does not offer a worklist, refused the query, sent what cannot be
            read, or matched more than `maximum_matches`.
        """
        deadline_s = self._clock.monotonic_s() + self._settings.query_limit_s
        timeout_s = min(self._settings.timeout_s, self._settings.query_limit_s)
        with self._requestor.association([build_context(MODALITY_WORKLIST)], timeout_s) as assoc:
            if not assoc.accepted_contexts:
                raise WorklistRefused("the peer does not offer a Modality Worklist")
            return tuple(self._find_on(assoc, identifier(keys), deadline_s))

    def verify(self) -> int:
        """Ask by C-ECHO and by a query that should match nothing; return its matches.

        Raises
        ------
        PeerUnreachable
            See `find`.
        """
        self._requestor.verify(self._settings.timeout_s)
        return len(self.find(WorklistKeys(accession_number="DICOM-NODE-CHECK")))

    def _find_on(self, assoc: Association, query: Dataset, deadline_s: float) -> list[Dataset]:
        found: list[Dataset] = []
        problem: PeerUnreachable | None = None
        for answer, item in _answers(assoc, query):
            status = answer.get("Status")
            if status is None:  # no answer in time, none that can be read, or the link broke
                raise problem or PeerUnreachable("C-FIND was not answered to its end")
            if status not in _PENDING:
                if problem is None and status != _SUCCESS:
                    problem = WorklistRefused("C-FIND was answered with a failure")
                break
            left_s = deadline_s - self._clock.monotonic_s()
            if problem is not None:
                if left_s <= 0:  # it does not heed the C-CANCEL
                    assoc.abort()
                    raise problem
            elif (problem := self._problem(item, len(found), left_s)) is not None:
                assoc.send_c_cancel(_MESSAGE_ID, query_model=MODALITY_WORKLIST)
                left_s = 0.0
                deadline_s = self._clock.monotonic_s() + _CANCEL_GRACE_S
            elif item is not None:
                found.append(item)
            # With the grace, the next answer of a peer that drips comes in time to be cancelled.
            assoc.dimse_timeout = min(self._settings.timeout_s, max(0.0, left_s) + _CANCEL_GRACE_S)
        if problem is not None:
            raise problem
        return found

    def _problem(self, item: Dataset | None, found: int, left_s: float) -> PeerUnreachable | None:
        """Return why the query should not go on after this response, or None."""
        if left_s <= 0:
            return PeerUnreachable("C-FIND was not answered to its end in time")
        if item is None:
            return WorklistRefused("a worklist item cannot be read")
        if found >= self._settings.maximum_matches:
            return WorklistRefused("the query matches more than worklist.maximum_matches")
        return None


def _answers(assoc: Association, query: Dataset) -> Iterator[tuple[Dataset, Dataset | None]]:
    """Yield status and item of each response; an empty status where the link is gone."""
    try:
        yield from assoc.send_c_find(query, MODALITY_WORKLIST, msg_id=_MESSAGE_ID)
    except (RuntimeError, ValueError):  # the association ended before the request
        yield Dataset(), None


def identifier(keys: WorklistKeys) -> Dataset:
    """Return the identifier of a query (PS3.4 Table K.6-1): `keys`, and what to return."""
    step = Dataset()
    step.Modality = keys.modality
    step.ScheduledProcedureStepStartDate = _days(keys)
    for keyword in (
        "ScheduledProcedureStepStartTime",
        "ScheduledProcedureStepDescription",
        "ScheduledProcedureStepID",
        "ScheduledProcedureStepStatus",
    ):
        setattr(step, keyword, "")
    step.ScheduledProtocolCodeSequence = [_empty(*_CODE)]
    query = _empty(
        "IssuerOfPatientID",
        "StudyInstanceUID",
        "RequestedProcedureID",
        "RequestedProcedureDescription",
    )
    if not (keys.accession_number + keys.patient_id).isascii():
        query.SpecificCharacterSet = "ISO_IR 192"
    query.AccessionNumber = keys.accession_number
    query.PatientID = keys.patient_id
    query.IssuerOfAccessionNumberSequence = [_empty(*_ISSUER)]
    query.RequestedProcedureCodeSequence = [_empty(*_CODE)]
    query.ScheduledProcedureStepSequence = [step]
    return query


def _empty(*keywords: str) -> Dataset:
    made = Dataset()
    for keyword in keywords:
        setattr(made, keyword, "")
    return made


def _days(keys: WorklistKeys) -> str:
    """Return a range (PS3.4 Section C.2.2.2.5), open where an end is not given."""
    first, last = (
        day.strftime("%Y%m%d") if day is not None else "" for day in (keys.first_day, keys.last_day)
    )
    return f"{first}-{last}" if first != last else first
