"""A patient's images of some days, as they were filed and as the network saw them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

from pydicom import Dataset

from audit.errors import NodeError, Transient
from dicom_node.config.accession import OrderedBy
from dicom_node.orders.choice import SOURCES_OF, Declared, Number
from dicom_node.pipeline.part10 import received_file
from dicom_node.pipeline.result import read_documents
from dicom_node.report.evidence import text_of
from inference.elements import items, text
from inference.manifest import Label
from inference.ordered import expectation
from inference.orders import PatientKey, Side
from inference.regions import RegionMap
from inference.sides import side_of
from inference.types import Expectation, Task
from inference.verify import Seen
from storage.files import FileStore
from storage.index import InstanceRow, current_instances
from storage.patients import PatientRow, PatientStudy, patient_of, studies_of_patient
from storage.results import results_for
from storage.session import Database

HEADER_SOURCES = (OrderedBy.REQUEST, OrderedBy.DESCRIPTION)


_REMEMBERED = 4096
"""Headers whose facts are kept in memory."""


class UnreadNow(Transient):
    """A stored image could not be read; what its header says is not guessed. Try again."""

    code = "pipeline.image.unread"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderFacts:
    """What a header says of the order."""

    tagged: Side = Side.UNSAID
    declared: tuple[Expectation, ...] = ()
    """By each header source that names a region, in the configured order."""

    ordered_side: Side = Side.UNSAID
    """As the request and study descriptions name it."""

    station: str = ""
    """(0008,1010) Station Name; for counting under a configured label only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientImage:
    """One image: its row, what was seen in it, and what its header says."""

    row: InstanceRow
    seen: Seen
    header: HeaderFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientImages:
    """What one snapshot of the database shows of a patient."""

    patient: PatientRow
    studies: tuple[PatientStudy, ...]
    """Those that are looked at together, by id."""

    images: tuple[PatientImage, ...]
    first_day: date
    last_day: date

    @property
    def token(self) -> tuple[tuple[int, int], ...]:
        """Changes when an image or a result of these studies comes."""
        return token_of(self.studies)


def token_of(studies: Iterable[PatientStudy]) -> tuple[tuple[int, int], ...]:
    """Return the studies with their counts of changes."""
    return tuple((study.id, study.changes) for study in studies)


class HeaderReader:
    """Reads what headers say of orders; remembers it, because stored files never change.

    That a file could not be read is not remembered.
    """

    def __init__(self, files: FileStore, regions: RegionMap, sources: Sequence[OrderedBy]) -> None:
        self._files = files
        self._regions = regions
        self._sources = [name for name in sources if name in HEADER_SOURCES]
        self._remembered = lru_cache(_REMEMBERED)(self._read)

    def of(self, path: str) -> HeaderFacts:
        """Return the facts of a stored image; none where it is gone, or cannot be parsed.

        Raises
        ------
        UnreadNow
            Reading failed, which may pass.
        """
        try:
            return self._remembered(path)
        except (NodeError, FileNotFoundError):
            return HeaderFacts()
        except OSError as error:
            raise UnreadNow("a stored image cannot be read just now") from error

    def _read(self, path: str) -> HeaderFacts:
        header = received_file(self._files.absolute(path)).header
        said = (expectation(header, self._regions, SOURCES_OF[name]) for name in self._sources)
        requests = [header, *items(header, "RequestAttributesSequence")]
        texts = [text(request, "RequestedProcedureDescription") for request in requests]
        return HeaderFacts(
            tagged=_tagged(header),
            declared=tuple(each for each in said if each is not None),
            ordered_side=side_of((), [*texts, text(header, "StudyDescription")]),
            station=text_of(header, "StationName"),
        )


def read_patient(
    database: Database,
    headers: HeaderReader,
    study_id: int,
    *,
    labels: Callable[[str], Sequence[Label]],
    regions: RegionMap,
    day_window: int,
) -> PatientImages:
    """Return the images of a study and of those of the same patient and days.

    Parameters
    ----------
    labels : callable
        Returns the labels of a body part model by its name.

    Raises
    ------
    UnreadNow
        See `HeaderReader.of`.
    """
    with database.reading() as connection:
        patient = patient_of(connection, study_id)
        studies = together(
            studies_of_patient(connection, patient.id), patient, study_id, day_window
        )
        rows = [
            row
            for study in studies
            for row in current_instances(connection, study.id)
            if row.route and row.same_patient
        ]
        results = results_for(connection, [row.id for row in rows])
    images = []
    for row in rows:
        analysis, _ = read_documents(result.document for result in results[row.id])
        prediction = analysis.prediction(Task.BODY_PART)
        if prediction is None:
            seen = Seen(ran=False)
        else:
            seen = Seen.of(prediction, labels(prediction.model.name), regions)
        images.append(PatientImage(row=row, seen=seen, header=headers.of(row.path)))
    days = [day_of(study) for study in studies]
    return PatientImages(
        patient=patient,
        studies=studies,
        images=tuple(images),
        first_day=min(days) - timedelta(days=day_window),
        last_day=max(days) + timedelta(days=day_window),
    )


def together(
    studies: Sequence[PatientStudy], patient: PatientRow, study_id: int, day_window: int
) -> tuple[PatientStudy, ...]:
    """Return the studies that are looked at together with `study_id`, by id.

    Studies at most `day_window` days apart, and those that are linked through others in
    between: so each of them names the same set. Images without Patient ID belong to
    nobody in particular; their study is looked at alone.
    """
    own = next(study for study in studies if study.id == study_id)
    if not patient.patient_id:
        return (own,)
    found = {own.id: own}
    grown = True
    while grown:
        near = [
            study
            for study in studies
            if study.id not in found
            and any(
                abs((day_of(study) - day_of(other)).days) <= day_window for other in found.values()
            )
        ]
        found |= {study.id: study for study in near}
        grown = bool(near)
    return tuple(found[key] for key in sorted(found))


def day_of(study: PatientStudy) -> date:
    """Return the day of a study; of its last image's arrival where it names none."""
    try:
        return datetime.strptime(study.study_date[:8], "%Y%m%d").date()  # noqa: DTZ007
    except ValueError:
        return study.last_received_at.date()


def number_of(row: InstanceRow) -> Number:
    """Return the accession that an image is filed under."""
    return Number(
        accession_number=row.accession_number,
        issuer=row.accession_issuer if row.accession_number else "",
    )


def patient_key(row: PatientRow) -> PatientKey:
    """Return the patient as orders name one."""
    return PatientKey(patient_id=row.patient_id, issuer=row.issuer_of_patient_id)


def declared_of(images: Sequence[PatientImage]) -> Declared:
    """Return what the headers of the images of one accession say of its order."""
    uids = {image.row.study_instance_uid for image in images}
    return Declared(
        expectations=tuple(dict.fromkeys(e for image in images for e in image.header.declared)),
        sides=frozenset(image.header.ordered_side for image in images),
        study_instance_uid=uids.pop() if len(uids) == 1 else "",
    )


def _tagged(header: Dataset) -> Side:
    """Return (0020,0062) Image Laterality, else (0020,0060) Laterality."""
    for keyword in ("ImageLaterality", "Laterality"):
        value = text_of(header, keyword)
        if value in ("L", "R", "B"):
            return Side(value)
    return Side.UNSAID
