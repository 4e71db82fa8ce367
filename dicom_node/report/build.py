"""From what is known of a study to the DICOM objects that say it."""

import structlog

from audit.errors import Rejected
from dicom_node.config.settings import ReportProfile
from dicom_node.report.content import BuiltObject, ReportImage, ReportRequest
from dicom_node.report.reading import Finding, findings
from dicom_node.report.sc import overlay_object
from dicom_node.report.selfcheck import check
from dicom_node.report.sr import FORMS, structured_report
from inference.reader import read_display
from inference.types import Decision, HeatMap

_log = structlog.get_logger()

_Shown = tuple[ReportImage, Finding, HeatMap]


def build_report(request: ReportRequest, profile: ReportProfile) -> tuple[BuiltObject, ...]:
    """Return the objects of a report: the overlays, then the SR that refers to them.

    Equal requests give equal objects. The overlays are the same in every profile; a
    destination that takes another profile needs another SR only.

    Parameters
    ----------
    request : ReportRequest
        At least one image; pixels are read from the files that `images` name.
    profile : ReportProfile
        The form of the SR.

    Raises
    ------
    UnfitReport
        When an object breaks a rule of our own check; nothing may be sent then.
    InvalidConfiguration
        When the site's UID root cannot carry UIDs.
    """
    overlays = _overlays(request)
    by_subject = {
        (built.image_number, finding.model.name, finding.output.key): built.dataset
        for built, finding in overlays
        if built.image_number is not None
    }
    report = structured_report(request, FORMS[profile], by_subject)
    built = (*(overlay for overlay, _ in overlays), BuiltObject(role="SR", dataset=report))
    check(built, request)
    return built


def _overlays(request: ReportRequest) -> list[tuple[BuiltObject, Finding]]:
    """Return one overlay for each present finding that has a heat map."""
    shown = [
        (image, finding, finding.heat_map)
        for image in request.images
        for finding in findings(image, request.labels)
        if finding.output.decision is Decision.PRESENT and finding.heat_map is not None
    ]
    members = tuple({image.number: image for image, _, _ in shown}.values())
    made: list[tuple[BuiltObject, Finding]] = []
    for image in members:
        of_image = [item for item in shown if item[0] is image]
        made += _overlays_of(request, image, of_image, members, first_number=len(made) + 1)
    return made


def _overlays_of(
    request: ReportRequest,
    image: ReportImage,
    shown: list[_Shown],
    members: tuple[ReportImage, ...],
    *,
    first_number: int,
) -> list[tuple[BuiltObject, Finding]]:
    try:
        picture = read_display(image.path, maximum_pixels=request.maximum_pixels)
    except Rejected as error:
        # The analysis read this file; that it cannot be read now costs the overlay, not
        # the report.
        _log.warning("report.overlay.skipped", image_number=image.number, error_code=error.code)
        return []
    return [
        (
            BuiltObject(
                role="SC",
                dataset=overlay_object(
                    request,
                    image,
                    finding,
                    heat_map,
                    picture=picture,
                    instance_number=number,
                    series_members=members,
                ),
                image_number=image.number,
                finding=finding.output.key,
            ),
            finding,
        )
        for number, (_, finding, heat_map) in enumerate(shown, first_number)
    ]
