"""From what is known of a study to the DICOM objects that say it.

First the heat maps, one at a time, for together their pixels can fill the memory; then an
SR for each profile, which refers to them and needs none of their pixels.
"""

from collections.abc import Collection, Iterator, Sequence

import structlog
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from audit.errors import Rejected
from dicom_node.config.settings import ReportProfile
from dicom_node.report.content import BuiltObject, ReportImage, ReportRequest
from dicom_node.report.evidence import element, reference, text_of
from dicom_node.report.groups import Overlays
from dicom_node.report.reading import Illustration, illustrations, uids_of
from dicom_node.report.sc import overlay_object
from dicom_node.report.selfcheck import check
from dicom_node.report.sr import FORMS, structured_report
from inference.reader import read_display

_log = structlog.get_logger()


def build_overlays(request: ReportRequest) -> Iterator[BuiltObject]:
    """Yield the heat maps of a report, each built when it is asked for.

    They are the same in every profile. Write one and let go of it before asking for the
    next: this function holds the pixels of one source image and of no overlay.

    Parameters
    ----------
    request : ReportRequest
        At least one image; pixels are read from the files that `images` name.

    Raises
    ------
    UnfitReport
        When an object breaks a rule of our own check; nothing may be sent then.
    InvalidConfiguration
        When the site's UID root cannot carry UIDs.
    """
    shown = illustrations(request).shown
    members = tuple({each.image.number: each.image for each in shown}.values())
    made = 0
    for image in members:
        of_image = [each for each in shown if each.image is image]
        for built in _overlays_of(request, image, of_image, members, first_number=made + 1):
            made += 1
            yield built


def build_sr(request: ReportRequest, profile: ReportProfile, overlays: Overlays) -> BuiltObject:
    """Return the SR of a report. Equal requests give equal objects.

    Parameters
    ----------
    request : ReportRequest
        What it says.
    profile : ReportProfile
        The form of the SR.
    overlays : mapping
        References to the heat maps, as `overlay_reference` or `overlays_among` give them.

    Raises
    ------
    UnfitReport
        When the object breaks a rule of our own check; nothing may be sent then.
    InvalidConfiguration
        When the site's UID root cannot carry UIDs.
    """
    built = BuiltObject(
        role="SR", dataset=structured_report(request, FORMS[profile], overlays), subject=None
    )
    check(built, request, tuple(overlays.values()))
    return built


def overlay_reference(overlay: BuiltObject) -> tuple[tuple[int, str, str], Dataset]:
    """Return what an SR needs to refer to `overlay`: an item of a mapping, without pixels."""
    assert overlay.subject is not None, "a heat map is of something"
    return overlay.subject, reference(overlay.dataset)


def overlays_among(request: ReportRequest, sop_instance_uids: Collection[str]) -> Overlays:
    """Return references to those heat maps of a report that were built before.

    Parameters
    ----------
    sop_instance_uids : collection of str
        Of the objects that there are.
    """
    uids = uids_of(request)
    found: dict[tuple[int, str, str], Dataset] = {}
    for each in illustrations(request).shown:
        image_uid = text_of(each.image.header, "SOPInstanceUID")
        made = uids.sc_instance(image_uid, each.finding.model, each.finding.output.key)
        if made in sop_instance_uids:
            found[each.subject] = Dataset()
            for keyword, value in (
                ("StudyInstanceUID", request.study_instance_uid),
                ("SeriesInstanceUID", uids.sc_series()),
                ("SOPClassUID", SecondaryCaptureImageStorage),
                ("SOPInstanceUID", made),
            ):
                found[each.subject].add(element(keyword, value))
    return found


def _overlays_of(
    request: ReportRequest,
    image: ReportImage,
    shown: Sequence[Illustration],
    members: tuple[ReportImage, ...],
    *,
    first_number: int,
) -> Iterator[BuiltObject]:
    try:
        picture = read_display(image.path, maximum_pixels=request.maximum_pixels)
    except Rejected as error:
        # The analysis read this file; that it cannot be read now costs the overlay, not
        # the report.
        _log.warning("report.overlay.skipped", image_number=image.number, error_code=error.code)
        return
    for number, each in enumerate(shown, first_number):
        yield _checked_overlay(
            request,
            each,
            overlay_object(
                request,
                image,
                each.finding,
                each.heat_map,
                picture=picture,
                instance_number=number,
                series_members=members,
            ),
        )


def _checked_overlay(request: ReportRequest, each: Illustration, dataset: Dataset) -> BuiltObject:
    built = BuiltObject(role="SC", dataset=dataset, subject=each.subject)
    check(built, request)
    return built
